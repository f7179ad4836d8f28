"""A search ends when it should, goes on where it was, is shared by processes, and never sees the test images."""

import json
import math
import multiprocessing
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import few_digits, tiny_recipe
from torchhebb.data import Data, Images
from torchhebb.errors import UserError
from torchhebb.search import Objective, Search, read_best, search
from torchhebb.train import Learning, Readout, Recipe
from torchhebb.train.features import extract_features
from torchhebb.train.learn import learn_images

RECIPE = tiny_recipe(learning=Learning(batch_size=50), readout=Readout(epochs=2, batch_size=100))
SPACE = ("readout.lr=0.0001:1:log", "learning.batch_size=10:90")
CONTEXT = multiprocessing.get_context("fork")
CPU = torch.device("cpu")


class Hill:
    """An objective with a known best: 99 % at a rate of 0.1 and batches of 60; batches above 85 do not work."""

    fingerprint, seeds, readout, precision, held = "hill", 2, "recipe", "float32", range(50)

    def __init__(self, seconds: float = 0.0, stop_at: int | None = None) -> None:
        self.seconds, self.stop_at = seconds, stop_at

    def __call__(self, recipe: Recipe, *, task: str, progress: Any) -> list[float]:
        time.sleep(self.seconds)
        if task == f"trial {self.stop_at}":
            raise KeyboardInterrupt
        if recipe.learning.batch_size > 85:
            raise UserError("batches are too large")
        height = 99 - abs(math.log10(recipe.readout.lr) + 1) - abs(recipe.learning.batch_size - 60) / 10  # type: ignore[attr-defined]
        return [height - 0.5, height + 0.5]


def hill(folder: Path, trials: int, objective: Hill | None = None, **changes: Any) -> Any:
    settings = Search(space=SPACE, trials=trials, **changes)
    return search(settings, RECIPE, objective or Hill(), folder, progress=None)  # type: ignore[arg-type]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def tried(folder: Path) -> list[Any]:
    return [(line["number"], line["fields"], line["accuracies"]) for line in lines(folder)]


def test_it_begins_with_the_recipe_finds_better_and_keeps_every_trial(tmp_path: Path):
    found = hill(tmp_path, 25)
    kept = lines(tmp_path)
    assert kept[0]["fields"] == {"readout.lr": RECIPE.readout.lr, "learning.batch_size": 50}  # type: ignore[attr-defined]
    assert len(found.trials) == 25 and found.held_images == 50
    means = [trial.mean for trial in found.trials]
    assert means == sorted(means, reverse=True) and means[0] > 98 > sum(kept[0]["accuracies"]) / 2
    assert len(kept) == len(found.trials) + len(found.failed)
    assert all(line["error"] == "batches are too large" for line in kept if not line["accuracies"]) and found.failed
    best = found.trials[0]
    assert found.best.readout.lr == best.fields["readout.lr"] and found.best == read_best(tmp_path)
    assert replace(found.best, readout=RECIPE.readout, learning=RECIPE.learning) == RECIPE
    stored = json.loads((tmp_path / "best.json").read_text())
    assert stored["held_out_accuracies"] == list(best.accuracies) and stored["trials"] == 25


def test_a_search_that_was_stopped_tries_what_an_unbroken_one_tries(tmp_path: Path):
    hill(tmp_path / "whole", 14)
    hill(tmp_path / "parts", 5)
    hill(tmp_path / "parts", 14)
    assert tried(tmp_path / "parts") == tried(tmp_path / "whole")
    assert len({str(fields) for _, fields, _ in tried(tmp_path / "whole")}) == len(tried(tmp_path / "whole"))
    hill(tmp_path / "parts", 14)
    assert tried(tmp_path / "parts") == tried(tmp_path / "whole"), "nothing is left to do"


def test_ctrl_c_gives_up_the_trial_under_way_alone(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        hill(tmp_path, 6, Hill(stop_at=3))
    assert [line["number"] for line in lines(tmp_path)] == [0, 1, 2]
    found = hill(tmp_path, 6)
    assert len(found.trials) == 6 and not any(trial.number == 3 for trial in (*found.trials, *found.failed))
    assert not list(tmp_path.glob(".trial-*"))


def test_two_processes_share_the_trials(tmp_path: Path):
    workers = [CONTEXT.Process(target=hill, args=(tmp_path, 10, Hill(0.05))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    kept = lines(tmp_path)
    assert sum(bool(line["accuracies"]) for line in kept) == 10
    assert [line["number"] for line in kept] == list(range(len(kept)))
    assert len({str(line["fields"]) for line in kept}) == len(kept), "no two were drawn alike"
    busy = sum(line["seconds"] for line in kept)
    assert busy >= 0.05 * len(kept)


def test_a_killed_process_leaves_its_trial_to_others(tmp_path: Path):
    worker = CONTEXT.Process(target=hill, args=(tmp_path, 3, Hill(60.0)))
    worker.start()
    assert worker.pid is not None
    while not (tmp_path / ".trial-0.lock").exists():
        assert worker.is_alive()
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with (tmp_path / "journal.log").open("a") as journal:
        journal.write('{"op_code": 5, "tri')  # as if it had been killed while it wrote
    found = hill(tmp_path, 3)
    assert len(found.trials) == 3 and 0 not in [trial.number for trial in found.trials]
    own = lines(tmp_path)[0]["fields"]
    assert own == {"readout.lr": RECIPE.readout.lr, "learning.batch_size": 50}, "the recipe itself is tried again"  # type: ignore[attr-defined]


def test_what_was_finished_before_a_kill_is_written(tmp_path: Path):
    hill(tmp_path, 3)
    kept = (tmp_path / "trials.jsonl").read_bytes()
    for name in ("trials.jsonl", "best.json"):
        (tmp_path / name).unlink()  # as if it had been killed between optuna's journal and these
    hill(tmp_path, 3)
    assert (tmp_path / "trials.jsonl").read_bytes() == kept and (tmp_path / "best.json").exists()


@pytest.mark.parametrize("name", ["journal.log", "search.json", "best.json", "journal.json"])
def test_a_changed_digit_of_its_files_is_said(name: str, tmp_path: Path):
    hill(tmp_path, 3)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    digits = [chr(byte).isdigit() for byte in content[:-12]]  # not the first of a number: JSON knows no 012
    place = max(n for n in range(1, len(digits)) if digits[n] and (digits[n - 1] or content[n - 1] == ord(".")))
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged|does not match"):
        read_best(path) if name == "best.json" else hill(tmp_path, 4)


def test_no_trial_starts_that_would_outlast_the_budget(tmp_path: Path):
    started = time.monotonic()
    found = search(
        Search(space=SPACE, budget="2s"),
        RECIPE,
        Hill(0.3),  # type: ignore[arg-type]
        tmp_path,
    )
    assert time.monotonic() - started < 2.0 + 2.0 and 1 <= len(found.trials) + len(found.failed) <= 6


def test_another_search_is_refused_and_says_what_differs(tmp_path: Path):
    hill(tmp_path, 1)
    expected = f"{tmp_path} holds a search with another space: give the same flags or another --out"
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        search(Search(trials=2), RECIPE, Hill(), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="another recipe and images:"):
        other = Hill()
        other.fingerprint = "others"
        settings = Search(space=SPACE, trials=2)
        search(settings, replace(RECIPE, learning=Learning(batch_size=49)), other, tmp_path)  # type: ignore[arg-type]


def test_where_nothing_can_be_built_the_reason_is_told(tmp_path: Path):
    settings = Search(space=("learning.batch_size=86:99",), trials=1)
    with pytest.raises(UserError, match="no trial in .* is finished yet; the last one: batches are too large"):
        search(settings, replace(RECIPE, learning=Learning(batch_size=90)), Hill(), tmp_path)  # type: ignore[arg-type]


class Forbidden:
    """Test images that nobody may touch."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"a search read {name} of the test images")


def guarded() -> Data:
    return replace(few_digits(), test=Forbidden())  # type: ignore[arg-type]


def objective(data: Data, **changes: Any) -> Objective:
    settings = {"held": 0.2, "images": None, "seeds": 2, "readout": "recipe", "device": CPU, "precision": "float32"}
    return Objective.of(data, **{**settings, **changes})  # type: ignore[arg-type]


def test_it_judges_on_held_out_training_images_and_never_reads_the_test_images(tmp_path: Path):
    data = few_digits()
    asked = objective(guarded())
    parted = data.holdout(0.2, 0)
    assert torch.equal(asked.held.images, parted.test.images) and torch.equal(
        asked.data.train.images, parted.train.images
    )
    found = search(Search(space=("learning.batch_size=20,50",), trials=2, search_seeds=2), RECIPE, asked, tmp_path)
    trial = next(trial for trial in found.trials if trial.number == 0)
    expected = []
    for seed in range(2):
        net = RECIPE.architecture.build(seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        learn_images(net, parted.train, RECIPE.learning, seed=seed)
        with torch.no_grad():
            features, held = (extract_features(net, images, device=CPU) for images in (parted.train, parted.test))
        readout = RECIPE.readout.fit(features, parted.train.labels, 10, seed=seed).readout
        expected.append(100 * (readout(held).argmax(1) == parted.test.labels).double().mean().item())
    assert trial.accuracies == pytest.approx(tuple(expected))


def test_fewer_images_and_a_cheaper_judge():
    whole, part = objective(guarded()), objective(guarded(), images=100, readout="ridge", seeds=1)
    assert len(part.data.train) == 100 and torch.equal(part.held.images, whole.held.images)
    assert whole.fingerprint != part.fingerprint
    assert set(part.data.train.labels.tolist()) == set(range(10))
    held = {image.numpy().tobytes() for image in part.held.images}
    assert not held & {
        image.numpy().tobytes() for image in Images(part.data.train.images, part.data.train.labels).images
    }
    (accuracy,) = part(RECIPE)
    assert 50 < accuracy <= 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"search_seeds": 0}, "search_seeds must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"held_out": 1.0}, r"held_out must be between 0 and 1, got 1.0"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        Search(**changes)


def test_what_is_no_search(tmp_path: Path):
    with pytest.raises(UserError, match="no such file: .*best.json"):
        read_best(tmp_path)
    (tmp_path / "best.json").write_text("{}")
    with pytest.raises(UserError, match="is no best.json of a search"):
        read_best(tmp_path)
