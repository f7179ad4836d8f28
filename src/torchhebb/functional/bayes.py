"""The Bayesian quantities of a soft winner-take-all layer: posterior, cross-entropy, update of the log prior.

The model is the mixture of `torchhebb.functional.mixture`, whose symbols these functions share.
"""

import torch
from torch import Tensor

from torchhebb.functional.form import widened
from torchhebb.functional.mixture import joint_log_density


def posterior(x: Tensor, weight: Tensor, inverse_temperature: float, *, bias: Tensor | None = None) -> Tensor:
    """Bayes' rule on the densities: P(k | x) = pi_k p(x | k) / sum_l pi_l p(x | l).

    If every radius is 1, this is `soft_wta` of u = x w^T, because the normaliser of the components cancels.

    Args: x (B, d), unit rows; weight (K, d); bias (K,).  Returns: (B, K), rows that sum to one.
    Raises ValueError as `mixture_log_density`.
    Source: SoftHebb-2022, the activity as posterior.

    >>> posterior(torch.eye(2), torch.eye(2), 2.0)
    tensor([[0.8808, 0.1192],
            [0.1192, 0.8808]])
    """
    joint = joint_log_density(x, weight, inverse_temperature, bias=bias)
    return torch.exp(joint - joint.logsumexp(1, keepdim=True)).to(x.dtype)


def mixture_cross_entropy(
    x: Tensor, weight: Tensor, inverse_temperature: float, *, bias: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the data under the model, in nats: - mean of log q(x).

    At radius 1 its gradient to w_k is - kappa E[y_k (x - u_k w_k)]: the layer's update is its steepest descent on the
    sphere.  Its gradient to b_k is - kappa (E[y_k] - pi_k), of which `log_prior_update` is a positive multiple.

    Args: x (B, d), unit rows; weight (K, d); bias (K,).  Returns: a scalar.
    Raises ValueError as `mixture_log_density`.
    Source: SoftHebb-2022, the loss that plasticity lowers.

    >>> mixture_cross_entropy(torch.eye(2), torch.eye(2), 0.0)  # uniform: the log of the circle's length
    tensor(1.8379)
    """
    return -joint_log_density(x, weight, inverse_temperature, bias=bias).logsumexp(1).mean().to(x.dtype)


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Monte Carlo estimate of KL(p || q) = E_p[log p(x) - log q(x)], in nats, from samples of p.

    Args: log_p and log_q (B,), both log densities at the same samples, as `mixture_log_density` gives them; in
    float64 where they are large.  Returns: a scalar.  Raises ValueError if the shapes differ.
    Source: SoftHebb-2022, the divergence between data and model.

    >>> kl_divergence(torch.tensor([0.0, 0.5]), torch.tensor([-1.0, 0.5]))
    tensor(0.5000)
    """
    if log_p.shape != log_q.shape:
        raise ValueError(f"log_p and log_q must be of the same samples, got {(*log_p.shape,)} and {(*log_q.shape,)}")
    return (log_p - log_q).mean()


def log_prior_update(y_mean: Tensor, bias: Tensor, inverse_temperature: float = 1.0) -> Tensor:
    """db_k = E[y_k] exp(-t b_k) - 1; its fixed point is the log prior, exp(t b_k) = E[y_k].

    Values are limited to the largest number of the dtype, so that no infinity reaches an optimizer.

    Args: y_mean (K,), the activity averaged over samples; bias (K,).  Returns: db (K,).
    Source: SoftHebb-2022, the bias update exp(-b) (y - exp(b)), with exp(b ln B) for a base B.

    >>> log_prior_update(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.5]).log())
    tensor([ 0.0000, -0.5000])
    """
    dtype = torch.promote_types(y_mean.dtype, bias.dtype)
    wide = widened(dtype)
    inverse_prior = torch.exp(-inverse_temperature * bias.to(wide)).clamp_max(torch.finfo(wide).max)
    return (y_mean.to(wide) * inverse_prior - 1).clamp_max(torch.finfo(dtype).max).to(dtype)
