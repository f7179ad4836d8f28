"""Saving and loading of models: a safetensors file whose header describes in JSON how to build the model."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.config import find_type, type_name
from torchhebb.errors import NotImportedError, UserError
from torchhebb.files import parse_json, read_bytes, write_json
from torchhebb.nn.tensors import read_tensors, write_tensors
from torchhebb.nn.wrappers import state_without_wrappers, unwrapped

_log = logging.getLogger(__name__)
_CLASSES = "classes"
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Portable(ABC):
    """A module whose file describes it, so that `load` needs no module to fill."""

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """What `from_header` needs, as JSON data."""

    @classmethod
    @abstractmethod
    def from_header(cls, header: dict[str, Any]) -> Any:
        """A module of the same shapes.  Raises UserError for a header that describes none."""

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Take over the tensors of a file; `assign` keeps their dtype."""
        assert isinstance(self, nn.Module)
        self.load_state_dict(tensors, assign=True)

    def tensors(self) -> dict[str, Tensor]:
        """What is written to the file."""
        assert isinstance(self, nn.Module)
        return state_without_wrappers(self)


def save(model: nn.Module, path: str | Path) -> None:
    """Write weights, running statistics and an attached readout to one safetensors file, atomically.

    Wrappers of `torch.compile`, `DataParallel` and `DistributedDataParallel` are removed.
    Raises UserError if the model has no tensors to write or the file cannot be written.

    >>> import tempfile
    >>> from torchhebb.nn import HebbLinear
    >>> layer = HebbLinear(4, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     again = load(f"{folder}/layer.safetensors", into=HebbLinear(4, 2))
    >>> torch.equal(layer.weight, again.weight)
    True
    """
    model = unwrapped(model)
    header: dict[str, Any] = {"format": "torchhebb", "model": type_name(type(model))}
    if isinstance(model, Portable):
        write_tensors(model.tensors(), header | model.header(), path)
    else:
        write_tensors(state_without_wrappers(model), header, path)


def load(path: str | Path, *, into: nn.Module | None = None) -> nn.Module:
    """Read what `save` wrote: a Network rebuilt from its description, or the tensors `into` a module given.

    A rebuilt model has the dtype that was saved, the widest if there are several; a module given keeps its own.  The
    shapes in a description are compared with the tensors before memory is taken for them.  For a folder, its
    model.safetensors is loaded, with its readout.safetensors attached and the class names of its classes.json.
    Raises UserError if the file is missing, damaged, holds numbers that are not finite, or does not fit.

    >>> import tempfile
    >>> from torchhebb.nn import Architecture, ConvBlock, load, save
    >>> network = Architecture((1, 8, 8), (ConvBlock(16, 3),)).build()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(network, f"{folder}/network.safetensors")
    ...     load(f"{folder}/network.safetensors").architecture == network.architecture
    True
    """
    path = Path(path)
    if path.is_dir():
        model = load(path / "model.safetensors", into=into)
        attach, beside = getattr(model, "attach", None), path / "readout.safetensors"
        if attach is not None and beside.exists():
            attach(load(beside), _class_names(path / "classes.json"))
        return model
    tensors, header = read_tensors(path)
    _check_values(tensors, path)
    if into is not None:
        _copy(tensors if header.get("architecture") is None else _features_only(tensors), unwrapped(into), path)
        return into
    kind = _kind(header, path)
    with torch.device("meta"):
        shapes = _rebuilt(kind, header, path).tensors()
    _check_shapes(shapes, tensors, path)
    model = _rebuilt(kind, header, path)
    try:
        model.fill(_of_one_dtype(tensors))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return model


def _class_names(path: Path) -> list[str]:
    """The names that a run keeps beside its readout; none where there is no such file."""
    try:
        return read_class_names(path)
    except FileNotFoundError:
        if path.with_name("config.json").exists():  # of a run, which has one
            _log.warning("%s is missing: classes are named by their numbers", path)
        return []


def write_class_names(path: Path, names: Sequence[str]) -> None:
    """Write a classes.json."""
    write_json(path, {_CLASSES: list(names)})


def read_class_names(path: Path) -> list[str]:
    """The names in a classes.json; raises FileNotFoundError, and UserError for one that is damaged."""
    try:
        content = read_bytes(path)
        if content.lstrip()[:1] == b"[":  # version 0.1 and 0.2 wrote the list alone
            return class_names(json.loads(content))
        return class_names(parse_json(content)[_CLASSES])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error})") from None


def class_names(value: Any) -> list[str]:
    """The value, checked to be a list of names; raises UserError."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UserError(f"classes must be a list of names, got {value!r}")
    return value


def positive_int(value: Any, name: str) -> int:
    """The value, checked; raises UserError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise UserError(f"{name} must be a whole number from 1 and below 2^31, got {value!r}")
    return value


def _kind(header: dict[str, Any], path: Path) -> Any:
    """The class of the model in a file."""
    try:
        kind = find_type(Portable, header.get("model"))
    except NotImportedError as error:
        raise NotImportedError(f"{path}: {error}") from None
    described = header.get("architecture") is not None or "readout" in header
    if kind is None or kind is Portable or (header.get("model") == "Network" and not described):
        raise UserError(f"{path} does not describe its architecture: build the module and pass it as into=")
    return kind


def _rebuilt(kind: Any, header: dict[str, Any], path: Path) -> Any:
    """The model that a header describes, which may be from an untrusted source, so that everything is checked."""
    try:
        return kind.from_header(header)
    except NotImportedError as error:
        raise NotImportedError(f"{path}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not describe a model that can be built: {reason}") from None


def _check_values(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise UserError for complex or not finite numbers."""
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise UserError(f"{path} holds complex numbers in {name!r}: weights are real")
        if tensor.is_floating_point() and not tensor.float().isfinite().all() and not tensor.isfinite().all():
            raise UserError(
                f"{path} holds numbers that are not finite in {name!r}: learning went wrong before it was saved"
            )


def _check_shapes(expected: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Raise UserError, naming one, if the tensors of a file do not match its description."""
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise UserError(f"{path} {'does not describe' if name in tensors else 'lacks'} the tensor {name!r}")
    for name, tensor in expected.items():
        found = tensors[name]
        if found.shape != tensor.shape:
            raise UserError(f"{path} describes {name!r} as {tuple(tensor.shape)} and holds {tuple(found.shape)}")
        if found.dtype != tensor.dtype and not (tensor.is_floating_point() and found.dtype in _DTYPES):
            raise UserError(f"{path} describes {name!r} as {tensor.dtype} and holds {found.dtype}")


def _of_one_dtype(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of their own, as safetensors gives views of the bytes that were read, all floats of the widest dtype."""
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    widest = reduce(torch.promote_types, kinds) if kinds else torch.float32
    return {
        name: tensor.to(widest if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in tensors.items()
    }


def _features_only(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("readout.")}


def _copy(tensors: dict[str, Tensor], module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit {type(module).__name__}: {reason}") from None
