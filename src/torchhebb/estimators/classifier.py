"""A scikit-learn classifier on features learned without labels."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.estimators.softhebb import SoftHebbEstimator
from torchhebb.nn import LinearReadout
from torchhebb.readouts import Logistic
from torchhebb.train.device import find_device
from torchhebb.train.online import OnlineReadout
from torchhebb.train.recipe import AdamW

_HELD_OUT = 0.1  # of the samples choose the strength of the regularisation


class SoftHebbClassifier(ClassifierMixin, SoftHebbEstimator):
    """The features of `SoftHebbTransformer` with a softmax regression on top, the only part that sees labels.

    `fit` solves the regression on the frozen features, its regularisation chosen on a tenth of the samples.
    `partial_fit` takes one step of the features and one of the regression (AdamW on the cross-entropy) for every batch.

    Args: those of `SoftHebbTransformer`; readout_lr, the rate of the regression in `partial_fit`.
    Attributes: classes_; network_, the `torchhebb.nn.Network` with its readout; n_features_in_, feature_names_in_.
    Source: SoftHebb-2022; whitened inputs after Coates, Ng and Lee 2011.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> SoftHebbClassifier(50, random_state=0).fit(X[:900], y[:900]).score(X[900:], y[900:]) > 0.85
    True
    """

    classes_: np.ndarray

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
        readout_lr: float = 1e-2,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        super().__init__(
            n_neurons,
            image_shape=image_shape,
            kernel_size=kernel_size,
            inverse_temperature=inverse_temperature,
            lr=lr,
            batch_size=batch_size,
            epochs=epochs,
            random_state=random_state,
            device=device,
        )
        self.readout_lr = readout_lr

    def fit(self, X: Any, y: Any) -> Self:
        """Learn features from X (N, F), or images (N, C, H, W), in `epochs` passes, then the classes y (N,)."""
        x, y = self._first(X, y=y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError("y must hold at least 2 classes, got 1 class")
        self._learn_all(x)
        device = find_device(self.device)
        with torch.no_grad():
            features = torch.cat([self.network_(part.to(device).float()).flatten(1) for part in x.split(256)])
        plan = Logistic(holdout=max(_HELD_OUT, 1 / len(x)))
        readout = plan.fit(features, torch.from_numpy(labels), len(self.classes_), seed=self._seed).readout
        self.network_.attach(readout)
        self._restore()
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn from further data in one pass, `batch_size` samples a step, in their order.

        Args: classes, all that will ever come; needed by the first call.
        Raises UserError for classes that are missing at the first call, differ later, or do not hold all of y.
        """
        begun = hasattr(self, "network_")
        x, y = self._further(X, y=y) if begun else self._first(X, y=y)
        check_classification_targets(y)
        if not begun:
            if classes is None:
                raise UserError("classes must be given to the first call of partial_fit")
            self.classes_ = np.unique(classes)
            self._begin(x)
            self._restore()
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise UserError(f"classes must stay {self.classes_.tolist()}, got {np.unique(classes).tolist()}")
        if unknown := sorted(set(np.unique(y).tolist()) - set(self.classes_.tolist())):
            raise UserError(f"y must be among the classes {self.classes_.tolist()}, got {unknown}")
        labels = torch.from_numpy(np.searchsorted(self.classes_, y)).to(find_device(self.device))
        for batch, features in self._steps(x):
            self._online.step(features.flatten(1), labels[batch], 1.0)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, classes), in the order of `classes_`."""
        return torch.softmax(self._logits(X), 1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of every sample."""
        chosen = self._logits(X).argmax(1).numpy()
        return self.classes_[chosen]

    @torch.no_grad()
    def _logits(self, X: Any) -> Tensor:
        features = self._features(X)
        readout = self.network_.readout
        assert isinstance(readout, LinearReadout)
        weight, bias = (tensor.cpu().to(features.dtype) for tensor in (readout.weight, readout.bias))
        return torch.nn.functional.linear(features, weight, bias)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {**super()._optimizers(), "online": self._online.optimizer}

    def _restore(self) -> None:
        """Continue training the attached readout together with the features."""
        super()._restore()
        assert self.network_.architecture is not None
        known, shape = self.network_.readout, self.network_.architecture.input_shape
        plan = AdamW(self.readout_lr, weight_decay=0.0)
        self._online = OnlineReadout(self.network_, shape, len(self.classes_), plan, seed=self._seed)
        self.network_.eval()
        if isinstance(known, LinearReadout):
            self._online.readout.load_state_dict(known.state_dict())
        self.network_.attach(self._online.readout)
