"""Free memory, and processing in smaller chunks when memory runs out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from torchhebb.errors import UserError

_SIGNS = ("not enough memory", "DefaultCPUAllocator", "out of memory", "_STATUS_ALLOC_FAILED", "bad_alloc")


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be had on the device; on a machine that does not tell, 4 GiB is assumed.

    On a CPU that is the least of what the system has, what a container may take, and what the process may address.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    told = [_system(), _container(), _process()]
    return max(0, min((number for number in told if number is not None), default=4 << 30))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: a GPU's, or the allocation of a CPU.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory")), out_of_memory(RuntimeError("shapes"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def adaptive_chunks(work: Callable[[int, int], None], count: int, size: int, *, what: str = "the work") -> int:
    """Call work(begin, end) over 0 to `count`, `size` at a time; where memory runs out, half as many from there on.

    `work` must give the same for a sample whatever else is in its piece, and may be called again for one that failed.
    Returns the size that it ended with.  Raises UserError if memory is too short for one sample.

    >>> adaptive_chunks(lambda begin, end: print(begin, end), 5, 2)
    0 2
    2 4
    4 5
    2
    """
    begin = 0
    while begin < count:
        end = min(begin + size, count)
        if _fits(work, begin, end):
            begin = end
        elif end - begin == 1:
            raise UserError(f"too little memory for {what} of one sample: free some, or make the network smaller")
        else:
            size = (end - begin + 1) // 2
    return size


@contextmanager
def out_of_memory_as_user_error(what: str, lower: str) -> Iterator[None]:
    """A block or a function in which running out of memory is a UserError that says what to lower.

    >>> with out_of_memory_as_user_error("learning", "learning.batch_size"):
    ...     raise MemoryError
    Traceback (most recent call last):
    torchhebb.errors.UserError: memory ran out in learning: lower learning.batch_size
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"memory ran out in {what}: lower {lower}") from None


def _fits(work: Callable[[int, int], None], begin: int, end: int) -> bool:
    try:
        work(begin, end)
        return True
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # Here the error and the frames that it held, with their tensors, are gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def _system(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the control group of a container leaves; pages of files that it may drop count as free."""
    for folder, limit, used, idle in (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if most != "max":
                return int(most) - taken + int(stat.get(idle, 0))
        except (OSError, ValueError):
            continue
    return None


def _process() -> int | None:
    """What the limit of the address space leaves (ulimit -v)."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most == resource.RLIM_INFINITY:
            return None
        return most - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None
