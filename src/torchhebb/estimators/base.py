"""The base class of the estimators: building the network, fit and partial_fit, features, pickling."""

import copy
import json
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from torchhebb.data import Images
from torchhebb.estimators.arrays import as_images
from torchhebb.nn import Architecture, Network
from torchhebb.nn.packing import pack, unpack
from torchhebb.train import Learning
from torchhebb.train.device import find_device
from torchhebb.train.fused import learning_step
from torchhebb.train.learn import init_from_images, learn_images, make_optimizer

_CHUNK = 256  # samples whose features are computed at once


class HebbEstimator(BaseEstimator):
    """The base class of an estimator whose network learns from its inputs alone.

    `fit` is the training loop of the library, in float32.  Features are computed in the precision of what is
    transformed.  A pickle holds the network, its readout and its optimizer as safetensors bytes.
    """

    image_shape: tuple[int, int, int] | None
    batch_size: int
    epochs: int
    random_state: Any
    device: str
    network_: Network

    @abstractmethod
    def _architecture(self, x: Tensor) -> Architecture:
        """The network for data x (N, C, H, W)."""

    @abstractmethod
    def _plan(self) -> Learning:
        """How it learns, in batches of `batch_size`."""

    def _images(self, X: Any, *, reset: bool = False, least: int = 1, **labels: Any) -> Any:
        return as_images(self, X, self.image_shape, reset=reset, least=least, **labels)

    def _first(self, X: Any, **labels: Any) -> Any:
        """The data of a first call, as images."""
        return self._images(X, reset=True, least=2, **labels)

    def _further(self, X: Any, **labels: Any) -> Any:
        """The data of a further call of partial_fit: where batch norm or a loss compares samples, two at least."""
        assert self.network_.architecture is not None
        single = all(block.learns_from_single_samples for block in self.network_.architecture.blocks)
        return self._images(X, least=1 if single else 2, **labels)

    def _build(self, x: Tensor) -> None:
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.network_ = self._architecture(x).build(self._seed).to(find_device(self.device))
        self._optimizer = make_optimizer(self.network_, self._plan())

    def _learn_all(self, x: Tensor) -> None:
        """All passes over the data, in an order drawn by the seed."""
        self._build(x)
        plan = self._plan()
        size = min(plan.batch_size, len(x))
        while len(x) % size == 1:  # nothing can be compared in a batch of one sample
            size += 1
        learn_images(self.network_, _unlabelled(x), replace(plan, batch_size=size), seed=self._seed)

    def _steps(self, x: Tensor) -> list[tuple[slice, Tensor]]:
        """One step for every batch, in the order of the data; the batches and the features that they had."""
        device = find_device(self.device)
        step = learning_step(self.network_.train(), self._optimizer, device=device)
        found, begin = [], 0
        for part in x.tensor_split(-(-len(x) // self.batch_size)):
            features = step(part.to(device).float())
            found.append((slice(begin, begin + len(part)), features))
            begin += len(part)
        self.network_.eval()
        return found

    def _begin(self, x: Tensor) -> None:
        """The network before its first step by partial_fit: its whitening is that of the first call's data."""
        self._build(x)
        init_from_images(self.network_.train(), _unlabelled(x), len(x), self._seed, find_device(self.device))

    @torch.no_grad()
    def _features(self, X: Any) -> Tensor:
        """Features (N, F) on the CPU."""
        check_is_fitted(self)
        x = self._images(X)
        network = copy.deepcopy(self.network_).double() if x.dtype == torch.float64 else self.network_
        device = find_device(self.device)
        return torch.cat([network(part.to(device)).flatten(1).cpu() for part in x.split(_CHUNK)])

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self._optimizer}

    def _restore(self) -> None:
        """Make what `_optimizers` names, for the network as it is."""
        self._optimizer = make_optimizer(self.network_, self._plan())

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "network_" in state:
            tensors = {f"network.{name}": tensor for name, tensor in self.network_.tensors().items()}
            tensors |= pack(**self._optimizers())
            own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            learned = {"header": json.dumps(self.network_.header()), "tensors": bytes_of(own)}
            state = {name: value for name, value in state.items() if name not in ("network_", "_optimizer", "_online")}
            state["_learned"] = learned
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        learned = state.pop("_learned", None)
        super().__setstate__(state)
        if learned is None:
            return
        tensors = tensors_of(learned["tensors"])
        self.network_ = Network.from_header(json.loads(learned["header"]))
        mine = {name: tensor for name, tensor in tensors.items() if name.startswith("network.")}
        self.network_.fill({name.removeprefix("network."): tensor for name, tensor in mine.items()})
        self.network_.to(find_device(self.device)).eval()
        self._restore()
        unpack({name: tensor for name, tensor in tensors.items() if name not in mine}, **self._optimizers())


class HebbTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, HebbEstimator):
    """`HebbEstimator` with the methods of a transformer."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from X (N, F), or images (N, C, H, W) of `image_shape`, in `epochs` passes; y is not read."""
        self._learn_all(self._first(X))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from further data in one pass, `batch_size` samples a step, in their order; y is not read.

        The first call sets what is computed from the data before learning, such as whitening.
        """
        if not hasattr(self, "network_"):
            x = self._first(X)
            self._begin(x)
        else:
            x = self._further(X)
        self._steps(x)
        return self

    def transform(self, X: Any) -> Any:
        """Features (N, F) in the precision of X."""
        return self._features(X).numpy()

    @property
    def _n_features_out(self) -> int:
        assert self.network_.architecture is not None
        return self.network_.architecture.output_shape().numel()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _unlabelled(x: Tensor) -> Images:
    """Data as what the training loop takes, which learns in float32."""
    return Images(x.float(), torch.full((len(x),), -1))
