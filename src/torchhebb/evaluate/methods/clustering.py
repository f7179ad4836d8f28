"""k-means and a Gaussian mixture by scikit-learn."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def k_means(x: Tensor, clusters: int, *, iterations: int, seed: int) -> tuple[Tensor, int]:
    """The centres (clusters, d) of samples x (N, d) by Lloyd's algorithm, and the number of iterations."""
    from sklearn.cluster import KMeans

    model = KMeans(clusters, init="random", n_init=1, max_iter=iterations, random_state=seed)
    _quietly(model.fit, x.numpy())
    return torch.from_numpy(model.cluster_centers_), int(model.n_iter_)


def mixture(
    x: Tensor, others: Tensor, components: int, *, variance_floor: float, iterations: int, seed: int
) -> tuple[Tensor, Tensor, int]:
    """A mixture of Gaussians with diagonal covariances, fitted to x (N, d) by expectation maximisation.

    Args: variance_floor, which is added to every variance.
    Returns: the responsibilities (N, components) of its components for x, those for others (M, d), and the number of
    iterations.
    """
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        components,
        covariance_type="diag",
        reg_covar=variance_floor,
        max_iter=iterations,
        init_params="random_from_data",
        random_state=seed,
    )
    _quietly(model.fit, x.numpy())
    shares, of_others = (torch.from_numpy(model.predict_proba(part.numpy())).float() for part in (x, others))
    return shares, of_others, int(model.n_iter_)


def _quietly(fit: Callable[..., Any], x: Any) -> None:
    """Fit without a warning about convergence, since callers report the number of iterations."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit(x)
