"""Results with their provenance: the JSON from which tables and reports are made."""

import platform
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from torchhebb.config import from_json
from torchhebb.errors import UserError
from torchhebb.files import read_json, write_json


@dataclass(frozen=True)
class Measure:
    """One number over the seeds, with the published one.

    >>> measure = Measure("test_accuracy", "%", (80.0, 82.0), published=80.3)
    >>> measure.mean, round(measure.std, 2)
    (81.0, 1.41)
    """

    name: str
    unit: str
    values: tuple[float, ...]
    published: float | None = None
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the mean over the images that it was measured on."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation; None for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_json(self) -> dict[str, Any]:
        interval = {} if self.interval is None else {"interval": list(self.interval)}
        return {
            "name": self.name,
            "unit": self.unit,
            "mean": round(self.mean, 6),
            "std": None if self.std is None else round(self.std, 6),
            **interval,
            "values": list(self.values),
            "published": self.published,
        }


@dataclass(frozen=True)
class Curve:
    """One line of a figure: y against x, with its spread where there are several seeds.

    >>> Curve("train", "epoch", "loss", x=(1.0, 2.0), y=(0.9, 0.5)).y[-1]
    0.5
    """

    name: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Result:
    """The result of one question for one recipe.

    >>> measure = Measure("test_accuracy", "%", (80.0,))
    >>> data = {"name": "digits", "fingerprint": "0"}
    >>> result = Result("mine", "accuracy", (measure,), (0,), 1.0, "cpu", "torchhebb train mine", data)
    >>> result.measures[0].mean
    80.0
    """

    recipe: str
    question: str
    measures: tuple[Measure, ...]
    seeds: tuple[int, ...]
    seconds: float
    device: str
    command: str
    data: dict[str, str]
    curves: tuple[Curve, ...] = ()
    versions: dict[str, str] = field(default_factory=lambda: software_versions())
    commit: str = field(default_factory=lambda: git_commit())
    notes: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)
    """The run folder that it is kept in, where it was just made; no part of the file."""

    @property
    def device_slug(self) -> str:
        """The device in a file name: "cpu", or the GPU's name in lower case."""
        return "cpu" if "threads" in self.device else re.sub(r"[^a-z0-9]+", "-", self.device.lower()).strip("-")

    @property
    def precision(self) -> str:
        """What it was computed in, such as "bfloat16"; "float32" where nothing else is noted."""
        return str(self.notes.get("precision", "float32"))

    @property
    def file_name(self) -> str:
        """Its name in a folder of results: question, device and, where they are noted, instructions and precision.

        So the same question on another device or in another precision is kept beside it.  A benchmark notes the
        instructions of a CPU without AVX-512; the precision is left out where it is float32.
        """
        instructions = f"-{str(self.notes['instructions']).lower()}" if "instructions" in self.notes else ""
        precision = "" if self.precision == "float32" else f"-{self.precision}"
        return f"{self.question}-{self.device_slug}{instructions}{precision}.json"

    def measure(self, name: str) -> Measure:
        """The measure of that name; raises KeyError."""
        return {measure.name: measure for measure in self.measures}[name]

    def to_json(self) -> dict[str, Any]:
        whole = {name: value for name, value in asdict(self).items() if name != "folder"}
        whole["measures"] = [measure.to_json() for measure in self.measures]
        whole["seconds"] = round(self.seconds, 1)
        return whole

    def write(self, path: Path) -> None:
        """Write atomically; raises UserError if that fails."""
        write_json(path, self.to_json())

    def keep(self, results: Path) -> Path:
        """Write to its place in a folder of results, RESULTS/<recipe>/<file_name>, and return that."""
        path = results / self.recipe / self.file_name
        self.write(path)
        return path


def read_result(path: Path) -> Result:
    """What `Result.write` wrote; raises UserError if it is missing or damaged.

    >>> import tempfile
    >>> data = {"name": "digits", "fingerprint": "0"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "result.json"
    ...     Result("mine", "accuracy", (), (0,), 1.0, "cpu", "torchhebb train mine", data).write(path)
    ...     read_result(path).recipe
    'mine'
    """
    try:
        data = read_json(path)
        measures = [
            {"type": "Measure", **{name: value for name, value in measure.items() if name not in ("mean", "std")}}
            for measure in data["measures"]
        ]
        curves = [{"type": "Curve", **curve} for curve in data["curves"]]
        result = from_json(Result, {"type": "Result", **data, "measures": measures, "curves": curves})
        if not all(measure.values for measure in result.measures):
            raise ValueError("a measure has no values")
        return result
    except FileNotFoundError:
        raise UserError(f"no such result: {path}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"{path} is not a result file ({error})") from None


def device_name(device: torch.device) -> str:
    """The device of a measurement: the name of the GPU, or of the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {torch.get_num_threads()} threads"


def software_versions() -> dict[str, str]:
    """The versions of software on which numbers depend."""
    return {"torch": torch.__version__, "python": platform.python_version()}


def git_commit() -> str:
    """The commit of the source tree, marked if it has changes; "unknown" for an installed package."""
    folder = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if Path(git("rev-parse", "--show-toplevel")) / "src" / "torchhebb" != folder:
            return "unknown"
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("-changed" if commit and git("status", "--porcelain", "--", ".") else "") or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
