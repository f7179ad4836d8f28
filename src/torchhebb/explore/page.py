"""The explore page: data as JSON, thumbnails as data URIs, with inlined scripts."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from torchhebb.errors import need, without_controls
from torchhebb.explore.neighbours import Neighbours
from torchhebb.files import write_atomically

DUPLICATES, ALIKE = 60, 0.8  # of unrelated photographs the most similar pairs reach about 0.5


@dataclass(frozen=True, eq=False)
class Explored:
    """What the page shows of `total` images: those at `places`, with their classes where these are known.

    >>> import torch
    >>> from torchhebb.explore.neighbours import nearest
    >>> points = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> shown = Explored("folder:photos", 2, ["a", "b"], None, [], points, nearest(points, 1), [], ["", ""], [])
    >>> len(shown.places)
    2
    """

    source: str
    total: int
    places: Sequence[str]
    labels: Sequence[str] | None
    classes: Sequence[str]
    points: Tensor
    neighbours: Neighbours
    outliers: Sequence[tuple[int, float]]
    thumbnails: Sequence[str]
    left_out: Sequence[str]


def thumbnail(pixels: Tensor) -> str:
    """An image (3, H, W) uint8 as base64 of a small WebP file."""
    buffer = io.BytesIO()
    need("PIL.Image", "thumbnails").fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "WEBP", quality=75)
    return base64.b64encode(buffer.getvalue()).decode()


def write_page(explored: Explored, path: Path, kind: str) -> None:
    """Write the page, complete or not at all; raises UserError if it cannot be written."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_file("page.html.j2"))
    page = template.render(
        source=explored.source,
        count=len(explored.places),
        total=explored.total,
        left_out=explored.left_out,
        kind={"tsne": "t-SNE of the features", "pca": "the first two principal components of the features"}[kind],
        data=_as_script(_data(explored)),
        plotly=need("plotly.offline", "the page of torchhebb explore").get_plotlyjs(),
        script=_file("page.js"),
    )
    write_atomically(path, without_controls(page))


def _data(explored: Explored) -> dict[str, Any]:
    near = explored.neighbours
    return {
        "x": [round(x, 4) for x in explored.points[:, 0].tolist()],
        "y": [round(y, 4) for y in explored.points[:, 1].tolist()],
        "files": [_printable(place) for place in explored.places],
        "names": [_printable(name) for name in explored.classes],
        "labels": None if explored.labels is None else [explored.classes.index(name) for name in explored.labels],
        "near": near.index.tolist(),
        "alike": [[round(value, 3) for value in row] for row in near.similarity.tolist()],
        "duplicates": [[i, j, round(value, 3)] for i, j, value in near.duplicates(ALIKE, DUPLICATES)],
        "outliers": [[i, round(value, 2)] for i, value in explored.outliers],
        "thumbnails": list(explored.thumbnails),
    }


def _as_script(data: Any) -> str:
    """JSON in which no text can end the script element."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _printable(text: str) -> str:
    """A name without control characters and lone surrogates."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
