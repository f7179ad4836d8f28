"""The interface for progress reports; the library itself never prints."""

from collections.abc import Collection, Iterator
from typing import Protocol, TypeVar

__all__ = ["SILENT", "Progress"]

T = TypeVar("T")


class Progress(Protocol):
    """One task at a time: `start` names it, `advance` counts units done, `finish` closes it.

    >>> class Counting:
    ...     def start(self, label, total, unit): self.done = 0
    ...     def advance(self, n): self.done += n
    ...     def finish(self): print(self.done, "done")
    >>> progress: Progress = Counting()
    >>> progress.start("features", 10, "images"); progress.advance(10); progress.finish()
    10 done
    """

    def start(self, label: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def finish(self) -> None: ...


class Silent:
    """The default: says nothing."""

    def start(self, label: str, total: int, unit: str) -> None:
        pass

    def advance(self, n: int) -> None:
        pass

    def finish(self) -> None:
        pass


SILENT: Progress = Silent()


def counted(items: Collection[T], label: str, unit: str, progress: Progress) -> Iterator[T]:
    """The items, one after the other; each counts as done when the next is asked for, and the task starts at once."""
    progress.start(label, len(items), unit)

    def each() -> Iterator[T]:
        for item in items:
            yield item
            progress.advance(1)
        progress.finish()

    return each()
