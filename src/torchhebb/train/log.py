"""metrics.jsonl: one JSON object a line, appended as they come, cut back exactly when a run resumes."""

import json
import os
from pathlib import Path
from typing import Any

from torchhebb.errors import UserError


class Log:
    """Append-only metrics; `offset` is what a checkpoint remembers and `rewind` returns to.

    A path of None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def write(self, **metrics: Any) -> None:
        if self.path is None:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free space, then --resume") from error

    @property
    def offset(self) -> int:
        return self.path.stat().st_size if self.path is not None and self.path.exists() else 0

    def rewind(self, offset: int) -> None:
        """Forget the lines after `offset`: they will be written again."""
        if self.path is not None and self.path.exists():
            try:
                os.truncate(self.path, min(offset, self.offset))
            except OSError as error:
                raise UserError(f"cannot write {self.path}: {error.strerror}; free it, then --resume") from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """All lines of a metrics.jsonl; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
