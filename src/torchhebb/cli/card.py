"""torchhebb card: the model card of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.cli.flags import parse
from torchhebb.errors import UserError


@dataclass(frozen=True)
class CardFlags:
    """Write the model card of a finished run for the Hugging Face hub: results, use, preprocessing, how it was made."""

    run: tyro.conf.Positional[Path]
    """A run folder."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write; by default RUN/README.md."""


def run(arguments: list[str]) -> int:
    """torchhebb card RUN [--out FILE]"""
    from torchhebb.hub import run_card

    flags = parse(CardFlags, arguments, "torchhebb card")
    card, out = run_card(flags.run), flags.out or flags.run / "README.md"
    try:
        out.write_text(card, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another file") from error
    print(f"model card: {out}")
    return 0
