"""Networks learned on one data set and read out on another: what is compared, what is kept, what is brought."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluate.by_hand import features_by_hand, percent_right
from tests.tiny import digits, equal, few_digits, state
from torchhebb.data import Data, Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.resize import resize_to
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.questions.transfer import Transfer, label_of
from torchhebb.nn import Network, load
from torchhebb.readouts import Ridge
from torchhebb.runs.baselines import baseline
from torchhebb.train import Result
from torchhebb.train.learn import learn_images

TRANSFER = Transfer(targets=("digits", "negatives"), train_images=300, test_images=150)


def negatives() -> Data:
    """Dark digits on bright coloured ground, a pixel larger."""

    def turned(images: Images) -> Images:
        grey = 255 - torch.nn.functional.pad(images.images, (0, 1, 1, 0))
        return Images(torch.cat([grey, grey // 2, 255 - grey], 1), images.labels)

    few = few_digits()
    return replace(
        few, name="negatives", train=turned(few.train), test=turned(few.test), fingerprint="negatives of digits"
    )


def load_fake(name: str, **_: Any) -> Data:
    if name == "huge":
        return replace(negatives(), name="huge", test=Images(torch.zeros(1, 1, 28, 28).byte(), torch.zeros(1).long()),
                       train=Images(torch.zeros(1, 1, 28, 28).byte(), torch.zeros(1).long()))  # fmt: skip
    if name in ("negatives", "folder:a/negatives"):
        return replace(negatives(), name=name)
    raise UserError(f"no data set {name!r} here")


@pytest.fixture(scope="module", autouse=True)
def sets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchhebb.evaluate.questions.transfer.load_data", load_fake)
        patch.setattr(
            "torchhebb.evaluate.questions.transfer.list_data", lambda: ("absent", "digits", "huge", "negatives")
        )
        yield


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    """The same run in a folder of its own, without what was asked of it."""
    folder = tmp_path / "copy"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("pieces", "transfer", "baselines"))
    return replace(run, folder=folder)


def placed(network: Network) -> Network:
    """In the memory format of a run, whose sums have another order."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def transfer(run: Run) -> Result:
    return evaluate(TRANSFER, run)


def test_every_pair_has_an_accuracy_beside_native_and_random(transfer: Result) -> None:
    pairs = (("digits", "negatives"), ("negatives", "digits"))
    names = {f"{a}_to_{b}_{kind}" for a, b in pairs for kind in ("accuracy", "ratio")}
    names |= {f"{name}_{kind}" for name, _ in pairs for kind in ("mean_ratio", "native_accuracy", "random_accuracy")}
    assert {measure.name for measure in transfer.measures} == names
    for source, target in pairs:
        accuracy, native = (
            transfer.measure(n).values for n in (f"{source}_to_{target}_accuracy", f"{target}_native_accuracy")
        )
        assert len(accuracy) == 2 and min(accuracy) > 15 and min(native) > 40
        ratio = tuple(100 * a / b for a, b in zip(accuracy, native, strict=True))
        assert transfer.measure(f"{source}_to_{target}_ratio").values == pytest.approx(ratio)
        assert transfer.measure(f"{source}_mean_ratio").values == pytest.approx(ratio)
        interval = transfer.measure(f"{source}_to_{target}_accuracy").interval
        assert interval is not None and interval[1] - interval[0] > 5  # 100 or 150 images
    assert transfer.notes["test_images"] == {"digits": 150, "negatives": 100}


def test_the_matrix_holds_what_is_measured(transfer: Result, run: Run) -> None:
    matrix = transfer.notes["matrix"]
    assert matrix["rows"] == ["digits", "negatives", "random"] and matrix["targets"] == ["digits", "negatives"]
    (own, there), (back, native), random = matrix["accuracy"]
    assert own == pytest.approx(transfer.measure("digits_native_accuracy").mean)
    assert there == pytest.approx(transfer.measure("digits_to_negatives_accuracy").mean)
    assert back == pytest.approx(transfer.measure("negatives_to_digits_accuracy").mean)
    assert [own, native] == pytest.approx(matrix["native"])
    assert random == pytest.approx([transfer.measure(f"{name}_random_accuracy").mean for name in matrix["targets"]])
    assert matrix["ratio"][0] == pytest.approx([100, transfer.measure("digits_to_negatives_ratio").mean])
    text = (run.folder / "transfer-matrix.svg").read_text()
    assert all(f"<!-- {words} -->" in text for words in ("negatives", "random", "learned on", f"{there:.1f}"))


def test_the_runs_own_network_is_native_to_its_data(transfer: Result, run: Run) -> None:
    """Ridge regression on the stored features of the same images gives the same accuracies."""
    for seed, value in zip(run.seeds, transfer.measure("digits_native_accuracy").values, strict=True):
        train, test = (torch.randperm(n, generator=torch.Generator().manual_seed(0))[:k].sort().values
                       for n, k in ((1348, 300), (449, 150)))  # fmt: skip
        fitted = Ridge().fit(run.features(seed, "train")[train], run.data.train.labels[train], 10, seed=seed)
        answers = fitted.readout(run.features(seed, "test")[test].float()).argmax(1)
        assert percent_right(answers, run.data.test.labels[test]) == pytest.approx(value)


def test_other_sources_learn_by_the_plan_of_the_run_and_are_kept(transfer: Result, run: Run) -> None:
    kept = sorted((run.folder / "transfer").glob("negatives-*/model.safetensors"))
    assert len(kept) == 2 and not list((run.folder / "transfer").glob("digits-*"))
    again = placed(run.recipe.architecture.build(1))
    learn_images(again, resize_to(negatives().train, (1, 8, 8)), run.recipe.learning, seed=1)
    (path,) = (path for path in kept if path.parent.name.endswith("-1"))
    assert equal(state(load(path)), state(again))


def test_pieces_and_networks_are_not_made_twice(
    transfer: Result, run: Run, copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(result: Result) -> dict[str, tuple[float, ...]]:
        return {measure.name: measure.values for measure in result.measures}

    assert values(evaluate(TRANSFER, copied)) == values(transfer)
    monkeypatch.setattr("torchhebb.evaluate.questions.transfer.learn_images", None)
    shutil.rmtree(copied.folder / "pieces")
    assert values(evaluate(TRANSFER, copied)) == values(transfer)
    monkeypatch.setattr("torchhebb.evaluate.questions.transfer.features_of", None)
    assert values(evaluate(TRANSFER, copied)) == values(transfer)


def test_statistics_are_recalibrated_for_transferred_networks_alone(transfer: Result, run: Run) -> None:
    found = evaluate(replace(TRANSFER, batch_norm="recalibrated"), run)
    for name in ("digits_native_accuracy", "negatives_native_accuracy", "negatives_random_accuracy"):
        assert found.measure(name).values == transfer.measure(name).values
    moved = found.measure("digits_to_negatives_accuracy")
    assert moved.values != transfer.measure("digits_to_negatives_accuracy").values and moved.mean > 40


def test_a_limit_on_learning_holds_for_the_run_too(copied: Run) -> None:
    limited = Transfer(sources=("digits",), targets=("digits",), learning_images=100, train_images=200, test_images=50)
    evaluate(limited, copied)
    (path,) = copied.folder.glob("transfer/digits-*-100-0/model.safetensors")
    again = placed(copied.recipe.architecture.build(0))
    learn_images(again, subsample(copied.data.train, 100), copied.recipe.learning, seed=0)
    assert equal(state(load(path)), state(again))


def test_baselines_and_the_trained_readout(run: Run) -> None:
    asked = Transfer(("digits",), ("negatives",), ("backpropagation",), None, 200, 100, readout="trained")
    found = evaluate(asked, run)
    train, test = (
        resize_to(subsample(part, n), (1, 8, 8)) for part, n in ((negatives().train, 200), (negatives().test, 100))
    )
    network = baseline(run, 1, "backpropagation")
    seen, unseen = (features_by_hand(network, images).flatten(1) for images in (train, test))
    answers = run.recipe.readout.fit(seen, train.labels, 10, seed=1).readout(unseen).argmax(1)
    value = found.measure("backpropagation_digits_to_negatives_accuracy").values[1]
    assert value == pytest.approx(percent_right(answers, test.labels), abs=1.0)
    assert found.notes["matrix"]["rows"] == ["digits", "backpropagation_digits", "random"]
    ridge = evaluate(replace(asked, readout="ridge"), run)
    name = "negatives_native_accuracy"
    assert ridge.measure(name).values != found.measure(name).values


def test_by_default_targets_are_what_is_at_hand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, left_out = Transfer()._targets(run)
    assert list(targets) == ["digits", "negatives"] and left_out == {
        "absent": "it is not available here",
        "huge": "its images are 28 pixels high, the input 8",
    }


def test_a_data_set_is_loaded_once(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def load(name: str, **settings: object) -> Data:
        calls.append(name)
        return load_fake(name)

    monkeypatch.setattr("torchhebb.evaluate.questions.transfer.load_data", load)
    asked = Transfer(train_images=60, test_images=20, learning_images=50)
    list(asked.run(replace(copied, result=replace(copied.result, seeds=(0,)), loaded={})))
    assert sorted(calls) == ["absent", "huge", "negatives"]


def test_images_are_brought_to_channels_and_size() -> None:
    grey = Images(torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8), torch.arange(3))
    there = resize_to(grey, (3, 32, 32))
    assert torch.equal(there.labels, grey.labels) and there.images.dtype == torch.uint8
    for channel in range(3):
        assert torch.equal(there.images[:, channel, 2:30, 2:30], grey.images[:, 0])
    assert there.images.sum(dtype=torch.int64) == 3 * grey.images.sum(dtype=torch.int64)  # and zeros around
    colour = Images(
        torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1).repeat(1, 1, 64, 64), torch.ones(1)
    )
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert (resize_to(colour, (1, 32, 32)).images == luma).all()
    assert resize_to(colour, (3, 32, 32)).images[0, :, 5, 5].tolist() == [200, 100, 50]
    assert resize_to(colour, (3, 64, 64)) is colour
    with pytest.raises(UserError, match="images of 3 channels cannot be converted to 2"):
        resize_to(colour, (2, 64, 64))


def test_a_draw_is_always_the_same_over_the_whole() -> None:
    images = digits(400)
    part = subsample(images, 50)
    places = [int((images.images == image).flatten(1).all(1).nonzero()[0]) for image in part.images]
    assert places == sorted(set(places)) and places[-1] > 300
    assert torch.equal(subsample(images, 50).images, part.images)
    assert subsample(images, None) is images and subsample(images, 400) is images


def test_a_folder_is_called_by_its_last_name() -> None:
    assert [label_of(replace(negatives(), name=name)) for name in ("mnist", "folder:photos", "folder:x/y/birds/")] == [
        "mnist",
        "photos",
        "birds",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ("mnest",)}, "no data set 'mnest' here"),
        ({"sources": ("absent",), "targets": ("digits",)}, "no data set 'absent' here"),
        ({"targets": ("negatives", "folder:a/negatives")}, "data sets must have different names"),
        ({"sources": ("negatives",), "targets": ("folder:a/negatives",)}, "data sets must have different names"),
        ({"baselines": ("backpropagation",), "learning_images": 10}, "leave learning_images out"),
        ({"train_images": 0}, "train_images must be at least 1, got 0"),
        ({"baselines": ("soft",)}, "baselines must be among own, .*, got 'soft'"),
    ],
)
def test_mistakes_are_named_before_anything_is_learned(
    settings: dict[str, Any], message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "cached", None)
    with pytest.raises(UserError, match=message):
        next(Transfer(**settings).run(run))
