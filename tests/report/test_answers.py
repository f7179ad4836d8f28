"""Answers of evaluators on the page: with their numbers, escaped, in groups; what is damaged is left out and said."""

import json
import math
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure as Canvas

from tests.report.conftest import HOSTILE
from tests.report.test_page import Document
from torchhebb.data import Store
from torchhebb.evaluate import Figure
from torchhebb.evaluate.evaluator import _keep
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, SPHeReConvBlock, WhitenedBlock
from torchhebb.report import read_run, render
from torchhebb.report.answers import read_evaluations
from torchhebb.report.collect import first_layer
from torchhebb.report.figures import lines
from torchhebb.report.findings import CURVES_UP_TO, curve_groups, evaluation_section, labels, measure_tables
from torchhebb.report.page import _filters
from torchhebb.report.series import Series
from torchhebb.rules import SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Curve, Learning, Measure, Readout, Recipe, Result, Supervised
from torchhebb.train.recipe import AdamW

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
MEASURES = (
    Measure("own_test_accuracy", "%", (97.0, 98.0), 98.52, (95.5, 98.75)),
    Measure("own_loss", "nats", (0.012345,)),
    Measure(HOSTILE, "%", (1.0,)),
)
CURVES = (
    Curve("contrast own", "share of contrast lost", "test accuracy, %", (0.0, 0.5), (98.0, 61.0), (0.5, 2.0)),
    Curve("contrast hard", "share of contrast lost", "test accuracy, %", (0.0, 0.5), (97.0, 42.0)),
    Curve("$x^2$ </text><script>", "images seen", HOSTILE, (0.0, 10.0, 5000.0), (0.0, 1.0, 2.0)),
)


def answer(question: str = "diagnostics", **changes: Any) -> Result:
    """An answer with hostile names."""
    result = Result("r", question, MEASURES, (0, 1), 61.0, "a CPU", f"torchhebb evaluate {HOSTILE}", {}, CURVES)
    return replace(result, **changes)


@pytest.fixture()
def folder(tiny_run: Path, tmp_path: Path) -> Path:
    """The tiny run with one answer and its figure."""
    folder = Path(shutil.copytree(tiny_run, tmp_path / "copy"))
    (folder / "diagnostics-map.svg").write_text(SVG)
    figures = [{"name": "map", "caption": f"Seen {HOSTILE}.", "file": "diagnostics-map.svg"}]
    answer(notes={"figures": figures}).write(folder / "diagnostics.json")
    return folder


def test_a_figure_that_was_changed_is_left_out(folder: Path, store: Store) -> None:
    figures = [{"name": "map", "caption": "Seen.", "file": "diagnostics-map.svg", "crc32": zlib.crc32(SVG.encode())}]
    answer(notes={"figures": figures}).write(folder / "diagnostics.json")
    assert "is left out" not in page(folder, store)
    (folder / "diagnostics-map.svg").write_text(SVG + "\n")
    assert "The figure map is left out: diagnostics-map.svg was changed or is damaged." in page(folder, store)


def page(folder: Path, store: Store) -> str:
    return render([read_run(folder, store=store)])


def change(folder: Path, spoil: Callable[[dict[str, Any]], Any]) -> None:
    """Change the answer as JSON."""
    path = folder / "diagnostics.json"
    data = json.loads(path.read_text())
    data.pop("checksum")
    spoil(data)
    path.write_text(json.dumps(data))


def test_answers_stand_on_the_page_with_their_numbers(folder: Path, store: Store) -> None:
    answer("accuracy", curves=()).write(folder / "accuracy.json")
    document = Document(page(folder, store))
    assert document.headings[-4:] == ["Accuracy of every readout", "Diagnostics", "Configuration", "Environment"]
    for said in (
        *("this network test accuracy", "97.50 ± 0.71 %", "95.50 to 98.75", "98.52", "0.0123 nats"),
        *("Contrast: test accuracy, %", "this network 98 → 61; hard WTA 97 → 42", "share of contrast lost"),
        *(
            "Radii of the plastic layers while they learn",
            "a CPU · 1 min 01 s · 2 seeds · bands: one standard deviation",
        ),
    ):
        assert said in document.text, said
    cards = [attributes for tag, attributes in document.tags if tag == "img" and attributes.get("class") == "card"]
    assert len(cards) == 1 and (cards[0]["alt"] or "").startswith("Diagnostics, map. Seen")


def test_names_are_escaped_and_figures_stay_apart(folder: Path, store: Store) -> None:
    run = read_run(folder, store=store)
    text = render([run, run])
    document = Document(text)
    assert "<script" not in text and "<img src=x" not in text and "&lt;script&gt;" in text
    assert "$x^2$" in document.text and HOSTILE in document.text
    assert not [tag for tag, attributes in document.tags if any(name.startswith("on") for name in attributes)]
    assert "http:" not in text and "https:" not in text
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) == set(ids)


def test_figures_of_an_evaluator_are_read(folder: Path, store: Store) -> None:
    canvas = Canvas()
    canvas.add_subplot().imshow([[0.0, 1.0]])
    run = read_run(folder, store=store)
    kept = _keep(Figure("heat", "Warm.", canvas), "diagnostics", run)  # type: ignore[arg-type]
    change(folder, lambda data: data["notes"].update(figures=[kept]))
    (found,) = read_evaluations(folder)
    assert found.left_out == () and found.pictures[0].svg == (folder / "diagnostics-heat.svg").read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(question="accuracy"),
        lambda data: data.update(notes=[]),
        lambda data: data.update(seconds="long"),
        lambda data: data.pop("command"),
        lambda data: data["measures"][0].update(values=[]),
        lambda data: data["measures"][0].update(values=["97"]),
        lambda data: data["measures"][0].update(values=[math.nan]),
        lambda data: data["measures"][0].update(interval=[1.0]),
        lambda data: data["measures"][0].update(published="98"),
        lambda data: data["measures"][0].update(name=None),
        lambda data: data["curves"][0].update(x=[1.0]),
        lambda data: data["curves"][0].update(y=["a", "b"]),
        lambda data: data["curves"][0].update(x_label=1),
        lambda data: data["curves"][1].update(name="contrast own"),
        lambda data: data["notes"].update(figures=[{"name": "map"}]),
    ],
)
def test_a_damaged_answer_is_named_and_left_out(folder: Path, spoil: Callable[[dict[str, Any]], Any]) -> None:
    change(folder, spoil)
    (found,) = read_evaluations(folder)
    assert found.result is None and "evaluate again: torchhebb evaluate diagnostics" in found.left_out[0]


def test_the_page_is_written_without_a_damaged_answer(folder: Path, store: Store) -> None:
    (folder / "diagnostics.json").write_text("[")
    document = Document(page(folder, store))
    assert "Diagnostics" in document.headings and "The result is damaged (" in document.text
    assert "is not a result file" in document.text and "own_loss" not in document.text


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("gone.svg", None, "gone.svg cannot be read, No such file or directory"),
        ("cut.svg", SVG[:40], "cut.svg is no SVG"),
        ("page.svg", "<html/>", "page.svg is no SVG"),
        ("../above.svg", SVG, "../above.svg does not lie in the run folder"),
    ],
)
def test_a_figure_that_cannot_be_shown_is_named(folder: Path, file: str, content: str | None, said: str) -> None:
    if content is not None:
        (folder / file).write_text(content)
    change(folder, lambda data: data["notes"]["figures"][0].update(file=file))
    (found,) = read_evaluations(folder)
    assert found.result is not None and found.pictures == ()
    assert found.left_out == (f"The figure map is left out: {said}.",)
    assert evaluation_section(found, "1").left_out == found.left_out


def test_long_tables_are_grouped_by_who_they_speak_of() -> None:
    quantities = [f"linf_{eps}_{attack}" for eps in (0.1, 0.2) for attack in ("pgd", "square", "worst")]
    names = [f"{who}_{q}" for who in ("own", "backpropagation", "backpropagation_long", "hard") for q in quantities]
    few = ["shot_advantage", "blur_advantage"]
    tables = list(measure_tables([Measure(name, "%", (1.0,)) for name in [*names, *few]]))
    assert [(t.title, len(t.rows), t.folded) for t in tables] == [
        ("This network", 6, False),
        ("Backpropagation", 6, True),
        ("Backpropagation, long", 6, True),
        ("Hard WTA", 6, True),
        ("More", 2, True),
    ]
    assert tables[2].rows[0][0] == "linf 0.1 pgd" and tables[4].rows[0][0] == "shot advantage"
    assert all(table.columns == ("measure", "mean ± std", "n") for table in tables)
    long = list(measure_tables([Measure(f"own_{number}", "%", (1.0,)) for number in range(26)]))
    assert [(t.title, len(t.rows), t.folded) for t in long] == [("This network", 26, True)]
    short = list(measure_tables([Measure(f"own_{number}", "%", (1.0,)) for number in range(25)]))
    assert [(t.title, len(t.rows), t.folded) for t in short] == [("", 25, False)]
    assert list(measure_tables([])) == []


def curve(name: str, x_label: str = "x") -> Curve:
    return Curve(name, x_label, "y", (0.0, 1.0), (0.0, 1.0))


def test_curves_share_a_figure_where_they_share_axes() -> None:
    groups = curve_groups([curve("noise own"), curve("blur own", "width"), curve("noise hard")])
    assert [[c.name for c in group] for group in groups] == [["noise own", "noise hard"], ["blur own"]]
    many = [curve(f"{who} {readout}") for who in ("a", "b", "c", "d") for readout in ("linear", "labels")]
    assert [[c.name[2:] for c in group] for group in curve_groups(many)] == [["linear"] * 4, ["labels"] * 4]
    alike = [curve(f"a {number} b") for number in range(2 * CURVES_UP_TO + 1)]
    assert [len(group) for group in curve_groups(alike)] == [CURVES_UP_TO, CURVES_UP_TO, 1]


def test_labels_tell_curves_apart() -> None:
    assert labels(["1_pass own linear", "1_pass hard linear"]) == ("1 pass linear", ["this network", "hard WTA"])
    assert labels(["a", "a b"]) == ("", ["a", "a b"])
    assert labels(["a b", "a_b"]) == ("", ["a b", "a_b"])
    assert labels(["a x a", "a a"]) == ("a", ["x a", "a"])


@pytest.mark.parametrize(
    ("x", "ticks"),
    [
        ((0, 1, 50), {"0", "10"}),
        ((1, 10, 5000), {"10", "1,000"}),
        ((0, 1, 5000), {"0", "1", "1,000"}),
        ((0, 0.05), {"0.04"}),
    ],
)
def test_the_x_axis_is_logarithmic_above_two_decades(x: tuple[float, ...], ticks: set[str]) -> None:
    y = tuple(7777.0 for _ in x)
    svg = lines({"": Series(x, y, y, y)}, "x" * 200, "y " * 60, name="one").decode()
    found = set(re.findall(r"<text[^>]*>([\d.,]+)</text>", svg))
    assert ticks <= found and ("1,000" in found) == (max(x) > 1000), found


ARCHITECTURES = {
    "First-layer prototypes": Architecture(
        (1, 8, 8), (LinearBlock(9, SoftHebb(60.0), normalize=False, activation="soft_wta"),), unit_norm=True
    ),
    "First-layer filters": Architecture((1, 8, 8), (SPHeReConvBlock(4, projection=8),)),
}


@pytest.mark.parametrize("title", ARCHITECTURES)
def test_posteriors_and_local_losses_make_a_page(title: str, tmp_path: Path, store: Store) -> None:
    local = title == "First-layer filters"
    recipe = Recipe(
        "other",
        "digits",
        ARCHITECTURES[title],
        learning=Learning(200, optimizer=AdamW()) if local else Learning(200),
        readout=Readout(epochs=1, batch_size=500),
        baselines=("backpropagation",),
        supervised=Supervised(epochs=1, batch_size=500),
    )
    run_recipe(recipe, TrainOptions(device="cpu", precision="float32"), folder=tmp_path / "run", store=store)
    headings = Document(page(tmp_path / "run", store)).headings
    assert title in headings and ("Win rates" in headings) == ("Learning without labels" in headings) == (not local)


def test_filters_of_whitened_blocks_are_shown_as_they_see_pixels() -> None:
    plain = Architecture((3, 8, 8), (ConvBlock(4, 3), WhitenedBlock(3, 2))).build(0)
    assert first_layer(plain)[1] is plain.block1.layer.weight
    network = Architecture((3, 8, 8), (WhitenedBlock(5, 3, floor=0.0),)).build(0)
    for model, said in ((plain, False), (network, True)):
        recipe = Recipe("other", "cifar10", model.architecture)
        (section,) = _filters(SimpleNamespace(network=model, recipe=recipe))  # type: ignore[arg-type]
        assert ("times the whitening" in section.note) == said
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network.block1.whiten.init_from_data(x, torch.Generator().manual_seed(0))
    name, weight = first_layer(network)
    assert name == "block1.layer" and weight.shape == (5, 3, 3, 3)
    seen = network.block1.whiten.matrix.T @ network.block1.layer.weight.flatten(1).T
    expected = (seen - seen.mean(0)).T.view(5, 3, 3, 3)
    torch.testing.assert_close(weight, expected)
