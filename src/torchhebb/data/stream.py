"""Streams of images that do not fit in memory: rows of Parquet are read, shuffled and decoded during training.

What is alive at once: the encoded images of the shuffle buffer, the decoded ones of a batch, and those that the workers
are ahead of it. Shapes: B images of one batch, C channels, S x S pixels.
"""

import atexit
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from gc import collect
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from torchhebb.data.batches import Augment, Batches, check_epoch, crop_boxes, seeded
from torchhebb.data.decode import Cut, Record, read_pixels
from torchhebb.data.files import reason
from torchhebb.data.images import Images
from torchhebb.data.preprocessing import Box, Preprocessing
from torchhebb.data.sources.source import checked
from torchhebb.data.threads import in_order
from torchhebb.errors import UserError, need

BUFFER = 1000  # encoded images: of ImageNet about 110 MB
WORKERS = 8  # threads that decode; PIL lets go of the interpreter meanwhile
_ROWS = 64


@runtime_checkable
class Rows(Protocol):
    """Rows that `datasets` can stream, in shards; `image` and `label` name their columns."""

    count: int
    names: Any
    image: str
    label: str | None

    @property
    def classes(self) -> int | None: ...

    @property
    def place(self) -> str: ...

    def stream(self, datasets: Any) -> Any:
        """A fresh `IterableDataset` of both columns, images not decoded."""
        ...


class Stream(Images):
    """The images of a split as a stream: its length is known, its pixels only batch by batch.

    `share` keeps this fraction of every pass, one row in 1 / share along the shuffled order, so that all classes are
    represented even if the shards are sorted by class; another pass takes other rows.
    Errors: UserError if all images or labels are requested at once.

    >>> from torchhebb.data import load_data
    >>> isinstance(load_data("digits").train, Stream)  # 1,348 images are held in memory
    False
    """

    def __init__(
        self,
        rows: Rows,
        preprocessing: Preprocessing,
        *,
        share: float = 1.0,
        buffer: int = BUFFER,
        workers: int = WORKERS,
    ) -> None:
        self.__dict__.update(rows=rows, preprocessing=preprocessing, share=share, buffer=buffer, workers=workers)

    rows: Rows
    preprocessing: Preprocessing
    share: float
    buffer: int
    workers: int

    @property
    def images(self) -> Tensor:
        raise self._refused()

    @property
    def labels(self) -> Tensor:
        raise self._refused()

    def __len__(self) -> int:
        return max(1, round(self.share * self.rows.count))

    def part(self, share: float) -> "Stream":
        """The stream with this fraction of its images in every pass."""
        share *= self.share
        return Stream(self.rows, self.preprocessing, share=share, buffer=self.buffer, workers=self.workers)

    def head(self, count: int) -> Tensor:
        """The first images in the order of the shards, uint8 (count, C, S, S), to look at."""
        found = []
        with closing(_records(self.rows, None, self.buffer, 0, 1)) as records:
            for place, content, _ in records:
                found.append(torch.from_numpy(read_pixels(place, content, self.preprocessing)))
                if len(found) == count:
                    break
        return torch.stack(found)

    def _refused(self) -> UserError:
        return UserError(
            f"{self.rows.place} is streamed, and this needs all of its {self.rows.count} images at once: "
            "use a question that reads them batch by batch, or a smaller data set"
        )


@dataclass(frozen=True, eq=False)
class StreamBatches:
    """The epochs of a stream, with the interface of `Batches`: float32 (B, C, S, S) in [0, 1] on `device`.

    Every epoch gives every row of the split once, or the stream's share of them: shards in an order of the epoch's own,
    through a shuffle buffer that draws from ten of them at a time.  Images are cut as their preprocessing says, or to a
    random box of the whole image where `augment.crop_area` says so.  Order and views follow from (seed, epoch) and the
    place in the epoch; an epoch that is taken up at batch k reads what lies before it, but does not decode it.

    Of `world` processes each gets 1 / world of the rows and the same number of batches; where its shards hold fewer
    rows it begins them again, and where they hold more the rest is left out.

    >>> from torchhebb.data import load_data
    >>> batches = batches_of(load_data("digits").train, 100)  # the same interface for images in memory
    >>> len(batches), next(iter(batches.epoch(0)))[0].shape
    (14, torch.Size([100, 1, 8, 8]))
    """

    source: Stream
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    augment: Augment = Augment()
    labelled: bool = True
    device: torch.device | str | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UserError(f"rank must be from 0 to {self.world - 1}, got {self.rank}")
        if not 1 <= self.batch_size <= self._samples:
            raise UserError(
                f"batch_size must be from 1 to {self._samples}, the images of a pass, got {self.batch_size}"
            )

    @property
    def _samples(self) -> int:
        return len(self.source) // self.world

    def __len__(self) -> int:
        return -(-self._samples // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches `start`, `start` + 1, ... of epoch `number`: x, or (x, labels) where `labelled`."""
        check_epoch(number, start, len(self))
        return self._epoch(number, start)

    def _epoch(self, number: int, start: int) -> Iterator[Any]:
        generator = seeded(self.seed, number)
        seed = int(torch.randint(2**31, (), generator=generator)) if self.shuffle else None
        rows = self.source.rows
        with closing(_taken(rows, seed, self.source.buffer, self.rank, self.world, self._samples)) as records:
            for _ in range(start * self.batch_size):
                next(records)
            read = partial(self._read, number)
            with closing(in_order(read, records, start * self.batch_size, self.source.workers)) as decoded:
                for batch in range(start, len(self)):
                    count = min(self.batch_size, self._samples - batch * self.batch_size)
                    pairs = [next(decoded) for _ in range(count)]
                    yield self._batch(pairs, number, batch)

    def _read(self, number: int, position: int, record: Record) -> tuple[np.ndarray, int]:
        place, content, label = record
        cut: Cut | None = None
        if self.augment.crop_area < 1:
            cut = partial(_random_box, self.augment.crop_area, seeded(self.seed, number, position, self.rank))
        return read_pixels(place, content, self.source.preprocessing, cut), label

    def _batch(self, pairs: list[tuple[np.ndarray, int]], number: int, batch: int) -> Any:
        x = torch.from_numpy(np.stack([pixels for pixels, _ in pairs])).to(self.device)
        # The resized crop is already made, from the whole image.
        rest = replace(self.augment, crop_area=1.0)
        x = rest(x, seeded(self.seed, number, batch, self.rank, device=x.device)) if rest.active else x
        x = x.float() / 255
        labels = torch.tensor([label for _, label in pairs], device=x.device)
        return (x, labels) if self.labelled else x


def batches_of(
    images: Images,
    batch_size: int,
    *,
    seed: int = 0,
    shuffle: bool = True,
    augment: Augment | None = None,
    labelled: bool = True,
    device: torch.device | str | None = None,
    order: Callable[[int], Tensor] | None = None,
) -> Batches | StreamBatches:
    """Batches of images that are in memory or streamed; `order` is for images in memory, a stream has its own.

    >>> from torchhebb.data import load_data
    >>> x, labels = next(batches_of(load_data("digits").test, 2).epoch(0))
    >>> tuple(x.shape), tuple(labels.shape)
    ((2, 1, 8, 8), (2,))
    """
    if isinstance(images, Stream):
        views = augment or Augment()
        return StreamBatches(images, batch_size, seed, shuffle, views, labelled, device)
    labels = images.labels if labelled else None
    return Batches(
        images.images,
        batch_size,
        labels=labels,
        seed=seed,
        shuffle=shuffle,
        augment=augment,
        device=device,
        order=order,
    )


def first_images(images: Images, count: int) -> Tensor:
    """The first images, uint8 (count, C, H, W), of a data set in memory or streamed.

    >>> from torchhebb.data import load_data
    >>> first_images(load_data("digits").train, 100).shape
    torch.Size([100, 1, 8, 8])
    """
    return images.head(count) if isinstance(images, Stream) else images.images[:count]


def in_file_order(rows: Rows) -> Generator[Record, None, None]:
    """All records in the order of the shards, not decoded."""
    return _records(rows, None, 1, 0, 1)


def _random_box(least_area: float, generator: torch.Generator, width: int, height: int) -> Box:
    left, top, right, bottom = crop_boxes(height, width, least_area, 1, generator)[0].tolist()
    return left, top, min(right, width), min(bottom, height)


def _taken(
    rows: Rows, seed: int | None, buffer: int, rank: int, world: int, wanted: int
) -> Generator[Record, None, None]:
    """Exactly `wanted` records, spread evenly over what this rank's shards hold."""
    total, taken = rows.count // world, 0
    while taken < wanted:
        before = taken
        with closing(_records(rows, seed, buffer, rank, world)) as records:
            for position, record in enumerate(records):
                # Of `total` rows the `wanted` ones at which the rounded share steps up by one.
                if (position + 1) * wanted // total > position * wanted // total:
                    yield record
                    taken += 1
                    if taken == wanted:
                        return
        if taken == before:
            raise UserError(f"{rows.place} holds no images for process {rank} of {world}")


def _records(rows: Rows, seed: int | None, buffer: int, rank: int, world: int) -> Generator[Record, None, None]:
    """All rows of this rank, through the shuffle buffer where a seed is given, not decoded."""
    datasets = need("datasets", "streaming a data set")
    _pause_at_exit(datasets)
    from datasets.distributed import split_dataset_by_node

    batches, ended = None, False
    row = 0
    try:
        try:
            stream = rows.stream(datasets)
            if seed is not None:
                stream = stream.shuffle(seed=seed, buffer_size=buffer)
            if world > 1:
                stream = split_dataset_by_node(stream, rank=rank, world_size=world)
            batches = stream.iter(_ROWS)
        except Exception as error:
            raise UserError(f"cannot stream {rows.place}: {reason(error)}") from error
        while True:
            try:
                batch = next(batches, None)
            # pyarrow, datasets and the network raise a dozen unrelated types.
            except Exception as error:
                raise UserError(f"cannot stream {rows.place}: {reason(error)}") from error
            if batch is None:
                ended = True
                return
            labels = batch[rows.label] if rows.label else [None] * len(batch[rows.image])
            for content, label in zip(batch[rows.image], labels, strict=True):
                yield checked(f"row {row} of {rows.place}", content, label, rows.classes)
                row += 1
    finally:
        # A stream that is left half read can keep the interpreter from exiting (apache/arrow issue 45214).
        if batches is not None:
            batches.close()
        batches = stream = batch = None
        if not ended:
            collect()


def _pause_at_exit(datasets: Any) -> None:
    """Let `datasets` not sleep for seconds after every pass, but once, when the interpreter ends.

    It sleeps so that no thread of pyarrow outlives the interpreter (apache/arrow issue 45214).
    """
    seconds = datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN
    if seconds > 0:
        datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
        atexit.register(time.sleep, seconds)
