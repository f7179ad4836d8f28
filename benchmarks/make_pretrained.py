"""Trains and packs the networks that ship with the package, src/torchhebb/weights.

    python benchmarks/make_pretrained.py --runs FOLDER [--names softhebb2023-digits ...]

Each is the first seed of its recipe, trained in FOLDER/<name>, which is resumed where it lies already.  Its file keeps
matrices and kernels in float16; beside it stand the result, measured with these rounded weights on all test images, and
a model card.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from arguments import parse

from torchhebb.hub import model_card
from torchhebb.nn import Network
from torchhebb.progress_display import make_progress
from torchhebb.recipes import get_recipe
from torchhebb.recipes.pretrained import FOLDER, load_pretrained, save_rounded
from torchhebb.runs import Run, TrainOptions, open_run, run_recipe
from torchhebb.runs.folder import read_preprocessing
from torchhebb.train import Measure
from torchhebb.train.features import extract_features

NAMES = (
    "softhebb2023-digits",
    "softhebb2022-mnist-500",
    "softhebb2022-fashion-mnist-500",
    "softhebb2023-cifar10-depth1",
    "softhebb2023-cifar10-depth2",
)
LARGEST = 2_000_000
"""Bytes of a weights file."""


@dataclass(frozen=True)
class Settings:
    """Train and pack the networks that ship with the package."""

    runs: Path
    """Where their runs lie, or are made."""
    names: tuple[str, ...] = NAMES
    """Which of them."""


def make(name: str, runs: Path) -> None:
    """Train where needed, pack, measure what was packed."""
    progress = make_progress()
    try:
        recipe, folder = replace(get_recipe(name), seeds=1, baselines=()), runs / name
        if not (folder / "result.json").exists():
            run_recipe(
                recipe, TrainOptions(), folder=folder, progress=progress, command=f"torchhebb train {name} --seeds 1"
            )
        run = open_run(folder, progress=progress)
        path = FOLDER / f"{name}.safetensors"
        save_rounded(run.network(0).cpu(), path)
        if path.stat().st_size > LARGEST:
            raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, more than {LARGEST:,}")
        network = load_pretrained(name)
        trained = run.result.measure("test_accuracy").values[0]
        measures = (
            Measure("test_accuracy", "%", (accuracy(network, run),)),
            Measure("float32_test_accuracy", "%", (trained,)),
        )
        result = replace(
            run.result,
            measures=measures,
            command=f"torchhebb train {name} --seeds 1 --baselines",
            notes={**run.result.notes, "stored": "float16"},
        )
        result.write(path.with_suffix(".json"))
        usage = f'import torchhebb\n\nnetwork = torchhebb.create_model("{name}", pretrained=True)'
        card = model_card(recipe, result, network, read_preprocessing(folder), usage)
        path.with_suffix(".md").write_text(card, encoding="utf-8")
    finally:
        progress.close()
    print(f"{name}: {path.stat().st_size:,} bytes, {measures[0].mean:.2f} % (before rounding {trained:.2f} %)")


@torch.no_grad()
def accuracy(network: Network, run: Run) -> float:
    """Percent of the test images that the network classifies correctly."""
    features = extract_features(network, run.data.test, device=torch.device("cpu"), progress=run.progress)
    assert network.readout is not None
    correct = [network.readout(part.float()).argmax(1) for part in features.split(1000)]
    return 100.0 * (torch.cat(correct) == run.data.test.labels).double().mean().item()


if __name__ == "__main__":
    settings = parse(Settings)
    for each in settings.names:
        make(each, settings.runs)
