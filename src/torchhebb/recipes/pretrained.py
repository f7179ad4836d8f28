"""Trained networks in the package: a weights file, a result and a model card for each.

`benchmarks/make_pretrained.py` makes them from recipes.  Matrices and kernels are kept in float16.
"""

import copy
from fnmatch import fnmatch
from pathlib import Path

from torchhebb.errors import unknown_name
from torchhebb.nn import Network, load, save

FOLDER = Path(__file__).resolve().parent.parent / "weights"


def list_pretrained(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes with pretrained=True.

    >>> list_pretrained("softhebb2023-d*")
    ['softhebb2023-digits']
    """
    return [path.stem for path in sorted(FOLDER.glob("*.safetensors")) if fnmatch(path.stem, pattern)]


def load_pretrained(name: str, folder: Path = FOLDER) -> Network:
    """The network of that name with its readout and class names, in float32 and eval mode.

    Raises UserError with the nearest names where none of that name ships.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise unknown_name("trained network", name, list_pretrained())
    network = load(path)
    assert isinstance(network, Network)
    return network.float().eval()


def save_rounded(network: Network, path: Path) -> None:
    """Write a network and its readout as those of the package are: matrices and kernels in float16.

    Vectors, such as running variances, stay as they are: they are small, and may not fit the range of float16.
    """
    network = copy.deepcopy(network)
    for module in (network, network.readout):
        for tensor in [] if module is None else [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point() and tensor.dim() > 1:
                tensor.data = tensor.data.half()
    save(network, path)
