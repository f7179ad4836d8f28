"""A trained network together with the preprocessing of its images."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from torchhebb.config import to_json
from torchhebb.data import Images, Preprocessing, Store, Stream, first_images
from torchhebb.embedding.projection import Projection, run_projection
from torchhebb.errors import UserError
from torchhebb.nn import Network
from torchhebb.progress import SILENT, Progress
from torchhebb.runs.folder import read_config, read_preprocessing
from torchhebb.runs.run import Run, open_run
from torchhebb.runs.trained import open_trained
from torchhebb.train.device import find_device
from torchhebb.train.features import batch_size_for, fingerprint


@dataclass(frozen=True, eq=False)
class Encoder:
    """Pixels (B, C, H, W) to features (B, F) float32, by a frozen network and, where there is one, a projection.

    >>> encoder = open_encoder("softhebb2023-digits", device="cpu")
    >>> encoder(torch.rand(2, 1, 8, 8)).shape == (2, encoder.width)
    True
    """

    network: Network
    preprocessing: Preprocessing
    device: torch.device
    projection: Projection | None = None

    @property
    def key(self) -> dict[str, object]:
        """The identity of this encoder, as JSON data."""
        learned = fingerprint(self.network)
        projected = None if self.projection is None else self.projection.key
        return {"network": learned, "preprocessing": to_json(self.preprocessing), "projection": projected}

    @property
    def width(self) -> int:
        """F"""
        return self(torch.zeros(1, *self.preprocessing.shape)).shape[1]

    def batch_size(self, count: int) -> int:
        """How many of `count` images fit the free memory, and are few enough to be fast."""
        shape = (max(1, count), *self.preprocessing.shape)
        blank = Images(torch.zeros(1, *shape[1:], dtype=torch.uint8).expand(shape), torch.empty(shape[0]))
        with torch.no_grad():
            return batch_size_for(self.network, blank, self.device)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """pixels, uint8 or floats in [0, 1] -> (B, F) float32 on the CPU."""
        x = pixels.to(self.device)
        x = x / 255.0 if x.dtype == torch.uint8 else x.float()
        features = self.network(x).flatten(1).float()
        return (features if self.projection is None else self.projection(features)).cpu()


def open_encoder(
    target: nn.Module | Run | Path | str,
    *,
    dim: int | None = None,
    device: str = "auto",
    data_dir: Path | str | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Encoder:
    """The encoder of a run (its first seed), a weights file, a network, or the name of one that ships with the package.

    Args: dim, the number of principal components that features are projected on; they are fitted on the training
    features of a run, once, and kept with it.
    Raises UserError for a target that is none of these, or a dim without a run.

    >>> open_encoder("softhebb2023-digits", device="cpu").preprocessing.shape  # a network that ships with the package
    (1, 8, 8)
    """
    where = target.device if isinstance(target, Run) else find_device(device)
    network, folder = open_trained(target)
    assert network.architecture is not None
    if folder is None:
        if dim is not None:
            raise UserError("dim needs a run, whose training features the projection is fitted on")
        return Encoder(_placed(network, where), Preprocessing(*network.architecture.input_shape), where)
    encoder = Encoder(_placed(network, where), read_preprocessing(folder), where)
    if dim is None:
        return encoder

    def features(most: int) -> Tensor:
        run = target if isinstance(target, Run) else _opened(folder, device, data_dir, store, progress)
        train = first_images(run.data.train, most) if isinstance(run.data.train, Stream) else run.data.train.images
        # Evenly over the training images, which are sorted by class where they come from folders.
        rows = torch.linspace(0, len(train) - 1, min(most, len(train))).round().long().unique()
        size = encoder.batch_size(len(rows))
        return torch.cat([encoder(train[part]) for part in rows.split(size)])

    return Encoder(encoder.network, encoder.preprocessing, where, run_projection(folder, dim, encoder.key, features))


def _opened(folder: Path, device: str, data_dir: Path | str | None, store: Store | None, progress: Progress) -> Run:
    own = read_config(folder)[1]
    options = replace(own, device=device, data_dir=str(data_dir or own.data_dir or "") or None)
    return open_run(folder, options, store=store, progress=progress)


def _placed(network: Network, device: torch.device) -> Network:
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
