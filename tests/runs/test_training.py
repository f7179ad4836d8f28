"""From a recipe to a run folder and a result."""

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import equal, few_digits, learned, state, tiny_recipe, untimed
from torchhebb import load
from torchhebb.data import Data, Images, Store
from torchhebb.errors import UserError
from torchhebb.nn.tensors import read_tensors, write_tensors
from torchhebb.readouts.base import percent_correct, predict_logits
from torchhebb.runs import TrainOptions, new_run_folder, read_config, run_recipe
from torchhebb.runs.folder import alone_in, read_classes
from torchhebb.train import Learning, Readout, Recipe, Result, Supervised, read_result
from torchhebb.train.calibrate import calibrate
from torchhebb.train.fitting import check_fit
from torchhebb.train.learn import learn_images
from torchhebb.train.recipe import PublishedBeside

RECIPE = tiny_recipe(seeds=2, baselines=("random", "raw"))
OPTIONS = TrainOptions(precision="float32")
DATA = few_digits()


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """Every run of this file gets few digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: DATA)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, store: Store) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("run")
    return folder, run_recipe(RECIPE, OPTIONS, folder=folder, store=store, command="torchhebb train ...")


def test_the_folder_holds_everything(finished: tuple[Path, Result]):
    folder, result = finished
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    seeds = {f"{place}{name}.safetensors" for place in ("", "seed-1/") for name in ("model", "readout")}
    names = {"config.json", "classes.json", "metrics.jsonl", ".lock", "checkpoint.safetensors", "result.json"}
    kept = {file for file in files if file.startswith("baselines/")}
    assert files - kept == seeds | names
    assert {file.split("-")[0] for file in kept} == {"baselines/random"} and len(kept) == 2
    assert read_config(folder) == (RECIPE, OPTIONS)
    assert read_classes(folder) == [str(digit) for digit in range(10)]
    assert read_result(folder / "result.json") == replace(result, seconds=round(result.seconds, 1))


def test_the_result_is_what_the_saved_classifier_scores(finished: tuple[Path, Result]):
    folder, result = finished
    assert (result.recipe, result.question, result.seeds) == ("softhebb2023-digits", "accuracy", (0, 1))
    assert [measure.name for measure in result.measures] == [
        "test_accuracy",
        "random_test_accuracy",
        "raw_test_accuracy",
    ]
    for place, accuracy in zip((folder, folder / "seed-1"), result.measure("test_accuracy").values, strict=True):
        predicted = load(place).eval().classifier(DATA.test.images / 255.0).argmax(1)
        assert accuracy == pytest.approx(100 * (predicted == DATA.test.labels).double().mean().item(), abs=1.5)
    assert all(0 <= value <= 100 for measure in result.measures for value in measure.values)
    assert result.command == "torchhebb train ..." and result.notes["precision"] == "float32"


def test_accuracies_have_their_intervals_over_the_test_images(finished: tuple[Path, Result]):
    images = len(DATA.test)
    for measure in finished[1].measures:
        right = measure.mean / 100
        scale, spread = 1 + 1.96**2 / images, 1.96 * (right * (1 - right) / images + 1.96**2 / 4 / images**2) ** 0.5
        bounds = [100 * (right + 1.96**2 / 2 / images + sign * spread) / scale for sign in (-1, 1)]
        assert measure.interval == pytest.approx(bounds, abs=0.01)


def test_the_readout_left_the_network_as_it_had_learned(finished: tuple[Path, Result]):
    for seed, place in enumerate((finished[0], finished[0] / "seed-1")):
        alone = RECIPE.architecture.build(seed).to(memory_format=torch.channels_last)
        learn_images(alone, DATA.train, RECIPE.learning, seed=seed)
        assert equal(state(load(place)), state(alone))


def test_one_recipe_twice_is_the_same_files(finished: tuple[Path, Result], store: Store, tmp_path: Path):
    run_recipe(RECIPE, OPTIONS, folder=tmp_path, store=store)
    for name in ("model", "readout"):
        for place in (".", "seed-1"):
            file = Path(place) / f"{name}.safetensors"
            assert (tmp_path / file).read_bytes() == (finished[0] / file).read_bytes()
    assert untimed(tmp_path / "metrics.jsonl") == untimed(finished[0] / "metrics.jsonl")
    assert read_result(tmp_path / "result.json").measures == finished[1].measures


def test_what_is_complete_is_not_done_again(
    finished: tuple[Path, Result], store: Store, monkeypatch: pytest.MonkeyPatch
):
    folder, result = finished
    before = learned(folder)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it was complete")

    for name in ("training.learn_images", "baselines.fit_readout", "networks.calibrate", "networks.stored_features"):
        monkeypatch.setattr(f"torchhebb.runs.{name}", never)
    again = run_recipe(RECIPE, OPTIONS, folder=folder, store=store, command=result.command)
    assert learned(folder) == before and again.measures == result.measures and again.seconds == result.seconds


def with_labels(data: Data, labels: torch.Tensor) -> Data:
    return replace(data, train=Images(data.train.images, labels))


def test_labels_reach_the_readout_alone(
    finished: tuple[Path, Result], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shuffled = DATA.train.labels[torch.randperm(len(DATA.train), generator=torch.Generator().manual_seed(0))]
    monkeypatch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: with_labels(DATA, shuffled))
    run_recipe(replace(RECIPE, seeds=1), OPTIONS, folder=tmp_path, store=store)
    assert (tmp_path / "model.safetensors").read_bytes() == (finished[0] / "model.safetensors").read_bytes()
    assert (tmp_path / "readout.safetensors").read_bytes() != (finished[0] / "readout.safetensors").read_bytes()


def test_the_random_baseline_is_the_calibrated_network_before_learning(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def keep(*arguments: Any, **options: Any) -> Any:
        network = calibrate(*arguments, **options)
        seen.append(state(network))
        return network

    monkeypatch.setattr("torchhebb.runs.networks.calibrate", keep)
    run_recipe(replace(RECIPE, seeds=1, baselines=("random",)), OPTIONS, folder=tmp_path, store=store)
    (calibrated,) = seen
    untrained = state(RECIPE.architecture.build(0))
    weights = {name for name in untrained if name.endswith("weight")}
    assert all(torch.equal(calibrated[name], untrained[name]) for name in weights)
    assert not any(torch.equal(calibrated[name], untrained[name]) for name in untrained.keys() - weights)


def test_the_uncalibrated_baseline_is_the_network_as_it_was_built(store: Store, tmp_path: Path):
    recipe = replace(RECIPE, seeds=1, learning=Learning(epochs=0), baselines=("random", "uncalibrated"))
    result = run_recipe(recipe, OPTIONS, folder=tmp_path, store=store)
    built = RECIPE.architecture.build(0).eval()
    with torch.no_grad():
        train, test = (built(images.images / 255.0).flatten(1) for images in (DATA.train, DATA.test))
    readout = RECIPE.readout.fit(train, DATA.train.labels, 10).readout
    uncalibrated = result.measure("uncalibrated_test_accuracy").mean
    assert uncalibrated == pytest.approx(percent_correct(predict_logits(readout, test), DATA.test.labels), abs=1.5)
    assert uncalibrated == result.measure("test_accuracy").mean, "a pass of no epochs learns nothing"
    assert uncalibrated != result.measure("random_test_accuracy").mean


def test_published_numbers_of_baselines_stand_beside_them(store: Store, tmp_path: Path):
    beside = PublishedBeside(random=64.6, backpropagation=84.0)
    recipe = replace(RECIPE, seeds=1, baselines=("random", "uncalibrated", "raw"), published=80.31)
    first = run_recipe(recipe, OPTIONS, folder=tmp_path, store=store)
    assert [measure.published for measure in first.measures] == [80.31, None, None, None]
    again = run_recipe(replace(recipe, published_beside=beside), OPTIONS, folder=tmp_path, store=store)
    assert [measure.published for measure in again.measures] == [80.31, 64.6, 64.6, None], "the run goes on"
    assert [measure.values for measure in again.measures] == [measure.values for measure in first.measures]
    assert replace(recipe, published_beside=beside).published_for("backpropagation_test_accuracy") == 84.0


def test_damaged_store_entries_are_made_again(
    finished: tuple[Path, Result], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    own, recipe = Store(tmp_path / "store"), replace(RECIPE, seeds=1, baselines=())
    run_recipe(recipe, OPTIONS, folder=tmp_path / "one", store=own)
    for entry in own.entries():
        (entry.path / "features").write_bytes(b"damaged")
    with caplog.at_level(logging.CRITICAL):
        run_recipe(recipe, OPTIONS, folder=tmp_path / "two", store=own)
    for name in ("model.safetensors", "readout.safetensors"):
        assert (tmp_path / "two" / name).read_bytes() == (finished[0] / name).read_bytes()


def test_another_recipe_in_the_folder_is_refused(finished: tuple[Path, Result], store: Store):
    with pytest.raises(UserError, match="holds another experiment .*: resume without changed flags"):
        run_recipe(replace(RECIPE, learning=Learning(batch_size=51)), OPTIONS, folder=finished[0], store=store)
    with pytest.raises(UserError, match="holds another experiment"):
        run_recipe(replace(RECIPE, seeds=1), OPTIONS, folder=finished[0], store=store)


def test_a_plan_of_backpropagation_that_was_not_used_may_change(tmp_path: Path, store: Store):
    plain = replace(RECIPE, seeds=1, baselines=("random",))
    first = run_recipe(plain, OPTIONS, folder=tmp_path, store=store)
    plan = Supervised(epochs=1, batch_size=100, lr=0.01)
    taught = replace(plain, baselines=("random", "backpropagation"), supervised=plan)
    second = run_recipe(taught, OPTIONS, folder=tmp_path, store=store)
    assert second.measure("test_accuracy") == first.measure("test_accuracy")
    assert read_config(tmp_path)[0].supervised == plan
    with pytest.raises(UserError, match="holds another experiment"):
        run_recipe(replace(taught, supervised=replace(plan, epochs=2)), OPTIONS, folder=tmp_path, store=store)


def test_a_run_of_more_seeds_keeps_those_that_are_there(tmp_path: Path, store: Store):
    recipe = replace(RECIPE, seeds=1, baselines=())
    first = run_recipe(recipe, OPTIONS, folder=tmp_path, store=store)
    log = (tmp_path / "metrics.jsonl").read_text()
    both = run_recipe(replace(recipe, seeds=2), OPTIONS, folder=tmp_path, store=store)
    assert both.seeds == (0, 1) and both.measures[0].values[:1] == first.measures[0].values
    assert (tmp_path / "metrics.jsonl").read_text().startswith(log)
    assert read_config(tmp_path)[0].seeds == 2


def test_a_run_of_other_baselines_keeps_what_is_there(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    one, other, both = (
        replace(RECIPE, seeds=1, baselines=names) for names in (("random",), ("raw",), ("random", "raw"))
    )
    first = run_recipe(one, OPTIONS, folder=tmp_path, store=store)
    second = run_recipe(other, OPTIONS, folder=tmp_path, store=store)
    assert [measure.name for measure in second.measures] == ["test_accuracy", "raw_test_accuracy"]
    assert read_config(tmp_path)[0].baselines == ("raw",)
    monkeypatch.setattr(
        "torchhebb.runs.baselines.fit_readout", lambda *_, **__: pytest.fail("nothing is computed again")
    )
    third = run_recipe(both, OPTIONS, folder=tmp_path, store=store)
    assert third.measures == (*first.measures, second.measures[1])


@pytest.mark.parametrize("options", [TrainOptions(precision="bfloat16"), replace(OPTIONS, compile=True)], ids=repr)
def test_other_roundings_in_the_folder_are_refused(finished: tuple[Path, Result], store: Store, options: TrainOptions):
    with pytest.raises(UserError, match="resume without changed flags"):
        run_recipe(RECIPE, options, folder=finished[0], store=store)


def test_a_folder_of_before_there_was_a_compiler_goes_on(finished: tuple[Path, Result], store: Store, tmp_path: Path):
    folder = tmp_path / "old"
    shutil.copytree(finished[0], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("checksum", None)
    del config["options"]["compile"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert run_recipe(RECIPE, OPTIONS, folder=folder, store=store).measures == finished[1].measures


def test_a_folder_of_before_there_was_dropout_goes_on(finished: tuple[Path, Result], store: Store, tmp_path: Path):
    """A field that an earlier version did not have is at its default, in config.json and in the checkpoint."""
    folder = tmp_path / "old"
    shutil.copytree(finished[0], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("checksum", None)
    for plan, name in (("supervised", "dropout"), ("supervised", "halve_at"), ("readout", "standardize")):
        del config["recipe"][plan][name]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors, header = read_tensors(folder / "checkpoint.safetensors")
    assert header["experiment"]["readout"].pop("standardize") is False
    header["experiment"]["supervised"] = {"type": "Supervised", "epochs": 3}  # of a plan that was not used
    del header["done"]["seed 1: readout"]  # it was stopped before
    write_tensors(tensors, header, folder / "checkpoint.safetensors")
    baselines = {path.name for path in (folder / "baselines").iterdir()}
    assert run_recipe(RECIPE, OPTIONS, folder=folder, store=store).measures == finished[1].measures
    assert {path.name for path in (folder / "baselines").iterdir()} == baselines
    header["experiment"]["readout"]["standardize"] = True
    write_tensors(tensors, header, folder / "checkpoint.safetensors")
    with pytest.raises(
        UserError, match=r"another experiment: readout.standardize was True, is False; put config.json back"
    ):
        run_recipe(RECIPE, OPTIONS, folder=folder, store=store)


def test_two_processes_do_not_share_a_folder(tmp_path: Path, store: Store):
    with alone_in(tmp_path), pytest.raises(UserError, match="another process is using"):
        run_recipe(RECIPE, OPTIONS, folder=tmp_path, store=store)


def test_what_killed_writers_left_is_removed(tmp_path: Path, store: Store):
    recipe = replace(RECIPE, seeds=1, baselines=())
    run_recipe(recipe, OPTIONS, folder=tmp_path, store=store)
    (tmp_path / "seed-1").mkdir()
    leftovers = [tmp_path / ".checkpoint.safetensors.x1", tmp_path / "seed-1" / ".model.safetensors.x2"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    run_recipe(recipe, OPTIONS, folder=tmp_path, store=store)
    assert not any(leftover.exists() for leftover in leftovers)


def test_a_new_folder_is_never_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    for _ in range(3):
        folders.append(new_run_folder(RECIPE))
    assert len(set(folders)) == 3
    assert all(folder.parent == Path("runs") and folder.name.startswith(RECIPE.name) for folder in folders)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_shape": (3, 8, 8)}, r"takes images of \(3, 8, 8\), digits has \(1, 8, 8\)"),
        ({"blocks": (replace(RECIPE.architecture.blocks[0], kernel_size=99),)}, "cannot be built: .* must fit"),
    ],
)
def test_a_network_that_does_not_fit_leaves_no_folder(tmp_path: Path, store: Store, change: dict[str, Any], words: str):
    recipe = replace(RECIPE, architecture=replace(RECIPE.architecture, **change))
    with pytest.raises(UserError, match=words) as caught:
        check_fit(recipe, DATA)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        run_recipe(recipe, OPTIONS, folder=tmp_path / "run", store=store)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"recipe": {}}', b'{"recipe": 3, "options": 4}'])
def test_a_damaged_config_is_said_in_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is damaged .*: start the run again") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_config_with_a_value_out_of_range_is_said(finished: tuple[Path, Result], tmp_path: Path):
    config = json.loads((finished[0] / "config.json").read_text())
    config.pop("checksum", None)
    config["recipe"]["readout"]["dropout"] = 2.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="dropout must be at least 0 and below 1, got 2.0"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(RECIPE, seeds=0), "seeds must be at least 1, got 0"),
        (lambda: replace(RECIPE.learning, batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: replace(RECIPE.learning, epochs=-1), "epochs must be at least 0, got -1"),
        (lambda: Readout(batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: Readout(epochs=-1), "epochs must be at least 0, got -1"),
        (lambda: Readout(lr=-1.0), "lr must be at least 0 and at most 1e.06, got -1"),
        (lambda: Readout(lr=float("nan")), "lr must be .*, got nan"),
        (lambda: Readout(dropout=1.0), "dropout must be at least 0 and below 1, got 1"),
    ],
)
def test_numbers_of_a_recipe_out_of_range_are_named(make: Any, words: str):
    with pytest.raises(UserError, match=words):
        make()


def test_a_folder_that_cannot_be_is_said_in_one_line(tmp_path: Path, store: Store):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot write .*; choose another folder|is not a run folder"):
            run_recipe(RECIPE, OPTIONS, folder=folder, store=store)


def test_a_recipe_is_a_value():
    assert isinstance(RECIPE, Recipe) and hash(RECIPE) == hash(replace(RECIPE))
