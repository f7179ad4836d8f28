"""Parts of the report page: figures with text alternatives, tables of words, sections."""

import base64
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from torchhebb.report import figures
from torchhebb.report.series import Series
from torchhebb.report.words import number


@dataclass(frozen=True)
class Figure:
    """A picture with its text alternative inside, and the caption that holds its numbers."""

    markup: Markup
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of words, a cell a column; a `title` folds them, and `folded` says whether they are folded at first."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """Figures and tables under one heading; `note` says what they show, `left_out` what is missing and why."""

    title: str
    note: str
    figures: tuple[Figure, ...]
    small: tuple[Figure, ...] = ()  # many small pictures, together as wide as one figure
    tables: tuple[Table, ...] = ()
    left_out: tuple[str, ...] = ()
    origin: str = ""  # how and where it was measured, if apart from the run


def drawn(svg: bytes, title: str, caption: str) -> Figure:
    """A drawing of `figures`, inside the page so that it follows its colours."""
    label = Markup('<svg role="img" aria-label="{}" ').format(f"{title}. {caption}")
    return Figure(label + Markup(svg.decode().removeprefix("<svg ")), caption)


def image(png: bytes, alt: str, caption: str, *, wide: bool = False) -> Figure:
    """Pixels."""
    data = base64.b64encode(png).decode()
    return Figure(Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, alt), caption, wide)


def card(svg: bytes, alt: str, caption: str) -> Figure:
    """A foreign drawing on white, as an image: its ids, styles and scripts stay apart from the page's."""
    data = base64.b64encode(svg).decode()
    markup = Markup('<img class="card" src="data:image/svg+xml;base64,{}" alt="{}">').format(data, alt)
    return Figure(markup, caption, wide=True)


def curves(series: dict[str, Series], x_label: str, title: str, key: str, **drawing: Any) -> Figure:
    """Lines under a title; the caption says where each begins and ends."""
    svg = figures.lines(series, x_label, title, name=f"{key} {title}", **drawing)
    ends = "; ".join(f"{name} {number(s.mean[0])} → {number(s.mean[-1])}" for name, s in series.items())
    return drawn(svg, f"{title} against {x_label}", f"{ends}.")
