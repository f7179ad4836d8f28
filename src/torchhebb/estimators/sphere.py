"""A scikit-learn transformer that learns features by SPHeRe's local loss."""

from typing import Any

from torch import Tensor

from torchhebb.estimators.base import HebbTransformer
from torchhebb.estimators.softhebb import GRID
from torchhebb.nn import Architecture, SPHeReConvBlock
from torchhebb.train import Learning
from torchhebb.train.recipe import AdamW


class SPHeReTransformer(HebbTransformer):
    """Features that keep the similarities between the inputs, learned without labels by SPHeRe's local loss.

    x is standardised by the mean and deviation of the data of the first call, of every feature or every channel; the
    features are leaky_relu(batch_norm(W x + b)).  They learn by minimising structure_loss(x, p) + 0.8
    orthogonality_loss(p) of a projection p to few dimensions.  With `image_shape`, W is a convolution, and its maps are
    averaged over a grid of 4 x 4 places.

    Args: n_neurons; image_shape, (channels, height, width) where the samples are images, flattened or not;
    kernel_size of the convolution; projection, the dimensions of p; lr and weight_decay of AdamW, the rate falling by a
    half cosine during `fit`; batch_size; epochs, the passes of `fit`; random_state; device, auto, cpu, cuda or cuda:N.
    Attributes: network_, the `torchhebb.nn.Network`; n_features_in_, feature_names_in_ as everywhere.
    Takes arrays, data frames and tensors of any float type, or integers, which are taken as float32.
    Source: SPHeRe-2025.

    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> SPHeReTransformer(20, epochs=1, random_state=0).fit(X).transform(X).shape
    (1797, 20)
    """

    def __init__(
        self,
        n_neurons: int = 100,
        *,
        image_shape: tuple[int, int, int] | None = None,
        kernel_size: int = 3,
        projection: int = 64,
        lr: float = 3e-3,
        weight_decay: float = 0.05,
        batch_size: int = 32,
        epochs: int = 10,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_neurons, self.image_shape, self.kernel_size = n_neurons, image_shape, kernel_size
        self.projection, self.lr, self.weight_decay = projection, lr, weight_decay
        self.batch_size, self.epochs, self.random_state, self.device = batch_size, epochs, random_state, device

    def _architecture(self, x: Tensor) -> Architecture:
        patches = self.image_shape is not None
        kernel_size = self.kernel_size if patches else 1
        block = SPHeReConvBlock(self.n_neurons, projection=self.projection, kernel_size=kernel_size, pool=None)
        x = x.double()
        std, mean = x.std((0, 2, 3), correction=0), x.mean((0, 2, 3))
        std[std <= 1e-6 * mean.abs()] = 1.0  # a constant
        std[std == 0] = 1.0
        shape = (x.shape[1], x.shape[2], x.shape[3])
        return Architecture(
            shape, (block,), tuple(mean.tolist()), tuple(std.tolist()), feature_pool=GRID if patches else None
        )

    def _plan(self) -> Learning:
        return Learning(self.batch_size, self.epochs, optimizer=AdamW(self.lr, self.weight_decay), schedule="cosine")
