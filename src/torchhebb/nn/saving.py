"""Models on disk: one safetensors file whose header describes the model in JSON; nothing is ever unpickled."""

import json
import os
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file
from torch import Tensor, nn

from torchhebb.config import from_json, to_json
from torchhebb.errors import UserError
from torchhebb.nn.architecture import Architecture
from torchhebb.nn.network import Network
from torchhebb.nn.readout import LinearReadout, NeuronLabels

READOUTS: dict[str, type[LinearReadout] | type[NeuronLabels]] = {
    "LinearReadout": LinearReadout,
    "NeuronLabels": NeuronLabels,
}


def save(model: nn.Module, path: str | Path) -> None:
    """Write weights, running statistics and an attached readout to one safetensors file, atomically.

    Raises UserError if the file cannot be written.
    """
    tensors = dict(model.state_dict())
    header: dict[str, Any] = {"format": "torchhebb", "model": type(model).__name__}
    if isinstance(model, Network):
        header["architecture"] = to_json(model.architecture)
        if model.readout is not None:
            header["readout"] = describe_readout(model.readout)
            tensors |= {f"readout.{name}": tensor for name, tensor in model.readout.state_dict().items()}
    elif isinstance(model, LinearReadout | NeuronLabels):
        header["readout"] = describe_readout(model)
    write_tensors(tensors, header, path)


def load(path: str | Path, *, into: nn.Module | None = None) -> nn.Module:
    """Read what `save` wrote: a Network rebuilt from its description, or the tensors `into` a module given.

    A folder stands for its model.safetensors, with the readout.safetensors beside it attached.
    Raises UserError if the file is missing, damaged or does not fit.
    """
    path = Path(path)
    if path.is_dir():
        model = load(path / "model.safetensors", into=into)
        beside = path / "readout.safetensors"
        if isinstance(model, Network) and beside.exists():
            model.attach(load(beside))
        return model
    tensors, header = read_tensors(path)
    if into is not None:
        _fill(into, _features_only(tensors) if "architecture" in header else tensors, path)
        return into
    if header.get("architecture") is None:
        if "readout" not in header:
            raise UserError(f"{path} does not describe its architecture: build the module and pass it as into=")
        return _build_readout(header["readout"], tensors, path)
    network = from_json(Architecture, header["architecture"]).build()
    _fill(network, _features_only(tensors), path)
    if "readout" in header:
        inner = {n.removeprefix("readout."): t for n, t in tensors.items() if n.startswith("readout.")}
        network.attach(_build_readout(header["readout"], inner, path))
    return network


def describe_readout(readout: nn.Module) -> dict[str, Any]:
    """The header entry of a readout; raises UserError for a module that is none of ours."""
    if not isinstance(readout, LinearReadout | NeuronLabels):
        raise UserError(f"readout must be one of {', '.join(READOUTS)} to be saved, got {type(readout).__name__}")
    return {"type": type(readout).__name__, "in_features": readout.in_features, "classes": readout.classes}


def write_tensors(tensors: dict[str, Tensor], header: dict[str, Any], path: str | Path) -> None:
    """One safetensors file with a checksum, complete or not there: written beside, synced, renamed."""
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Inside the one entry: safetensors writes several in random order, and equal models are to be equal files.
    header = {**header, "crc32": _checksum(header, tensors)}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        save_file(tensors, temporary, metadata={"torchhebb": json.dumps(header)})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}; free space or choose another folder") from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # renamed already, or in a folder that became read-only
                os.unlink(temporary)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file and its header; raises UserError if missing or damaged.

    The file is opened once: read while a run puts the next one in its place, it is the old or the new one, whole.
    (`safetensors.safe_open` opens the header and the tensors by name, one after the other, and may mix two files.)
    """
    try:
        content = Path(path).read_bytes()
        tensors = tensors_of(content)
        header = json.loads(_metadata(content).get("torchhebb", "{}"))
        if not isinstance(header, dict):
            raise ValueError("its header is not an object")
        written = header.pop("crc32", None)
        # A file of other software has no header of ours, and no checksum in it.
        if header and written != _checksum(header, tensors):
            raise ValueError("its checksum does not match")
        return tensors, header
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error})") from None


def _metadata(content: bytes) -> dict[str, str]:
    """The texts beside the tensors of a safetensors file: its JSON follows its length in eight bytes."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _checksum(header: dict[str, Any], tensors: dict[str, Tensor]) -> int:
    crc32 = zlib.crc32(json.dumps(header).encode())
    for _, tensor in sorted(tensors.items()):
        crc32 = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc32)
    return crc32


def _features_only(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("readout.")}


def _build_readout(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        kind, sizes = READOUTS[header["type"]], (header["in_features"], header["classes"])
    except (KeyError, TypeError):
        raise UserError(f"{path} holds an unknown readout {header!r}, known: {', '.join(READOUTS)}") from None
    readout = kind(*sizes)
    _fill(readout, tensors, path)
    return readout


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit {type(module).__name__}: {reason}") from None
