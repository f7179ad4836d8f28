"""Options for computing, data and training that do not change the recipe."""

from dataclasses import dataclass, field, fields

from torchhebb.bounds import SIZE, Checked, above, at_least
from torchhebb.data import Fit
from torchhebb.train.device import PrecisionChoice


@dataclass(frozen=True)
class ComputeOptions(Checked):
    """Options of every command that computes with a network.

    Example:
        >>> ComputeOptions(device="cpu", precision="float32").device
        'cpu'
    """

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: PrecisionChoice = "auto"
    """auto: bfloat16 with float32 weights where it is faster, which a run on a CPU measures, else float32; tf32 is for
    GPUs."""
    data_dir: str | None = None
    """Folder of the data sets, <data-dir>/<name>/data/*.parquet; by default $TORCHHEBB_DATA, or else the hub."""
    compile: bool = False
    """Compile the element-wise kernels of a learning step: faster steps after some seconds of compiling, with equal
    numbers up to rounding.  On a CPU it needs a C++ compiler."""


def compute_options(options: ComputeOptions) -> ComputeOptions:
    """The part of a run's options that says where to compute.

    >>> compute_options(TrainOptions(device="cpu", ensemble=2))
    ComputeOptions(device='cpu', precision='auto', data_dir=None, compile=False)
    """
    return ComputeOptions(**{field.name: getattr(options, field.name) for field in fields(ComputeOptions)})


@dataclass(frozen=True)
class SourceOptions(Checked):
    """Preprocessing of a user's images to one size; decided once, and kept with the run.

    Example:
        >>> SourceOptions(size=64, fit="pad").fit
        'pad'
    """

    size: int | None = field(default=None, metadata=SIZE)
    """Scale images to size x size."""
    fit: Fit = "crop"
    """How to make images square: crop the largest square in the middle, squash the image, or pad it with black."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, and list them in the run folder; otherwise they are an error."""


@dataclass(frozen=True)
class TrainOptions(SourceOptions, ComputeOptions):
    """Further options of training.

    Example:
        >>> TrainOptions(device="cpu", checkpoint_seconds=10.0).checkpoint_seconds
        10.0
    """

    checkpoint_seconds: float = field(default=60.0, metadata=at_least(0))
    """Shortest time in seconds between two checkpoints, from which an interrupted run continues."""
    tensorboard: bool = False
    """Write the log for TensorBoard too, to RUN/tensorboard; needs the package tensorboard."""
    ensemble: int = field(default=1, metadata=SIZE)
    """Number of seeds that learn together in one process, each as it would alone up to rounding."""
    worker_timeout: float = field(default=1800.0, metadata=above(0))
    """Seconds after which a worker that does not answer counts as lost; one that died is detected at once."""
