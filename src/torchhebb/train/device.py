"""Where and in what precision to compute: names from a user to torch objects."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from torchhebb.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]


def find_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU.  Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name!r} is not on this machine; allowed: auto, cpu" + _cuda_names())
    return device


def find_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """ "auto" is bfloat16 (float32 weights and sums) where the hardware multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if capabilities.get("amx_bf16") else "float32"


def autocast(precision: Literal["float32", "bfloat16"], device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network computes in `precision`, its weights staying float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def _cuda_names() -> str:
    return "".join(f", cuda:{index}" for index in range(torch.cuda.device_count()))
