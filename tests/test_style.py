"""The prose of pages, docstrings, comments and messages uses the words of the field: phrases that must not occur."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Pattern of the phrase (whole words, any case, across line ends) and the words to use instead.
PHRASES = {
    r"(reads?|reading) (about |only |at |as )?\d+(\.\d+)?\s?(%|percent)": "reaches N % accuracy",
    r"reads? as random": "is as accurate as random weights",
    r"reads? (worse|better|alike)": "is less (more, equally) accurate",
    r"(stands?|stood|standing) (beside|above|below|behind|far)": "is compared with, is above, is below",
    r"what stands": "what is",
    r"asks? (a|any|the) run": "evaluates a run",
    r"(is|are|was|were) asked of": "evaluates",
    r"at hand": "available, in memory",
    r"be had here": "is available",
    r"who wins": "which neuron wins",
    r"contenders?": "baseline",
    r"(a|the|this) share of": "the fraction of, a percentage of",
    r"the ground on which": "the data on which",
    r"for want of": "because there is no",
    r"the house": "the code, the library",
    r"costs? nothing": "takes no time, trains nothing",
    r"pays? (off|where|when|less|to depth|as in)": "helps, is faster",
    r"comes? to radius": "reaches radius",
    r"(begins?|begun|computed|fitted|made|trained|compiled) anew": "again",
    r"(goes|went|go) on with": "continues with",
    r"hands? on": "returns, passes on",
}
_BETWEEN_WORDS = r"[\s#>*]+"
CHECKED = {
    re.compile(rf"\b{phrase.replace(' ', _BETWEEN_WORDS)}(?!\w)", re.IGNORECASE): say for phrase, say in PHRASES.items()
}
_FENCE = re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """README and the pages of the site; what the build of the site writes is left out."""
    written = [page for page in (ROOT / "docs").rglob("*.md") if not {"_build", "api"} & set(page.parts)]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(written)]


def sources() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def prose(path: Path) -> str:
    """The text of a file with its code blanked, so that lines keep their numbers: of Python, strings and comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return _FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    kept = [" "] * text.count("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            for number, line in enumerate(token.string.splitlines(), token.start[0] - 1):
                kept[number] += line + " "
    return "\n".join(kept)


def unwanted(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and better words of everything in a text that is on the list.

    >>> list(unwanted("The network\\nreads 71 % after a pass."))
    [(2, 'reads 71 %', 'reaches N % accuracy')]
    """
    for pattern, say in CHECKED.items():
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), say


def test_the_words_of_the_field() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {phrase!r}; say: {say}"
        for path in (*pages(), *sources())
        for line, phrase, say in unwanted(prose(path))
    ]
    assert not found, "\n".join(found)


def test_a_phrase_is_found_across_lines_and_not_in_code() -> None:
    assert [line for line, _, _ in unwanted("hard WTA stands\n# beside it")] == [1]
    assert not list(unwanted("The loader reads 20 files; the stand is besides."))
