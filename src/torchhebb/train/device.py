"""Devices and precisions: from a user's names to torch objects."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from torchhebb.distributed import planned
from torchhebb.errors import UserError
from torchhebb.ops.products import bfloat16_gain
from torchhebb.process import MEASURE

_LOG = logging.getLogger(__name__)

Precision = Literal["float32", "tf32", "bfloat16"]
PrecisionChoice = Literal["auto", Precision]


def find_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU.  Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # of something that is no text as well
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name!r} is not on this machine; allowed: auto, cpu" + _cuda_names())
    return device


def own_device(name: str = "auto") -> torch.device:
    """The device of this process: on a machine with GPUs, each of its processes has its own.

    Raises UserError for a device that is not there, more processes than GPUs, or one GPU for all.

    >>> own_device("cpu")
    device(type='cpu')
    """
    device = find_device(name)
    if planned()[1] == 1 or device.type != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.index is not None:
        raise UserError(f"device must be auto, cpu or cuda where torchrun gives each process its own, got {name!r}")
    if local >= torch.cuda.device_count():
        raise UserError(
            f"--nproc-per-node must be at most the {torch.cuda.device_count()} GPUs here, or use --device cpu"
        )
    return torch.device("cuda", local)


def find_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """ "auto" is bfloat16 (float32 weights and sums) where the hardware multiplies it natively, else float32.

    Raises UserError for tf32 on a CPU.
    """
    if choice == "tf32" and device.type != "cuda":
        raise UserError(f"precision tf32 is of NVIDIA's GPUs, and the device is {device}: choose float32 or bfloat16")
    if choice != "auto":
        return choice
    fast = native_bfloat16(device) if device.type == "cuda" else _has("amx_bf16")  # AVX512-BF16 is not always faster
    return "bfloat16" if fast else "float32"


def native_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for products of bfloat16, as far as torch can tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return _has("amx_bf16", "avx512_bf16")


def product_dtype() -> torch.dtype:
    """bfloat16 where this CPU multiplies its matrices faster than float32's, else float32.

    It is measured once a process, in milliseconds, or known from the hardware's flags with TORCHHEBB_MEASURE=0.
    """
    measures = os.environ.get(MEASURE) != "0"
    faster = bfloat16_gain() > 1 if measures else native_bfloat16(torch.device("cpu"))
    return torch.bfloat16 if faster else torch.float32


def warn_if_slow(precision: Precision, device: torch.device) -> None:
    """A line in the log where a CPU is to compute in bfloat16 and would be faster in float32."""
    if precision == "bfloat16" and device.type == "cpu" and product_dtype() == torch.float32:
        _LOG.warning("precision bfloat16 is slower here than float32: this processor has no fast products of it")


def _has(*instructions: str) -> bool:
    """Whether this CPU has one of them, as far as torch can tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in instructions)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network computes in `precision`, its weights staying float32.

    In tf32 a GPU rounds the factors of products of float32 numbers to 10 bits and sums in float32.  In float32 it does
    not: left alone, torch's convolutions would.
    """
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return _products("tf32" if precision == "tf32" else "ieee") if device.type == "cuda" else nullcontext()


@contextmanager
def _products(kind: Literal["tf32", "ieee"]) -> Iterator[None]:
    """How CUDA multiplies float32 numbers, put back at the end."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = kind
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def _cuda_names() -> str:
    return "".join(f", cuda:{index}" for index in range(torch.cuda.device_count()))


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work, before reading a clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
