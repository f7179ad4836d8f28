"""Loading of data sets by name: images are decoded once into the store and memory-mapped afterwards."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchhebb.config import to_json
from torchhebb.data.decode import decode
from torchhebb.data.images import Data, Images, fingerprint, stratified_split
from torchhebb.data.preprocessing import Fit, Preprocessing, check_fit_name
from torchhebb.data.sources import ALL, CATALOGUE, Source, Split, Subset, find_source
from torchhebb.data.sources.hub import HubRows
from torchhebb.data.store import Store, Writer
from torchhebb.data.stream import Rows, Stream
from torchhebb.data.survey import Survey, survey
from torchhebb.errors import UserError
from torchhebb.progress import SILENT, Progress

_FORMAT = 2


def load_data(
    name: str | Source,
    *,
    data_dir: Path | str | None = None,
    size: int | None = None,
    fit: Fit = "crop",
    preprocessing: Preprocessing | None = None,
    skip_unreadable: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Data:
    """The data set called `name`: a name of `list_data()`, folder:PATH, parquet:PATH, hub:OWNER/NAME, or a source.

    Where a source has no test images, a fixed stratified fifth of its labelled images is held out; without labels
    nothing is.  The training images of imagenet, and of large sets on the hub, are a `Stream`.

    Args: data_dir (else $TORCHHEBB_DATA) holds the catalogue's `<name>/data/train-*.parquet` and `test-*.parquet`
    (docs/guides/data.md names exceptions); once set, a data set missing there is an error, and without it the hub is
    used.  size and fit resize images to size x size, see `Preprocessing`; without a size all must have the
    same, but imagenette, imagenet and imagenetv2, which come in all sizes, give 160 x 160.  preprocessing replaces
    both: the result of an earlier call.  skip_unreadable leaves images out that cannot be read; `Data.skipped`
    lists them.
    Errors: UserError, in one line, for whatever is missing, unreadable or does not fit together.

    >>> data = load_data("digits")
    >>> tuple(data.train.images.shape), len(data.test), data.fingerprint == load_data("digits").fingerprint
    ((1348, 1, 8, 8), 449, True)
    """
    if isinstance(name, str) and name in CATALOGUE and CATALOGUE[name].train is None:
        raise UserError(f"{name} is only for evaluation: torchhebb evaluate accuracy RUN --test-data {name}")
    arguments = (name, data_dir, size, fit, preprocessing, skip_unreadable, store or Store(), progress or SILENT)
    source, wanted, made, about = _stored(*arguments)
    splits = {split: Images(made[f"{split}_images"], made[f"{split}_labels"]) for split in about["splits"]}
    rows = about["streamed"]
    train: Images = splits["train"] if not rows else _stream(source, wanted)
    mark = f"{about['fingerprint']}-{len(train)}" if rows else about["fingerprint"]
    test = splits.get("test", train)
    skipped = tuple(about["skipped"])
    return Data(source.name, train, test, tuple(about["classes"]), mark, splits.get("unlabelled"), wanted, skipped)


def load_test(
    name: str,
    *,
    data_dir: Path | str | None = None,
    size: int | None = None,
    preprocessing: Preprocessing | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> tuple[Images, tuple[str, ...]]:
    """The test images of a data set and the names of its classes, for those that have nothing else too (imagenetv2).

    Arguments and errors as in `load_data`.

    >>> images, classes = load_test("digits")
    >>> len(images), classes[:3]
    (449, ('0', '1', '2'))
    """
    arguments = (name, data_dir, size, "crop", preprocessing, False, store or Store(), progress or SILENT)
    _, _, made, about = _stored(*arguments)
    return Images(made["test_images"], made["test_labels"]), tuple(about["classes"])


def _stored(
    name: str | Source,
    data_dir: Path | str | None,
    size: int | None,
    fit: Any,
    preprocessing: Preprocessing | None,
    skip_unreadable: bool,
    store: Store,
    progress: Progress,
) -> tuple[Source, Preprocessing, Mapping[str, Tensor], dict[str, Any]]:
    """The source, its preprocessing, the decoded splits, and what is known about them."""
    if size is not None and size < 1:
        raise UserError(f"size must be at least 1, got {size}")
    check_fit_name(fit)
    source = find_source(name, data_dir)
    known = CATALOGUE.get(source.name)
    seen = survey(source, skip_unreadable=skip_unreadable, store=store, progress=progress)
    wanted = preprocessing or seen.preprocessing(size or (known.size if known else None), fit)
    same_size = preprocessing is None and size is None and (known is None or known.size is None)
    at_hand = source.name == "digits" or source.name.startswith("arrays:")
    make = _Maker(source, seen, wanted, same_size, SILENT if at_hand else progress)
    if at_hand:
        in_memory: dict[str, Tensor] = {}

        def allocate(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
            in_memory[name] = torch.zeros(shape, dtype=dtype)
            return in_memory[name]

        make(allocate)
        made: Mapping[str, Tensor] = in_memory
    else:
        kind = source.name.partition(":")[0]
        key = {"data": kind, "format": _FORMAT, "preprocessing": to_json(wanted), **source.key}
        key |= {"skip_unreadable": True} if seen.skipped else {}
        made = store.get(key, lambda writer: make(_allocate_in(writer)))
    return source, wanted, made, json.loads(made["about"].numpy().tobytes())


def _stream(source: Source, wanted: Preprocessing) -> Stream:
    split = source.open()["train"]
    assert isinstance(split, Rows)
    return Stream(split, wanted)


Allocate = Callable[[str, tuple[int, ...], torch.dtype], Tensor]


def _allocate_in(writer: Writer) -> Allocate:
    return writer.array


class _Maker:
    """Decodes the splits of a source into arrays, and notes what was learned on the way in the array `about`."""

    def __init__(
        self, source: Source, seen: Survey, wanted: Preprocessing, same_size: bool, progress: Progress
    ) -> None:
        self._source, self._seen, self._wanted = source, seen, wanted
        self._same_size, self._progress = same_size, progress

    def __call__(self, allocate: Allocate) -> None:
        opened = self._source.open()
        splits = self._divide({name: self._readable(name, split) for name, split in opened.items()})
        first = next(iter(splits.values()))
        streamed = is_streamed(self._source, opened)
        kept = {name: split for name, split in splits.items() if not (streamed and name == "train")}
        done: dict[str, Images] = {}
        self._progress.start(f"decoding {self._source.name}", sum(split.count for split in kept.values()), "images")
        try:
            for name, split in kept.items():
                labels = allocate(f"{name}_labels", (split.count,), torch.int64)
                images = decode(
                    split.records(),
                    labels,
                    self._wanted,
                    lambda shape, name=name: allocate(f"{name}_images", shape, torch.uint8),  # type: ignore[misc]
                    self._progress,
                    same_size=self._same_size,
                )
                done[name] = Images(images, labels)
        finally:
            self._progress.finish()
        classes = list(first.names)
        if first.labelled and not classes:
            classes = [str(label) for label in range(1 + max(int(part.labels.max()) for part in done.values()))]
        about = {
            "classes": classes,
            "splits": list(done),
            "streamed": streamed,
            "skipped": [place for bad in self._seen.skipped.values() for _, place in bad],
            "fingerprint": fingerprint(list(done.values())),
        }
        text = json.dumps(about).encode()
        allocate("about", (len(text),), torch.uint8)[:] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def _readable(self, name: str, split: Split) -> Split:
        bad = {position for position, _ in self._seen.skipped.get(name, ())}
        return Subset(split, [i for i in range(split.count) if i not in bad]) if bad else split

    def _divide(self, splits: dict[str, Split]) -> dict[str, Split]:
        """`train` and `test` of what was not divided: a stratified fifth is held out, of images without labels none."""
        if ALL not in splits:
            return splits
        whole = splits[ALL]
        if not whole.labelled:
            return {"train": whole}
        labels = torch.tensor(whole.labels())
        classes, held = len(labels.unique()), round(len(labels) / 5)
        if held < 1 or len(labels) - classes < held:
            raise UserError(
                f"{self._source.name} has {len(labels)} images in {classes} classes: too few to hold out a fifth"
            )
        parts = zip(("train", "test"), stratified_split(labels, 0.2, seed=0), strict=True)
        return {name: Subset(whole, index.tolist()) for name, index in parts}


def is_streamed(source: Source, splits: Mapping[str, Split]) -> bool:
    """Whether the training images of a source are streamed."""
    known = CATALOGUE.get(source.name)
    return (known is not None and known.streamed) or any(isinstance(split, HubRows) for split in splits.values())
