"""Progress bars on a terminal, and plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from torchhebb.errors import printable

PLAIN_SECONDS = 30.0


def _readable(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{_readable(speed)} {task.fields['unit']}/s", style="dim")


class BarProgress:
    """One bar for each task; finished ones stay above the current one, but for a task of nothing."""

    def __init__(self, console: Console) -> None:
        self._bars = RichProgress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._task: TaskID | None = None
        self._total = self._done = 0

    def start(self, label: str, total: int, unit: str) -> None:
        self._bars.start()
        self._task = self._bars.add_task(escape(printable(label)), total=total, unit=unit)
        self._total, self._done = total, 0

    def advance(self, n: int) -> None:
        self._done += n
        if self._task is not None:
            self._bars.advance(self._task, n)

    def finish(self) -> None:
        if self._task is not None and not (self._total or self._done):
            self._bars.remove_task(self._task)
        self._task = None

    def close(self) -> None:
        """Keep the bars as they are and release the terminal."""
        self._bars.stop()


class PlainProgress:
    """A line at the end of a task, unless it is one of nothing, and one every half minute during it."""

    def start(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.started = self.said = time.monotonic()

    def advance(self, n: int) -> None:
        self.done += n
        if time.monotonic() - self.said >= PLAIN_SECONDS:
            self._say()

    def finish(self) -> None:
        if self.total or self.done:
            self._say()

    def close(self) -> None:
        pass

    def _say(self) -> None:
        self.said = time.monotonic()
        elapsed = self.said - self.started
        rate = self.done / elapsed if elapsed > 0 else 0.0
        speed = f"{_readable(rate)} {self.unit}/s"
        left = f", {(self.total - self.done) / rate:.0f} s left" if 0 < self.done < self.total and rate else ""
        print(
            f"{printable(self.label)}: {self.done:,}/{self.total:,} {self.unit}, {elapsed:.0f} s, {speed}{left}",
            file=sys.stderr,
            flush=True,
        )


def make_progress() -> BarProgress | PlainProgress:
    """Bars on a terminal, lines elsewhere."""
    return BarProgress(Console(stderr=True)) if sys.stderr.isatty() else PlainProgress()
