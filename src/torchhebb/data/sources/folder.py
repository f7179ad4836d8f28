"""The source for a user's images: one folder for each class, or any tree of image files."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchhebb.data.decode import NO_LABEL, Records
from torchhebb.data.files import endings
from torchhebb.data.images import SPLITS
from torchhebb.data.sources.source import ALL, Split, stamp
from torchhebb.errors import UserError


@dataclass(frozen=True)
class FileSplit:
    """Image files with their labels, and the names of all classes; without names the labels are NO_LABEL."""

    files: Sequence[tuple[Path, int]]
    names: Sequence[str]

    @property
    def count(self) -> int:
        return len(self.files)

    @property
    def labelled(self) -> bool:
        return bool(self.names)

    def labels(self) -> Sequence[int]:
        return [label for _, label in self.files]

    def records(self) -> Records:
        return ((str(file), file, label) for file, label in self.files)


class FolderSource:
    """Every image file below a folder, at any depth.

    PATH/train/<class>/** with PATH/test/<class>/**, or PATH/<class>/** for two classes or more and no images beside
    their folders, has labels; everything else has none.  A folder that holds one folder and no images stands for it.
    Hidden files and folders are left out, and so are files whose ending says that they are no images: `left_aside`
    counts these by ending.  Folders behind symbolic links are not entered.
    Errors: UserError for a folder that is missing or holds no images, or that tests a class which it does not train.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        if not self.path.is_dir():
            raise UserError(f"no such folder: {self.path}")
        self.name = f"folder:{self.path}"
        files = sorted(_files(self.path))
        self.left_aside = Counter(file.suffix.lower() for file in files if file.suffix.lower() not in endings())
        images = [file for file in files if file.suffix.lower() in endings()]
        if not images:
            raise UserError(f"no images in {self.path}: expected one folder of images per class, or images")
        self._splits = _divided(_root(self.path, images), images)
        self.key: dict[str, Any] = {"from": str(self.path), "files": stamp(images)}

    def open(self) -> Mapping[str, Split]:
        return self._splits


def _files(root: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones."""
    for folder, inner, names in os.walk(root, onerror=_unreadable):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot read {error.filename}: {error.strerror}") from error


def _root(path: Path, images: Sequence[Path]) -> Path:
    """The deepest folder that holds all images, of their own folder and those around it."""
    while len(tops := {image.relative_to(path).parts[0] for image in images}) == 1 and (path / min(tops)).is_dir():
        path /= min(tops)
    return path


def _divided(root: Path, images: Sequence[Path]) -> dict[str, Split]:
    parts = _by_top(root, images)
    if set(parts) == set(SPLITS):
        roots = {split: _by_top(root / split, parts[split]) for split in SPLITS}
        names = list(roots["train"])
        if all("" not in found for found in roots.values()) and len(names) > 1:
            for name in roots["test"]:
                if name not in names:
                    known = ", ".join(names)
                    raise UserError(f"{root}/test has the class {name!r}, which {root}/train does not; known: {known}")
            return {split: _labelled(roots[split], names) for split in SPLITS}
        return {split: _unlabelled(parts[split]) for split in SPLITS}
    if "" in parts or len(parts) < 2:
        return {ALL: _unlabelled(images)}
    return {ALL: _labelled(parts, list(parts))}


def _by_top(root: Path, images: Sequence[Path]) -> dict[str, list[Path]]:
    """The images by the folder directly below the root in which they lie, "" for the root itself; sorted by name."""
    found: dict[str, list[Path]] = {}
    for image in images:
        parts = image.relative_to(root).parts
        found.setdefault(parts[0] if len(parts) > 1 else "", []).append(image)
    return dict(sorted(found.items()))


def _labelled(classes: Mapping[str, Sequence[Path]], names: Sequence[str]) -> FileSplit:
    return FileSplit([(file, names.index(name)) for name, files in classes.items() for file in files], names)


def _unlabelled(images: Sequence[Path]) -> FileSplit:
    return FileSplit([(image, NO_LABEL) for image in images], ())
