"""The page: every section is there, everything from outside is escaped, nothing outside is asked for."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from tests.tiny import edit_json
from torchhebb.cli import main
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.report import Answers, read_run, render, write_report
from torchhebb.report.figures import confusion, lines, win_rate_shares
from torchhebb.report.pictures import filters
from torchhebb.report.series import Series, learning_series
from torchhebb.train import read_result

SECTIONS = (
    *("Accuracy", "Learning without labels", "Win rates", "First-layer filters", "Mistakes"),
    *("Configuration", "Environment"),
)


class Document(HTMLParser):
    """Tags with their attributes in order, and the text under each heading tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.append("/" + tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] in ("h1", "h3"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def page(tiny_run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([tiny_run], tmp_path_factory.mktemp("page") / "p.html", store=store).read_text("utf-8")


@pytest.fixture()
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    """The tiny run once more, for a test to change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "copy"))


def test_every_section_is_there(page: str, tiny_run: Path) -> None:
    document = Document(page)
    assert document.headings == ["softhebb2023-digits", *SECTIONS]
    result = read_result(tiny_run / "result.json")
    for said in (
        f"{result.measure('test_accuracy').mean:.2f}",
        f"{result.measure('random_test_accuracy').mean:.2f}",
        f"{result.measure('raw_test_accuracy').mean:.2f}",
        "98.50",
        result.device,
        result.versions["torch"],
        result.commit,
        result.command,
        result.data["fingerprint"],
        "The embedded 8x8 digits",
        "inverse temperature",
        "readout: epochs",
    ):
        assert said in document.text, said


def test_every_picture_has_a_text_alternative(page: str) -> None:
    tags = Document(page).tags
    drawn = [attributes for tag, attributes in tags if tag == "svg"]
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(drawn) == 7 and all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in drawn)
    assert len(images) == 10 and all(len(a["alt"] or "") > 20 for a in images)
    assert sum(tag == "figcaption" for tag, _ in tags) == sum(tag == "figure" for tag, _ in tags) == 17


def test_nothing_outside_is_asked_for(page: str) -> None:
    for tag, attributes in Document(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        for name in ("src", "href", "action", "data"):
            assert re.match(r"data:image/png|#", attributes.get(name) or "#"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", page))
    assert "http:" not in page and "https:" not in page and "@import" not in page


def test_ids_are_unique_and_references_resolve(page: str, tiny_run: Path, store: Store) -> None:
    run = read_run(tiny_run, store=store)
    for text in (page, render([run, run])):
        ids = [attributes["id"] for _, attributes in Document(text).tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) == set(ids)


def test_text_from_outside_is_escaped(copy: Path, page: str, store: Store) -> None:
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt; &amp;" in page
    assert "<i>" not in page and "&lt;i&gt;slanted" in page
    hostile = ["<script>alert(1)</script>", "$x^2$", "</text>", "]]>", "猫", '"', "'", "&amp;", "8", "9"]
    (copy / "classes.json").write_text(json.dumps(hostile))
    text = render([read_run(copy, store=store)])
    document = Document(text)
    assert not [tag for tag, _ in document.tags if tag == "script"]
    assert "<script" not in text.lower() and "&lt;script&gt;" in text
    assert "$x^2$" in document.text and "猫" in document.text


def test_answers_agree_with_the_result(tiny_run: Path, store: Store) -> None:
    kept = len(store.entries())
    run = read_run(tiny_run, store=store)
    assert run.answers is not None and len(store.entries()) == kept, "features were computed a second time"
    right = (run.answers.predicted == run.answers.labels).double().mean().item()
    assert 100 * right == pytest.approx(run.result.measure("test_accuracy").values[0])
    assert run.answers.confusion(10).trace() == right * len(run.answers.labels)
    assert run.network.classifier.training is False


def test_confusion_and_most_confused_by_hand() -> None:
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    labels, predicted = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 0])
    answers = Answers(images, labels, predicted, torch.tensor([9.0, 1.0, 50.0, 60.0]).double(), {})
    assert answers.confusion(2).tolist() == [[1, 1], [2, 0]]
    assert answers.most_confused(2).tolist() == [3, 2]


def test_several_runs_are_compared_and_folded(tiny_run: Path, copy: Path, tmp_path: Path, store: Store) -> None:
    text = write_report([tiny_run, copy], tmp_path / "both.html", store=store).read_text("utf-8")
    tags = [tag for tag, _ in Document(text).tags]
    assert tags.index("table") < tags.index("details")
    runs = [
        attributes for tag, attributes in Document(text).tags if tag == "details" and attributes.get("class") == "run"
    ]
    assert len(runs) == 2 and not any("open" in attributes for attributes in runs)


def test_a_missing_data_set_is_said_in_a_sentence(copy: Path, store: Store) -> None:
    config = json.loads((copy / "config.json").read_text())
    config.pop("checksum", None)
    config["recipe"]["data"] = "folder:not-there"
    (copy / "config.json").write_text(json.dumps(config))
    text = render([read_run(copy, store=store)])
    assert Document(text).headings == ["softhebb2023-digits", *(name for name in SECTIONS if name != "Win rates")]
    assert "are left out: " in text and "not-there" in text


def test_other_images_of_the_same_name_are_not_judged(copy: Path, store: Store) -> None:
    edit_json(copy / "result.json", lambda result: result["data"].update(fingerprint="0" * 16))
    run = read_run(copy, store=store)
    assert run.answers is None and "other images" in run.left_out


@pytest.mark.parametrize("name", ["result.json", "config.json", "classes.json", "metrics.jsonl", "model.safetensors"])
@pytest.mark.parametrize("content", [None, "", "\0\xff{", "[]\n", "{}\n", '{"a": 1}\n'])
def test_an_unfinished_or_damaged_folder_is_one_line(
    copy: Path, name: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content.encode("latin-1"))
    assert main(["report", str(copy)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("torchhebb: ") and said.err.count("\n") == 1
    assert not (copy / "report.html").exists()


def test_the_command(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(tiny_run), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n" and out.stat().st_size < 1_000_000
    assert main(["report"]) == 2 and main(["report", str(tmp_path / "nothing")]) == 2
    (tmp_path / "file").write_text("")
    assert main(["report", str(tiny_run), "--out", str(tmp_path / "file" / "page.html")]) == 2
    assert not list(tmp_path.glob("**/.*"))


def test_train_adds_the_page(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(copy)]) == 0
    assert capsys.readouterr().out.endswith(f"report: {copy / 'report.html'}\n")
    assert Document((copy / "report.html").read_text("utf-8")).headings[1:] == list(SECTIONS)


def test_no_runs_make_no_page() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        render([])


def test_figures_follow_the_page_and_repeat_exactly() -> None:
    series = {"a": Series((0, 1), (1.0, 2.0), (0.5, 1.0), (2.0, 3.0))}
    svg = lines(series, "x", "y", name="one")
    assert svg == lines(series, "x", "y", name="one") and svg.startswith(b"<svg viewBox=")
    assert b"currentColor" in svg and b"var(--accent)" in svg and b"#00000" not in svg and b"http" not in svg


@pytest.mark.parametrize("classes", [2, 10, 30, 200])
def test_confusion_of_any_number_of_classes(classes: int) -> None:
    svg = confusion(torch.eye(classes, dtype=torch.long), [f"class {i}" for i in range(classes)], name="c").decode()
    assert (">1<" in re.sub(r"\s", "", svg)) == (classes <= 12) and ("class 1" in svg) == (classes <= 30)


@pytest.mark.parametrize("shape", [(5, 1, 3, 3), (200, 3, 5, 5), (4, 2, 3, 3), (3, 12)])
def test_filters_of_any_shape(shape: tuple[int, ...]) -> None:
    assert filters(torch.randn(shape), (3, 2, 2)).startswith(b"\x89PNG")


def test_win_rate_bins_hold_their_edges() -> None:
    names, shares = win_rate_shares(torch.tensor([0.0] * 4 + [1 / 32, 1 / 16, 1 / 8, 1.0]))
    assert dict(zip(names, shares, strict=True)) == {
        **dict.fromkeys(names, 0.0),
        "never": 50.0,
        "¼": 12.5,
        "½": 12.5,
        "1×": 12.5,
        "≥8": 12.5,
    }


def test_stages_of_greedy_learning_follow_one_another() -> None:
    log = [
        {"kind": "learning", "stage": stage, "samples": samples, "name": "block1.layer", "radius_mean": 1.0}
        for stage in (0, 1)
        for samples in (0, 50, 100)
    ]
    assert learning_series(log, "radius_mean")["block 1"].x == (0, 50, 100, 150, 200)


def test_the_library_says_unfinished(tmp_path: Path, copy: Path) -> None:
    (copy / "result.json").unlink()
    with pytest.raises(UserError, match="not finished.*--resume"):
        read_run(copy)
