"""Decoding with threads, in order; Pillow releases the interpreter lock while it decodes."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torchhebb.data.decode import Record


def in_order(
    read: Callable[[int, Record], Any], records: Iterator[Record], first: int, workers: int
) -> Generator[Any, None, None]:
    """read(position, record) of every record, in order, by threads that are at most 2 x workers records ahead."""
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for position, record in enumerate(records, first):
                pending.append(pool.submit(read, position, record))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
