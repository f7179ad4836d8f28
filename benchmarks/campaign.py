"""Everything that a GPU is for, in the order of its worth: checks of the device, the benchmarks, accuracies in full.

    python benchmarks/campaign.py --out campaign --data-dir DATA --minutes 9
    python benchmarks/campaign.py --out rehearsal --rehearse

Needs torch, numpy, safetensors, pyarrow, pillow, scikit-learn and rich.  Every part is a process of its own: one that
fails is noted in OUT/state.json with its log in OUT/logs, and the next begins.  At the end of `minutes` the part that
runs is stopped; the same call goes on with it, training from its last checkpoint, until nothing is left.  Results lie
in OUT/results as `torchhebb` writes them.  `--rehearse` runs all parts on small shapes and noise in place of images.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from arguments import parse

from torchhebb.files import write_atomically

FOLDER = Path(__file__).resolve().parent
Status = Literal["done", "failed", "stopped"]
TRIES = 3
"""How often a benchmark may be stopped, since it begins anew; training goes on and may be stopped at any number."""


@dataclass(frozen=True)
class Settings:
    """Everything that a GPU is for, resumable over short calls."""

    out: Path = Path("campaign")
    data_dir: Path | None = None
    device: str = "auto"
    minutes: float = 9.0
    only: tuple[str, ...] = ("*",)
    rehearse: bool = False
    train: str | None = None
    """Recipe and number of seeds; set by the parts that train."""
    baselines: str | None = None
    """The same; set by the parts that train backpropagation through the blocks of a run."""


@dataclass(frozen=True)
class Part:
    """A script with its arguments, those of a rehearsal, and whether it goes on where it was stopped."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    rehearsal: tuple[str, ...] = ()
    resumes: bool = False


def _bench(name: str, *rehearsal: str) -> Part:
    return Part(f"bench {name}", f"bench_{name}.py", (), rehearsal)


def _train(recipe: str, seeds: int = 3) -> Part:
    return Part(f"train {recipe} {seeds}", "campaign.py", ("--train", f"{recipe} {seeds}"), resumes=True)


def _baselines(recipe: str, seeds: int = 3) -> Part:
    return Part(f"baselines {recipe} {seeds}", "campaign.py", ("--baselines", f"{recipe} {seeds}"), resumes=True)


_SHORT = ("--steps", "2", "--warmup", "1")
_CIFAR = ("softhebb2023-cifar10", "softhebb2023-cifar100")
_VARIANTS = ("random", "hard", "hebbian")
PARTS = (
    Part("checks", "device_checks.py", (), ("--width", "8")),
    _bench("step", *_SHORT, "--before", "1"),
    _bench("readout", *_SHORT, "--before", "1", "--batch-size", "4"),
    _bench("compile", *_SHORT, "--before", "1"),
    _bench("pipeline", *_SHORT, "--before", "1"),
    _bench("members", *_SHORT, "--before", "1", "--recipes", "softhebb2023-digits", "--batch-sizes", "2"),
    _bench("online", "--neurons", "8", "--batch-sizes", "2", "--turns", "2", "--warmup", "1", "--steps", "1"),
    _bench("recipes", *_SHORT, "--recipes", "softhebb2023-digits", "--no-memory"),
    _bench("cost", *_SHORT),
    _bench("memory", "--depths", "3", "--runs", "1", "--batch-size", "4", "--channels", "8"),
    _bench("sphere", *_SHORT, "--widths", "8", "8", "8", "--batch-size", "4", "--depths", "3", "--runs", "1"),
    *map(_train, _CIFAR),
    *map(_baselines, _CIFAR),
    *(_train(f"{name}-{variant}") for name in _CIFAR for variant in _VARIANTS),
    _train("softhebb2023-cifar10-best"),
    _train("sphere2025-cifar10"),
    _train("sphere2025-cifar10-softhebb"),
    _train("sphere2025-cifar100"),
    *(part(f"{name}-depth{depth}") for part in (_train, _baselines) for name in _CIFAR for depth in (1, 2)),
    *(
        _train(f"{name}-depth{depth}-{variant}")
        for name in _CIFAR
        for depth in (1, 2)
        for variant in ("hard", "random")
    ),
    *(part("softhebb2023-cifar10-depth1-released") for part in (_train, _baselines)),
    *(part("softhebb2023-cifar10-grouped") for part in (_train, _baselines)),
    _train("softhebb2023-cifar10-hard-network"),
    *(part("softhebb2023-cifar10-flip-average", 1) for part in (_train, _baselines)),
    _train("softhebb2023-mnist"),
    _train("softhebb2023-fashion-mnist"),
    _train("sphere2025-tiny-imagenet", 1),
    _train("softhebb2023-stl10"),
    _train("softhebb2023-imagenette", 1),
)


def main(settings: Settings) -> int:
    for asked, work in ((settings.train, train), (settings.baselines, compare_baselines)):
        if asked is not None:
            work(settings, *asked.split())
            return 0
    deadline, state = time.monotonic() + 60 * settings.minutes, read_state(settings.out)
    chosen = [part for part in PARTS if any(fnmatch(part.name, pattern) for pattern in settings.only)]
    for part in chosen:
        if finished(part, state):
            continue
        if time.monotonic() >= deadline:
            break
        status, seconds = run_part(part, settings, deadline)
        before = state.get(part.name, {"seconds": 0.0, "tries": 0})
        total = {"seconds": round(before["seconds"] + seconds, 1), "tries": before["tries"] + 1}
        state[part.name] = {"status": status, **total}
        write_atomically(settings.out / "state.json", json.dumps(state, indent=1) + "\n")
        print(f"{status:8} {part.name}, {seconds:.0f} s", flush=True)
    left = [part.name for part in chosen if not finished(part, state)]
    failed = [part.name for part in chosen if state.get(part.name, {}).get("status") == "failed"]
    print(f"{len(chosen) - len(left)} of {len(chosen)} parts are over, {len(failed)} of them failed", flush=True)
    return 3 if left else int(bool(failed))


def read_state(out: Path) -> dict[str, dict[str, Any]]:
    """What earlier calls did."""
    path = out / "state.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def finished(part: Part, state: dict[str, dict[str, Any]]) -> bool:
    """Whether nothing is left to be done: done, failed, or a benchmark that no call is long enough for."""
    known = state.get(part.name)
    if known is None:
        return False
    return known["status"] != "stopped" or (not part.resumes and known["tries"] >= TRIES)


def run_part(part: Part, settings: Settings, deadline: float) -> tuple[Status, float]:
    """One part in a process of its own, which is ended at the deadline; its output goes to a log."""
    logs = settings.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with open(logs / f"{part.name.replace(' ', '-')}.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(part, settings), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(max(0.0, deadline - begun))
        except subprocess.TimeoutExpired:
            return "stopped", time.monotonic() - begun
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)  # with what it started; its files are written atomically
                process.wait()
    return "done" if code == 0 else "failed", time.monotonic() - begun


def command(part: Part, settings: Settings) -> list[str]:
    """How a part is called."""
    device = "cpu" if settings.rehearse else settings.device
    words = [sys.executable, str(FOLDER / part.script), *part.arguments, "--device", device]
    if part.script.startswith("bench_"):
        words += ["--results", str(settings.out / "results")]
    if part.script == "campaign.py":
        words += ["--out", str(settings.out), *(["--rehearse"] if settings.rehearse else [])]
        words += [] if settings.data_dir is None else ["--data-dir", str(settings.data_dir)]
    return [*words, *(part.rehearsal if settings.rehearse else ())]


def train(settings: Settings, name: str, seeds: str) -> None:
    """Train a recipe, or go on with it, and keep its result."""
    from torchhebb.process import tune_process
    from torchhebb.recipes import get_recipe
    from torchhebb.runs import TrainOptions, run_recipe

    tune_process()
    recipe, source = replace(get_recipe(name), seeds=int(seeds)), None
    if settings.rehearse:
        recipe, source = small(recipe), noise(recipe.architecture.input_shape[0])
    data_dir = None if settings.data_dir is None else str(settings.data_dir)
    options = TrainOptions(device=settings.device, data_dir=data_dir, checkpoint_seconds=20.0)
    called = f"torchhebb train {name} --seeds {seeds}"
    folder = settings.out / "runs" / f"{name}-{seeds}"
    result = run_recipe(recipe, options, folder=folder, source=source, command=called)
    print(result.keep(settings.out / "results"))


def compare_baselines(settings: Settings, name: str, seeds: str) -> None:
    """Train backpropagation through the blocks of a recipe's run, or go on with it, and keep the result."""
    from torchhebb.evaluate import Baselines, evaluate, open_run
    from torchhebb.process import tune_process
    from torchhebb.recipes import get_recipe
    from torchhebb.runs import ComputeOptions

    tune_process()
    folder = settings.out / "runs" / f"{name}-{seeds}"
    source = noise(get_recipe(name).architecture.input_shape[0]) if settings.rehearse else None
    question = Baselines(baselines=("own", "backpropagation"))
    called = f"torchhebb evaluate baselines runs/{name}-{seeds} --baselines own backpropagation"
    data_dir = None if settings.data_dir is None else str(settings.data_dir)
    run = open_run(folder, ComputeOptions(device=settings.device, data_dir=data_dir), source=source)
    print(evaluate(question, run, command=called).keep(settings.out / "results"))


def small(recipe: Any) -> Any:
    """The recipe on images of 32 x 32 with few neurons, one seed and one pass of each phase."""
    from torchhebb.train.recipe import shortened

    def narrow(block: Any) -> Any:
        block = block.with_settings(groups=1) if block.has_setting("groups") else block
        return block.narrowed(8)

    architecture = replace(
        recipe.architecture.with_blocks(narrow), input_shape=(recipe.architecture.input_shape[0], 32, 32)
    )
    readout = shortened(recipe.readout, 1) if hasattr(recipe.readout, "epochs") else recipe.readout
    learning = replace(recipe.learning, epochs=min(1, recipe.learning.epochs), images="train", fraction=1.0)
    supervised = replace(recipe.supervised, epochs=1)
    return replace(
        recipe, architecture=architecture, learning=learning, readout=readout, supervised=supervised, seeds=1
    )


def noise(channels: int) -> Any:
    """40 images of noise in 4 classes."""
    from torchhebb.data import from_arrays

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 32, 32, channels), dtype=np.uint8)
    return from_arrays(images, np.arange(40) % 4)


if __name__ == "__main__":
    sys.exit(main(parse(Settings)))
