"""Loading of a trained network from a run, a weights file or the name of a network in the package."""

from pathlib import Path

from torch import nn

from torchhebb.errors import UserError
from torchhebb.nn import Network, load
from torchhebb.recipes import list_pretrained, load_pretrained
from torchhebb.runs.folder import finished_result
from torchhebb.runs.run import Run

_HOLDS_ONE = ("config.json", "model.safetensors")


def open_trained(target: nn.Module | Run | Path | str) -> tuple[Network, Path | None]:
    """The network with its readout, and the folder where it is the first seed of a run.

    Args: target, a network, a run or its folder, a weights file, or the name of a trained network that ships with the
    package, see `list_pretrained`.  An existing path has precedence over a name.
    Raises UserError for a target that is none of these, or a run that is not finished.
    """
    network: nn.Module
    folder: Path | None = None
    if isinstance(target, nn.Module):
        network = target
    elif not isinstance(target, Run) and not Path(target).exists() and str(target) in list_pretrained():
        network = load_pretrained(str(target))
    else:
        path = target.folder if isinstance(target, Run) else Path(target)
        if not path.exists() or (path.is_dir() and not any((path / name).exists() for name in _HOLDS_ONE)):
            shipped = ", ".join(list_pretrained())
            raise UserError(f"no such run folder or weights file: {path}; trained networks that ship: {shipped}")
        if (path / "config.json").exists():
            folder = path
            finished_result(path)
        network = load(path)
    if not isinstance(network, Network) or network.architecture is None:
        raise UserError(f"the network must have an architecture, got {type(network).__name__}")
    return network, folder
