"""Sources of images: a catalogue name, folder:PATH, parquet:PATH, hub:OWNER/NAME, or arrays in memory."""

import os
from pathlib import Path

from torchhebb.data.sources.arrays import ArraySource, from_arrays
from torchhebb.data.sources.catalogue import (
    CATALOGUE,
    ENVIRONMENT,
    DigitsSource,
    FetchedSource,
    HubName,
    LocalSource,
    list_data,
)
from torchhebb.data.sources.folder import FolderSource
from torchhebb.data.sources.hub import HubSource
from torchhebb.data.sources.parquet import ParquetSource
from torchhebb.data.sources.source import ALL, Source, Split, Subset
from torchhebb.errors import UserError, unknown_name

__all__ = [
    "ALL",
    "CATALOGUE",
    "ArraySource",
    "FolderSource",
    "HubName",
    "HubSource",
    "ParquetSource",
    "Source",
    "Split",
    "Subset",
    "absolute_name",
    "find_source",
    "from_arrays",
    "is_own",
    "list_data",
]

_PREFIXES = ("folder", "parquet", "hub")


def find_source(name: str | Source, data_dir: Path | str | None = None) -> Source:
    """The source with this name; paths are made absolute.

    Args: data_dir (else $TORCHHEBB_DATA), the folder of Parquet files for catalogue names; without one the hub is used.
    Raises UserError for an unknown name, or a path that is not there.

    >>> find_source("digits").name
    'digits'
    """
    if not isinstance(name, str):
        return name
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _PREFIXES:
        if not rest:
            example = {"folder": "photos", "parquet": "photos.parquet", "hub": "OWNER/NAME"}[prefix]
            raise UserError(f"{prefix}: needs {'a name' if prefix == 'hub' else 'a path'}, as in {prefix}:{example}")
        if prefix == "hub":
            return HubSource(rest)
        return FolderSource(Path(rest)) if prefix == "folder" else ParquetSource(Path(rest))
    if prefix == "arrays" and colon:
        raise UserError(f"{name} was given in memory, by from_arrays: give the same arrays again")
    if name == "digits":
        return DigitsSource()
    if name not in CATALOGUE:
        raise unknown_name("data set", name, [*list_data(), "folder:PATH", "parquet:PATH", "hub:OWNER/NAME"])
    chosen = data_dir or os.environ.get(ENVIRONMENT)
    return LocalSource(name, Path(chosen).expanduser().absolute()) if chosen else FetchedSource(name)


def is_own(name: str) -> bool:
    """Whether a name is a source of a user's own images, not a data set of the catalogue.

    >>> is_own("folder:photos"), is_own("cifar10")
    (True, False)
    """
    return name.partition(":")[0] in (*_PREFIXES, "arrays") and ":" in name


def absolute_name(name: str) -> str:
    """A name whose path, where it has one, is absolute: it means the same from every folder.

    >>> absolute_name("cifar10"), absolute_name("folder:photos") == f"folder:{Path.cwd() / 'photos'}"
    ('cifar10', True)
    """
    prefix, colon, path = name.partition(":")
    return (
        f"{prefix}:{Path(path).expanduser().absolute()}" if colon and path and prefix in ("folder", "parquet") else name
    )
