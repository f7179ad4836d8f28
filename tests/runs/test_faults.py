"""What must not happen to a run folder: two processes in it, files of two experiments, parts that never come back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import edit_json, few_digits, learned, tiny_recipe, untimed
from tests.watch import Stop, stop_after
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.runs import TrainOptions, open_run, read_config, run_recipe
from torchhebb.runs.folder import alone_in, new_run_folder
from torchhebb.runs.trained import open_trained
from torchhebb.train import Readout, read_result
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log

OPTIONS = TrainOptions(device="cpu", precision="float32", checkpoint_seconds=0.0)
RECIPE = tiny_recipe(baselines=())


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("training", "run"):
        monkeypatch.setattr(f"torchhebb.runs.{place}.load_data", lambda *_, **__: few_digits())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_second_process_touches_nothing(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "run"
    run_recipe(RECIPE, OPTIONS, folder=folder, store=store)
    (folder / ".model.safetensors.x").write_text("of the one at work")
    before = contents(folder)
    with alone_in(folder), pytest.raises(UserError, match="another process is using"):
        run_recipe(replace(RECIPE, seeds=2), OPTIONS, folder=folder, store=store)
    assert contents(folder) == before


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config["recipe"]["learning"].update(batch_size=11), "learning.batch_size was 50, is 11"),
        (lambda config: config["recipe"]["architecture"]["blocks"][0].update(lr=0.09), "blocks.0.lr was 0.08, is 0.09"),
        (lambda config: config["recipe"]["readout"].update(epochs=3), "readout.epochs was 2, is 3"),
    ],
)
def test_a_checkpoint_belongs_to_its_experiment(change: Change, words: str, tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stop):
        run_recipe(RECIPE, OPTIONS, folder=folder, store=store, progress=stop_after(250, "learning"))
    edit_json(folder / "config.json", change)
    with pytest.raises(UserError, match=words):
        run_recipe(read_config(folder)[0], OPTIONS, folder=folder, store=store)


def test_a_changed_digit_of_the_configuration_is_said(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "run"
    run_recipe(RECIPE, OPTIONS, folder=folder, store=store)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"batch_size": 50', '"batch_size": 52', 1))
    with pytest.raises(UserError, match="config.json is damaged .its checksum does not match"):
        open_run(folder, store=store)


@pytest.mark.parametrize("name", ["model.safetensors", "readout.safetensors"])
def test_a_part_that_is_gone_is_made_again(
    name: str, tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    first = run_recipe(RECIPE, OPTIONS, folder=folder, store=store)
    before, lines = learned(folder), untimed(folder / "metrics.jsonl")
    (folder / name).unlink()
    again = run_recipe(RECIPE, OPTIONS, folder=folder, store=store)
    after = learned(folder)
    assert again.measures == first.measures and after[name] == before[name]
    assert f"{name} is gone" in caplog.text
    assert sorted(map(str, untimed(folder / "metrics.jsonl"))) == sorted(map(str, lines))  # each line once


def test_the_network_of_another_run_is_refused(tmp_path: Path, store: Store) -> None:
    first, second = RECIPE.architecture.blocks
    other = replace(RECIPE, architecture=replace(RECIPE.architecture, blocks=(first, second.with_settings(power=1.0))))
    for name, recipe in (("one", RECIPE), ("two", other)):
        run_recipe(recipe, OPTIONS, folder=tmp_path / name, store=store)
    (tmp_path / "one" / "model.safetensors").write_bytes((tmp_path / "two" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="is not that of .*config.json: files of two runs"):
        open_run(tmp_path / "one", store=store).network(0)


def test_the_command_that_began_a_run_is_kept(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "run"
    run_recipe(RECIPE, OPTIONS, folder=folder, store=store, command="torchhebb train first")
    again = run_recipe(replace(RECIPE, seeds=2), OPTIONS, folder=folder, store=store, command="torchhebb train second")
    kept = read_result(folder / "result.json")
    assert (kept.command, kept.notes["resumed_by"]) == ("torchhebb train first", "torchhebb train second")
    assert again.folder == folder and "folder" not in json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", "a\\b", "x\x1b[2J", "-x"])
def test_a_name_is_one_component(name: str) -> None:
    with pytest.raises(UserError, match="name must be letters, digits"):
        replace(RECIPE, name=name)


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [new_run_folder(RECIPE) for _ in range(4)]
    assert len(set(folders)) == 4 and all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("cut", [0.0, 0.5, 0.9])
def test_a_log_that_was_cut_does_not_end_the_run(cut: float, tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stop):
        run_recipe(RECIPE, OPTIONS, folder=folder, store=store, progress=stop_after(1, "readout"))
    log = folder / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[: int(cut * log.stat().st_size)])
    whole = run_recipe(RECIPE, OPTIONS, folder=tmp_path / "whole", store=store)
    assert run_recipe(RECIPE, OPTIONS, folder=folder, store=store).measures == whole.measures
    assert "lost" in [line["kind"] for line in open_run(folder, store=store).log()]


def test_a_readout_under_way_begins_again_with_the_network(tmp_path: Path, store: Store) -> None:
    """Its lines are those of one time too."""
    folder, recipe = tmp_path / "run", replace(RECIPE, readout=Readout(epochs=4, batch_size=200))
    with pytest.raises(Stop):
        run_recipe(recipe, OPTIONS, folder=folder, store=store, progress=stop_after(2, "readout"))
    log = Log(folder / "metrics.jsonl")
    assert Checkpoint(folder, log=log).task == "seed 0: readout"  # the log is rewound to it
    assert any(line["kind"] == "readout" for line in untimed(folder / "metrics.jsonl"))
    (folder / "model.safetensors").unlink()
    again = run_recipe(recipe, OPTIONS, folder=folder, store=store)
    whole = run_recipe(recipe, OPTIONS, folder=tmp_path / "whole", store=store)
    assert again.measures == whole.measures
    assert untimed(folder / "metrics.jsonl") == untimed(tmp_path / "whole" / "metrics.jsonl")


def test_lines_that_a_log_lost_are_said(tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Its end is gone at the end of a line, so that no line is damaged."""
    folder = tmp_path / "run"
    run_recipe(RECIPE, OPTIONS, folder=folder, store=store)
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:-2]))
    assert len(open_run(folder, store=store).log()) == len(lines) - 2
    assert f"has lost the last {len(b''.join(lines[-2:]))} bytes" in caplog.text


def test_missing_names_of_classes_are_said(tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "run"
    run_recipe(RECIPE, OPTIONS, folder=folder, store=store)
    open_trained(folder)
    assert not caplog.text
    (folder / "classes.json").unlink()
    open_trained(folder)
    assert "classes.json is missing: classes are named by their numbers" in caplog.text
