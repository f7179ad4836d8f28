"""A progress that a test reads afterwards, or stops the work by."""

from collections.abc import Callable
from dataclasses import dataclass

from torchhebb.progress import Silent


class Stop(Exception):
    """What ends the work."""


@dataclass
class Task:
    """One task and how much of it was done."""

    label: str
    total: int
    unit: str
    done: int = 0
    finished: bool = False


class Watch(Silent):
    """A progress that remembers its tasks and calls back with the current one; what it raises stops the work.

    >>> watch = Watch()
    >>> watch.start("features", 3, "images"); watch.advance(2)
    >>> watch.tasks
    [Task(label='features', total=3, unit='images', done=2, finished=False)]
    """

    def __init__(
        self,
        *,
        start: Callable[[Task], object] = id,
        advance: Callable[[Task], object] = id,
        finish: Callable[[Task], object] = id,
    ) -> None:
        self.tasks: list[Task] = []
        self._start, self._advance, self._finish = start, advance, finish

    def start(self, label: str, total: int, unit: str) -> None:
        self.tasks.append(Task(label, total, unit))
        self._start(self.tasks[-1])

    def advance(self, n: int) -> None:
        self.tasks[-1].done += n
        self._advance(self.tasks[-1])

    def finish(self) -> None:
        self.tasks[-1].finished = True
        self._finish(self.tasks[-1])

    def done(self, words: str = "") -> int:
        """The units done in all tasks with these words in their labels."""
        return sum(task.done for task in self.tasks if words in task.label)


def stop_after(units: int, words: str = "") -> Watch:
    """Stops once so many units of tasks with these words in their labels are done."""

    def advance(task: Task) -> None:
        if watch.done(words) >= units and words in task.label:
            raise Stop

    watch = Watch(advance=advance)
    return watch
