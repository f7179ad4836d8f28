"""Products of samples, summed over features that are seen once and forgotten."""

import json
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.files import written_beside
from torchhebb.ops.int8 import int8_products
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts.base import is_constant
from torchhebb.readouts.factor import blocks

TILE = 2048  # rows and columns of a tile
SUMMED = 8192  # features that are summed over at once
COLUMNS = 1024  # of them are standardised at once, in float32
CLIP = 6.0  # standard deviations at which int8 ends


class Tiled(ABC):
    """A symmetric matrix over `fitted` samples, and `others` rows more, as tiles (i, j), j <= i, of its lower part."""

    rows: list[slice]
    """The samples of each row of tiles; no tile crosses the last of those fitted."""
    fitted: int
    """How many samples have columns; they come first."""

    @abstractmethod
    def tile(self, i: int, j: int) -> Tensor:
        """A tile (rows of i, rows of j), which may be written into."""

    @property
    def columns(self) -> list[slice]:
        """The rows of tiles that are columns too."""
        return [rows for rows in self.rows if rows.stop <= self.fitted]

    def places(self) -> Iterator[tuple[int, int]]:
        """All tiles in order."""
        for i in range(len(self.rows)):
            for j in range(min(i + 1, len(self.columns))):
                yield i, j

    def means(self) -> Tensor:
        """The mean over the fitted samples of every row of the whole matrix, float64."""
        total = torch.zeros(self.rows[-1].stop, dtype=torch.float64, device=self.tile(0, 0).device)
        for i, j in self.places():
            tile = self.tile(i, j)
            total[self.rows[i]] += tile.sum(1, dtype=torch.float64)
            if j < i < len(self.columns):
                total[self.rows[j]] += tile.sum(0, dtype=torch.float64)
        return total / self.fitted

    def mean_diagonal(self) -> float:
        """The mean of the diagonal over the fitted samples."""
        diagonals = [self.tile(i, i).diagonal() for i in range(len(self.columns))]
        return torch.cat(diagonals).double().mean().item()


class SampleProducts(Tiled):
    """Z Z^T of standardised features Z, summed over blocks of features: width costs time, and no memory.

    Features are standardised by the moments of the fitted samples.  With `int8` they are clipped at six standard
    deviations, rounded to 127 steps of that, and multiplied with exact int32 sums, so the matrix is that of the rounded
    features, positive semi-definite whatever the rounding; without, products are float32.

    The tiles take 4 bytes for each pair: 5 GB for 50,000 fitted samples, 2 GB more for 10,000 others.

    Args: kept, held, others: how many samples are fitted to, chosen on (they are fitted to in the end) and predicted;
    in this order they are rows.
    """

    def __init__(
        self, kept: int, held: int = 0, others: int = 0, *, int8: bool = True, device: torch.device | None = None
    ) -> None:
        self.kept, self.fitted, self.int8 = kept, kept + held, int8
        ends = (0, kept, kept + held, kept + held + others)
        self.rows = [
            slice(start + part.start, start + part.stop)
            for start, end in zip(ends, ends[1:], strict=False)
            for part in blocks(end - start, TILE)
        ]
        self.width = 0
        self.tiles = {
            (i, j): torch.zeros(_length(self.rows[i]), _length(self.rows[j]), device=device) for i, j in self.places()
        }

    def add(self, features: Tensor, *, label: str = "products", progress: Progress = SILENT) -> None:
        """Add the products of some features (samples, f) of all samples, in the order of the rows.

        Raises UserError for features that are not finite.
        """
        places, sums = list(self.places()), list(blocks(features.shape[1], SUMMED))
        progress.start(label, len(sums) * len(places), "tiles")
        for columns in sums:
            parts = [features[:, columns][:, some] for some in blocks(columns.stop - columns.start, COLUMNS)]
            z = torch.cat([standardised(part, self.fitted, int8=self.int8)[0] for part in parts], 1)
            for i, j in places:
                left, right = z[self.rows[i]], z[self.rows[j]]
                if self.int8:
                    self.tiles[i, j].add_(int8_products(left, right), alpha=(CLIP / 127) ** 2)
                else:
                    self.tiles[i, j].addmm_(left, right.T)
                progress.advance(1)
        progress.finish()
        self.width += features.shape[1]

    def tile(self, i: int, j: int) -> Tensor:
        return self.tiles[i, j].clone()

    def save(self, path: Path, key: dict[str, Any], position: int) -> None:
        """Keep everything in one file, complete or absent, tile after tile and so without a second copy in memory.

        Raises UserError where the disk is too small or cannot be written.
        """
        header = json.dumps({"key": key, "position": position, "width": self.width}).encode()
        try:
            with written_beside(path) as beside, open(beside, "wb") as file:
                needed, free = sum(tile.nbytes for tile in self.tiles.values()), shutil.disk_usage(path.parent).free
                if needed > free:
                    raise UserError(f"{path} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on its disk")
                check = zlib.crc32(header)
                file.write(len(header).to_bytes(8, "little") + header)
                for place in self.places():
                    data = _bytes(self.tiles[place])
                    check = zlib.crc32(data, check)
                    file.write(data)
                file.write(check.to_bytes(4, "little"))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error

    def restore(self, path: Path, key: dict[str, Any]) -> int:
        """Read what `save` kept under the same key, and return its position; 0 without such a file.

        Raises UserError for a file that is damaged or of another key.
        """
        if not path.exists():
            return 0
        try:
            with open(path, "rb") as file:
                header = file.read(int.from_bytes(file.read(8), "little") % 2**20)
                check = zlib.crc32(header)
                for place in self.places():
                    tile = torch.empty(self.tiles[place].shape)
                    data = _bytes(tile)
                    file.readinto(data)
                    check = zlib.crc32(data, check)
                    self.tiles[place].copy_(tile)
                whole = file.read(5) == check.to_bytes(4, "little")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        if not whole:
            raise UserError(f"{path} is damaged: delete it, and the products are summed anew")
        found = json.loads(header)
        if found["key"] != json.loads(json.dumps(key)):
            raise UserError(f"{path} holds the products of other features: delete it, or choose another folder")
        self.width = found["width"]
        return int(found["position"])


class Centred(Tiled):
    """A matrix of products whose samples are centred: less the mean of those fitted."""

    def __init__(self, source: Tiled) -> None:
        self.source, self.rows, self.fitted = source, source.rows, source.fitted
        means = source.means()
        overall = means[: self.fitted].mean()
        self._row, self._column = (means - overall).float(), means.float()

    def tile(self, i: int, j: int) -> Tensor:
        tile = self.source.tile(i, j)
        return tile.sub_(self._row[self.rows[i]].unsqueeze(1)).sub_(self._column[self.rows[j]])


class Exponential(Tiled):
    """exp(scale k) - 1, entry by entry: the weighted products of all products of features.

    It is as positive semi-definite as k.  A ridge on it is a ridge on the products of any number of features, not on
    the features: its readout is not linear in them.  The 1 falls out where samples are centred.
    """

    def __init__(self, source: Tiled, scale: float) -> None:
        self.source, self.rows, self.fitted, self.scale = source, source.rows, source.fitted, scale

    def tile(self, i: int, j: int) -> Tensor:
        return self.source.tile(i, j).mul_(self.scale).expm1_()


class Scaled(Tiled):
    """A matrix times a number."""

    def __init__(self, source: Tiled, factor: float) -> None:
        self.source, self.rows, self.fitted, self.factor = source, source.rows, source.fitted, factor

    def tile(self, i: int, j: int) -> Tensor:
        return self.source.tile(i, j).mul_(self.factor)


def standardised(features: Tensor, fitted: int, *, int8: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Features (samples, f) of mean 0 and variance 1 over the first `fitted`; their mean, and the factor they took.

    With `int8` they are clipped, and rounded to int8 in units of `CLIP / 127`.  A constant feature is zero.
    Raises UserError for features that are not finite.
    """
    x = features.float()
    mean = x[:fitted].mean(0)
    x = x - mean
    std = x[:fitted].square().mean(0).sqrt()
    if not std.isfinite().all():
        raise UserError("features must be finite, got infinite or missing numbers: did the network diverge?")
    scale = torch.where(is_constant(std, mean), 0.0, 1 / std.clamp_min(torch.finfo(torch.float32).tiny))
    x.mul_(scale)
    return x.clamp_(-CLIP, CLIP).mul_(127 / CLIP).round_().to(torch.int8) if int8 else x, mean, scale


def _length(rows: slice) -> int:
    return rows.stop - rows.start


def _bytes(tile: Tensor) -> memoryview:
    """The memory of a tile."""
    return memoryview(tile.cpu().numpy().data).cast("B")
