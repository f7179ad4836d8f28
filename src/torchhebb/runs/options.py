"""How to compute, where images come from, how to train: settings that do not change what a recipe means."""

from dataclasses import dataclass, fields

from torchhebb.data import Fit
from torchhebb.train.device import PrecisionChoice
from torchhebb.train.recipe import at_least


@dataclass(frozen=True)
class ComputeOptions:
    """What every command that computes with a network takes."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: PrecisionChoice = "auto"
    """auto: bfloat16 with float32 weights where the hardware multiplies it natively, else float32; tf32 is for GPUs."""
    data_dir: str | None = None
    """Where the data sets lie, <data-dir>/<name>/data/*.parquet; default $TORCHHEBB_DATA, else the hub."""
    compile: bool = False
    """Compile what surrounds the matrix products of a learning step: faster steps after some seconds of compiling, the
    same numbers up to rounding.  On a CPU it needs a C++ compiler."""


def compute_options(options: ComputeOptions) -> ComputeOptions:
    """The part of a run's options that says where to compute."""
    return ComputeOptions(**{field.name: getattr(options, field.name) for field in fields(ComputeOptions)})


@dataclass(frozen=True)
class SourceOptions:
    """How a user's own images become pixels of one size; decided once, and kept with the run."""

    size: int | None = None
    """Bring images to size x size."""
    fit: Fit = "crop"
    """How: crop the largest square in the middle, squash the whole image, or pad it with black."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, and list them in the run folder; otherwise they stop the run."""


@dataclass(frozen=True)
class TrainOptions(SourceOptions, ComputeOptions):
    """What training takes besides."""

    checkpoint_seconds: float = 60.0
    """Save at most this often what a killed run needs to go on."""
    members: int = 1
    """So many seeds learn side by side in one process, each as it would alone up to rounding."""
    worker_timeout: float = 1800.0
    """Of several workers: seconds after which one that does not answer is lost; one that died is found at once."""

    def __post_init__(self) -> None:
        at_least(1, members=self.members)
