"""Names and files of strangers: nothing runs, nothing reaches a terminal or a page as more than text."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.faults.command import say
from tests.faults.images import picture
from torchhebb.files import read_bytes

EVIL = "<script>alert(1)</script>\x1b[2J"
"""A class name that is markup and clears a terminal."""
PICTURE = '<img src=x onerror="alert(2)">.png'
SIMILARITY = ["evaluate", "similarity", "run", "--images-per-class", "2", "--baselines", "own"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Photos whose class and file names are hostile, and a run of them."""
    folder = tmp_path_factory.mktemp("stranger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHHEBB_STORE", str(folder / "store"))
        for name in (EVIL.replace("/", "∕"), "b&'\"c", "\udcff\udcfe"):
            (folder / "photos" / name).mkdir(parents=True)
            for number in range(12):
                picture(number, 8, 8).save(folder / "photos" / name / f"{number}{PICTURE}")
        said = say(["train", "--data", "folder:photos", "--device", "cpu", "--seeds", "1", "--out", "run",
                    "--readout.strengths", "0.1"], folder)  # fmt: skip
        assert said.code == 0, said.error
        printable(said.out)
        yield folder
    torch.set_flush_denormal(False)


def printable(text: str) -> None:
    assert not [character for character in text if not character.isprintable() and character not in "\n\t"]


def test_pages_hold_names_as_text(folder: Path) -> None:
    said = say(["explore", "run", "folder:photos", "--map", "pca"], folder)
    assert said.code == 0, said.error
    for name in ("report.html", "explore.html"):
        page = (folder / "run" / name).read_text(encoding="utf-8", errors="surrogateescape")
        assert "<script>alert" not in page and "<img src=x" not in page and "\x1b" not in page


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "run", "folder:photos"],
        ["card", "run"],
        SIMILARITY,
        ["embed", "run", "folder:photos", "--out", "out.csv"],
    ],
)
def test_terminals_get_printable_characters(command: list[str], folder: Path) -> None:
    said = say(command, folder)
    assert said.code == 0, said.error
    printable(said.out + said.error)


def test_a_table_of_predictions_has_a_line_for_each_image(folder: Path) -> None:
    said = say(["predict", "run", "folder:photos"], folder)
    assert len(said.out.splitlines()) == 36


def started(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    surroundings = {**os.environ, "TORCHHEBB_STORE": str(folder / "store"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torchhebb", *arguments]
    return subprocess.run(command, cwd=folder, env=surroundings | environment, capture_output=True, timeout=200)


def test_an_ascii_terminal_is_told_everything(folder: Path) -> None:
    said = started(folder, "predict", "run", "folder:photos", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert said.returncode == 0 and not said.stderr and len(said.stdout.splitlines()) == 36
    assert said.stdout.isascii() and rb"\x1b" in said.stdout and rb"\udcff" in said.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_the_output_is_one_line(folder: Path) -> None:
    surroundings = {**os.environ, "TORCHHEBB_STORE": str(folder / "store"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "torchhebb", "predict", "run", "folder:photos"]
        said = subprocess.run(command, cwd=folder, env=surroundings, stdout=full, stderr=subprocess.PIPE, timeout=200)
    assert said.returncode == 2 and said.stderr == b"torchhebb: No space left on device\n"


def test_a_reader_that_leaves_ends_the_command_without_a_traceback(folder: Path) -> None:
    surroundings = {**os.environ, "TORCHHEBB_STORE": str(folder / "store"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torchhebb", "list"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=surroundings, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(200) == 141


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    code = f"cos\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode()
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    for name in ("model.safetensors", "readout.safetensors", "config.json", "result.json", "classes.json"):
        before = read_bytes(run / name)
        (run / name).write_bytes(code)
        for command in (
            ["predict", "run", "x.png"],
            ["report", "run"],
            ["embed", "run/model.safetensors", "x.png", "-o", "o.npz"],
        ):
            Image.new("L", (8, 8)).save(tmp_path / "x.png")
            assert say(command, tmp_path).code in (0, 2)
        (run / name).write_bytes(before)
    assert not (tmp_path / "ran").exists()


def test_a_drawing_of_a_stranger_is_an_image_and_no_part_of_the_page(folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    shutil.copytree(folder / "photos", tmp_path / "photos")
    assert say(SIMILARITY, tmp_path).code == 0
    drawn = next(run.glob("similarity-*.svg"))
    drawn.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(3)</script></svg>')
    assert say(["report", "run"], tmp_path).code == 0
    assert "alert(3)" not in (run / "report.html").read_text()


def test_a_pipe_among_images_is_left_out(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "y.png")
    said = say(["predict", str(folder / "run"), str(tmp_path / "x.png")], folder)
    assert said.code == 2 and "it is no regular file" in said.error
