"""A user's own images, one folder per class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from torchhebb.data.decode import Records, read_header, reason, sizes_differ
from torchhebb.data.images import SPLITS, stratified_split
from torchhebb.errors import UserError, need


@dataclass(frozen=True)
class FileSplit:
    """Image files with their labels, and the names of all classes."""

    files: Sequence[tuple[Path, int]]
    names: Sequence[str]

    @property
    def count(self) -> int:
        return len(self.files)

    def records(self) -> Records:
        return ((str(file), file, label) for file, label in self.files)


class ImageFolder:
    """PATH/train/<class>/* with PATH/test/<class>/*, or PATH/<class>/* with a fixed stratified fifth held out.

    Files whose ending PIL does not know, and hidden ones, are left aside. Images are grey if all of them are, else RGB.
    Errors: UserError for a folder that is missing or empty, has one class, or tests a class that it does not train.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"no such folder: {path}")
        divided = [split for split in SPLITS if (path / split).is_dir()]
        if len(divided) == 1:
            raise UserError(f"{path} holds {divided[0]}/ alone; expected train/ and test/, or one folder per class")
        roots = [path / split for split in SPLITS] if divided else [path]
        self._classes = [_classes(root) for root in roots]
        names = list(self._classes[0])
        if len(names) < 2:
            raise UserError(f"{roots[0]} has one class, {names[0]!r}; expected at least two folders of images")
        for name in self._classes[-1]:
            if name not in self._classes[0]:
                raise UserError(
                    f"{roots[-1]} has the class {name!r}, which {roots[0]} does not; known: {', '.join(names)}"
                )
        self._names, self._path = names, path
        files = (file for classes in self._classes for found in classes.values() for file in found)
        self.key: dict[str, Any] = {"from": str(path), "files": stamp(files)}

    def open(self, size: int | None) -> tuple[int, dict[str, FileSplit]]:
        """(channels, splits); reads each header, so that images which do not fit are named before any is decoded."""
        listed = [
            [(file, self._names.index(name)) for name, files in classes.items() for file in files]
            for classes in self._classes
        ]
        channels, first = 1, None
        for file, _ in (pair for files in listed for pair in files):
            grey, shape = read_header(str(file), file)
            channels = channels if grey else 3
            first = first or (str(file), shape)
            if size is None and shape != first[1]:
                raise sizes_differ(*first, str(file), shape)
        train, test = listed if len(listed) == 2 else self._divide(listed[0])
        return channels, {"train": FileSplit(train, self._names), "test": FileSplit(test, self._names)}

    def _divide(self, files: list[tuple[Path, int]]) -> list[list[tuple[Path, int]]]:
        labels = torch.tensor([label for _, label in files])
        if round(len(files) / 5) < 1 or len(files) - len(self._names) < round(len(files) / 5):
            raise UserError(
                f"{self._path} has {len(files)} images in {len(self._names)} classes: too few to hold out a fifth"
            )
        return [[files[i] for i in index.tolist()] for index in stratified_split(labels, 0.2, seed=0)]


def stamp(files: Iterable[Path]) -> str:
    """A hash that changes when a file is added, removed, renamed or written: names, sizes, times of change."""
    digest = blake2b(digest_size=16)
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise UserError(f"cannot read {file}: {reason(error)}") from error
        digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _classes(root: Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both sorted; folders without an image are no classes."""
    endings = need("PIL.Image", "reading images").registered_extensions()
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = [path for path in folder.iterdir() if path.suffix.lower() in endings and not path.name.startswith(".")]
        if files:
            found[folder.name] = sorted(files)
    if not found:
        raise UserError(f"no images in {root}: expected one folder of images per class")
    return found
