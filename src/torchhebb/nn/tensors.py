"""Safetensors files with a JSON header and a checksum, without pickle."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.files import read_bytes, written_beside


def write_tensors(tensors: dict[str, Tensor], header: dict[str, Any], path: str | Path) -> None:
    """One safetensors file with a checksum, complete or absent: written to a temporary file, synced, renamed."""
    path = Path(path)
    tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    # Inside the one entry: safetensors writes several in random order, and equal models are to be equal files.
    header = {**header, "crc32": _checksum(header, tensors)}
    try:
        with written_beside(path) as beside:
            save_file(tensors, beside, metadata={"torchhebb": json.dumps(header)})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}; free space or choose another folder") from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file and its header; raises UserError if missing or damaged.

    The file is opened once: read while a run puts the next one in its place, it is the old or the new one, whole.
    (`safetensors.safe_open` opens the header and the tensors by name, one after the other, and may mix two files.)
    """
    try:
        content = read_bytes(Path(path))
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
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error})") from None


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: eight bytes with the length of its JSON header, then that header."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _checksum(header: dict[str, Any], tensors: dict[str, Tensor]) -> int:
    crc32 = zlib.crc32(json.dumps(header).encode())
    for _, tensor in sorted(tensors.items()):
        crc32 = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc32)
    return crc32


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own: safetensors refuses those that share it."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found
