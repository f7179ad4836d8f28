"""Ridge regression from products of samples, written from its definition in float64."""

import torch
from torch import Tensor


def standardised_products(features: Tensor, fitted: int, *, int8: bool) -> Tensor:
    """Z Z^T, Z standardised by the first `fitted` samples, with `int8` clipped at 6 and rounded to steps of 6 / 127."""
    x = features.double()
    z = (x - x[:fitted].mean(0)) / x[:fitted].std(0, correction=0)
    z[:, x[:fitted].std(0) == 0] = 0
    if int8:
        z = (z.clamp(-6, 6) * 127 / 6).round() * 6 / 127
    return z @ z.T


def centred(products: Tensor, fitted: int) -> Tensor:
    """The products of samples less the mean of the fitted ones."""
    size = len(products)
    shift = torch.eye(size, dtype=torch.float64)
    shift[:, :fitted] -= 1 / fitted
    return shift @ products @ shift.T


def ridge_logits(products: Tensor, targets: Tensor, strength: float) -> Tensor:
    """What a ridge on the first samples, those with targets, answers to all others; products are centred."""
    count = len(targets)
    system = products[:count, :count] + strength * torch.eye(count, dtype=torch.float64)
    dual = torch.linalg.inv(system) @ (targets - targets.mean(0)).double()
    return products[count:, :count] @ dual + targets.double().mean(0)
