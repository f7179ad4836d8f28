"""Checkpoints: one file, written atomically, from which a stopped run continues exactly.

A run is a sequence of named tasks. The file holds the results of finished tasks and the position and tensors of the
current one. The order of batches and every random draw depend only on (seed, epoch, batch), so the position replaces
the states of random generators.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn.tensors import read_tensors, write_tensors
from torchhebb.train.log import Log


class Checkpoint:
    """Saves at most every `interval` seconds; with a folder of None it keeps everything in memory alone.

    Args: experiment, what the tasks depend on, as JSON holds it; a file of another experiment is refused; update, from
    an experiment that an earlier version kept to the same one as this version writes it.
    Raises UserError if its file is damaged, of another experiment, or cannot be written.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        log: Log | None = None,
        interval: float = 60.0,
        experiment: dict[str, Any] | None = None,
        update: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> None:
        self.path = None if folder is None else folder / "checkpoint.safetensors"
        self.log = log or Log(None)
        self.interval, self.experiment = interval, experiment
        self.done: dict[str, Any] = {}
        self.task: str | None = None
        self.position: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self._saved = time.monotonic()
        if self.path is not None:
            if self.path.exists():
                self.tensors, header = self._read(self.path)
                if self.experiment is not None and (kept := header.get("experiment")) is not None:
                    self._check_experiment(self.experiment, update(kept))
                self.done, self.task, self.position = header["done"], header["task"], header["position"]
                self.log.rewind(header["log_offset"])
            else:
                self.log.rewind(0)

    def finish(self, task: str, result: Any) -> Any:
        """Store the result of a finished task."""
        self.done[task] = result
        self._write(None, {}, {})
        return result

    def restore(self, task: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Position and tensors of an unfinished task, or None if it was not started."""
        return (self.position, self.tensors) if self.task == task else None

    def repeat(self, task: str) -> None:
        """Let a finished task be done again, and with it the unfinished one, whose position the next save replaces."""
        for again in dict.fromkeys((task, self.task or task)):
            self.done.pop(again, None)
            self.log.write(kind="repeated", task=again)

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return self.path is not None and time.monotonic() - self._saved >= self.interval

    def write(self, **metrics: Any) -> None:
        """Log numbers."""
        self.log.write(**metrics)

    def save(self, task: str, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Store the position of a task."""
        self._write(task, position, tensors)

    @staticmethod
    def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            tensors, header = read_tensors(path)
            if missing := {"done", "task", "position", "log_offset"} - header.keys():
                raise UserError(f"{path} is no checkpoint: it has no {', '.join(sorted(missing))}")
        except UserError as error:
            raise UserError(f"{error}; delete it, and --resume starts again") from error
        return tensors, header

    def _write(self, task: str | None, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.task, self.position, self.tensors = task, position, {}
        if self.path is not None:
            header = {"done": self.done, "task": task, "position": position, "log_offset": self.log.offset}
            if self.experiment is not None:
                header["experiment"] = self.experiment
            write_tensors(tensors, header, self.path)
        self._saved = time.monotonic()

    def _check_experiment(self, experiment: dict[str, Any], kept: dict[str, Any]) -> None:
        """Raise UserError naming what differs between this experiment and that of the file."""
        now, then = dict(_flat(experiment)), dict(_flat(kept))
        changed = [name for name in now.keys() | then.keys() if now.get(name) != then.get(name)]
        if changed:
            name = sorted(changed)[0]
            raise UserError(
                f"{self.path} is of another experiment: {name} was {then.get(name)!r}, is {now.get(name)!r}; "
                "put config.json back, or choose another folder"
            )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of JSON data by their paths."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
