"""How to compute, where images come from, how to train: settings that do not change what a recipe means."""

from dataclasses import dataclass, field, fields

from torchhebb.bounds import SIZE, Checked, above, at_least
from torchhebb.data import Fit
from torchhebb.train.device import PrecisionChoice


@dataclass(frozen=True)
class ComputeOptions(Checked):
    """What every command that computes with a network takes.

    Example:
        >>> ComputeOptions(device="cpu", precision="float32").device
        'cpu'
    """

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
    """The part of a run's options that says where to compute.

    >>> compute_options(TrainOptions(device="cpu", ensemble=2))
    ComputeOptions(device='cpu', precision='auto', data_dir=None, compile=False)
    """
    return ComputeOptions(**{field.name: getattr(options, field.name) for field in fields(ComputeOptions)})


@dataclass(frozen=True)
class SourceOptions(Checked):
    """How a user's own images become pixels of one size; decided once, and kept with the run.

    Example:
        >>> SourceOptions(size=64, fit="pad").fit
        'pad'
    """

    size: int | None = field(default=None, metadata=SIZE)
    """Bring images to size x size."""
    fit: Fit = "crop"
    """How: crop the largest square in the middle, squash the whole image, or pad it with black."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, and list them in the run folder; otherwise they stop the run."""


@dataclass(frozen=True)
class TrainOptions(SourceOptions, ComputeOptions):
    """What training takes besides.

    Example:
        >>> TrainOptions(device="cpu", checkpoint_seconds=10.0).checkpoint_seconds
        10.0
    """

    checkpoint_seconds: float = field(default=60.0, metadata=at_least(0))
    """Save at most this often what a killed run needs to go on."""
    tensorboard: bool = False
    """Write what is logged for TensorBoard as well, to RUN/tensorboard; needs the package tensorboard."""
    ensemble: int = field(default=1, metadata=SIZE)
    """So many seeds learn side by side in one process, each as it would alone up to rounding."""
    worker_timeout: float = field(default=1800.0, metadata=above(0))
    """Of several workers: seconds after which one that does not answer is lost; one that died is found at once."""
