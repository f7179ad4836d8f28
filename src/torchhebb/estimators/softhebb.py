"""A scikit-learn transformer that learns features by SoftHebb on whitened inputs."""

from typing import Any

from torch import Tensor

from torchhebb.estimators.base import HebbEstimator, HebbTransformer
from torchhebb.nn import Architecture, WhitenedBlock
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning

GRID = 4


class SoftHebbEstimator(HebbEstimator):
    """One whitened block: neurons that compete for whitened inputs, or for the whitened patches of images."""

    def __init__(
        self,
        n_neurons: int = 100,
        *,
        image_shape: tuple[int, int, int] | None = None,
        kernel_size: int = 3,
        inverse_temperature: float = 50.0,
        lr: float = 0.1,
        batch_size: int = 10,
        epochs: int = 10,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_neurons, self.image_shape, self.kernel_size = n_neurons, image_shape, kernel_size
        self.inverse_temperature, self.lr = inverse_temperature, lr
        self.batch_size, self.epochs, self.random_state, self.device = batch_size, epochs, random_state, device

    def _architecture(self, x: Tensor) -> Architecture:
        patches = self.image_shape is not None
        block = WhitenedBlock(
            self.n_neurons,
            self.kernel_size if patches else 1,
            SoftHebb(self.inverse_temperature, anti_hebbian=False),
            remove_mean=patches,
            init="normal",
            lr=self.lr,
        )
        shape = (x.shape[1], x.shape[2], x.shape[3])
        return Architecture(shape, (block,), feature_pool=GRID if patches else None)

    def _plan(self) -> Learning:
        return Learning(self.batch_size, self.epochs, schedule="linear")


class SoftHebbTransformer(HebbTransformer, SoftHebbEstimator):
    """Features that neurons learn without labels, by soft winner-take-all competition for whitened inputs.

    x is whitened and scaled to unit norm; the neurons learn by SoftHebb; the features are
    relu(u - mean of u over the neurons), u = W x.  With `image_shape` the inputs are patches of images, and the
    features of every neuron are averaged over a grid of 4 x 4 places.

    Args: n_neurons; image_shape, (channels, height, width) where the samples are images, flattened or not;
    kernel_size, the side of a patch of an image; inverse_temperature of the competition; lr, which falls linearly to
    zero during `fit` and stays during `partial_fit`; batch_size; epochs, the passes of `fit`; random_state; device,
    auto, cpu, cuda or cuda:N.
    Attributes: network_, the `torchhebb.nn.Network`; n_features_in_, feature_names_in_ as everywhere.
    Takes arrays, data frames and tensors of any float type, or integers, which are taken as float32.
    Source: SoftHebb-2022; whitened inputs after Coates, Ng and Lee 2011.

    >>> from sklearn.datasets import load_digits
    >>> X, _ = load_digits(return_X_y=True)
    >>> SoftHebbTransformer(20, epochs=1, random_state=0).fit(X).transform(X).shape
    (1797, 20)
    """
