"""How much memory is free, so that nothing has to be guessed or crash."""

from pathlib import Path

import torch


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be had on the device; on a machine that does not tell, 4 GiB is assumed."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 4 << 30
