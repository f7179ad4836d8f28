"""Logging for TensorBoard, in addition to metrics.jsonl."""

import shutil
from pathlib import Path
from typing import Any

from torchhebb.errors import need
from torchhebb.train.log import Log, read_log

PLACES = ("samples", "epoch")
"""Possible x axes of a metric; the first that a line has is used."""


class EventLog(Log):
    """A log that also writes its numbers for TensorBoard, to a folder `tensorboard` next to its file.

    A resumed run writes this folder again from the lines that it kept, so that no step occurs twice.
    Raises UserError where the package tensorboard is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        need("tensorboard", "tensorboard")
        self.folder = path.with_name("tensorboard")
        self._writer: Any = None

    def write(self, **metrics: Any) -> None:
        super().write(**metrics)
        if metrics.get("kind") == "repeated":
            self.rewind(self.offset)  # without the earlier lines of that task
        else:
            self._draw(metrics)

    def rewind(self, offset: int) -> None:
        super().rewind(offset)
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self.path is not None
        for line in read_log(self.path):
            self._draw(line)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _draw(self, metrics: dict[str, Any]) -> None:
        """Every number of a line as a curve named by its task and layer."""
        place = next((name for name in PLACES if name in metrics), None)
        if place is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder))
        curve = "/".join(str(metrics[name]) for name in ("task", "name") if name in metrics)
        for name, value in metrics.items():
            if isinstance(value, int | float) and name not in (*PLACES, "stage"):
                self._writer.add_scalar(f"{curve}/{name}", value, metrics[place])
        self._writer.flush()
