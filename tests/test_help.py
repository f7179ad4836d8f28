"""What a user reads who asks: every flag has a description, and its default where it has one."""

import re

import pytest

from torchhebb import __version__
from torchhebb.cli import COMMANDS, main

RECIPES = ("softhebb2023-digits", "softhebb2022-digits", "sphere2025-digits", "softhebb2023-cifar10-best",
           "softhebb2022-mnist-ranked", "softhebb2023-cifar10-depth1-linear", "softhebb2023-stl10")  # fmt: skip
EVALUATED = ("accuracy", "attacks", "noise", "temperature")


def helped(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert not stop.value.code
    return capsys.readouterr().out


def undescribed(text: str) -> list[str]:
    """The flags of a help text that are followed by their default alone, or by the next flag.

    >>> undescribed("| --lr FLOAT\\n|   Rate. (default: 1)\\n| --seeds INT\\n|   (default: 3)\\n| --x INT (required)")
    ['--seeds', '--x']
    """
    found = []
    lines = [line.strip(" |│") for line in text.splitlines()]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not (flag := re.match(r"(?:-\w, )?(--[a-z][\w.-]*)", line)):
            continue
        rest = re.sub(r"\((?:default|required|repeatable)[^)]*\)", "", line)
        said = re.search(r"  +[A-Za-z0-9(].{4,}", rest) or not re.match(r"\(|-|╰|$", following)
        if not said:
            found.append(flag.group(1))
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_every_flag_of_train_is_described(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = helped(["train", name], capsys, monkeypatch)
    assert text.count("--") > 40 and undescribed(text) == []
    assert ">>>" not in text, "a doctest is no help"


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"train", "evaluate"}))
def test_every_flag_of_the_other_commands_is_described(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert undescribed(helped([command], capsys, monkeypatch)) == []


@pytest.mark.parametrize("question", EVALUATED)
def test_every_flag_of_a_question_is_described(
    question: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert undescribed(helped(["evaluate", question], capsys, monkeypatch)) == []


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"torchhebb {__version__}, torch ")


def test_the_list_says_what_learns_on_what_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "softhebb2023-cifar10*"]) == 0
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["softhebb2023-cifar10"][:3] == ["cifar10", "96-384-1536 SoftHebb", "23 min"]
    assert rows["softhebb2023-cifar10-hard"][1] == "96-384-1536 hard WTA"
