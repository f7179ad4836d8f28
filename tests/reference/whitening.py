"""Whitening from its definition: the inverse root of the regularised covariance, patch by patch."""

import torch
from scipy.linalg import fractional_matrix_power
from torch import Tensor


def zca(covariance: Tensor, shrinkage: float) -> Tensor:
    """(C + e I)^(-1/2) with e = shrinkage * mean variance, by scipy's general matrix power."""
    c = covariance.double().numpy()
    e = shrinkage * c.trace() / len(c)
    return torch.from_numpy(fractional_matrix_power(c + e * torch.eye(len(c)).numpy(), -0.5).real)


def whitened_patches(
    x: Tensor, matrix: Tensor, mean: Tensor, kernel_size: int, floor: float, remove_mean: bool
) -> Tensor:
    """One patch after another: less its mean, less the mean patch, through the matrix, divided by its length."""
    samples, _, height, width = x.shape
    out = torch.zeros(samples, len(matrix), height - kernel_size + 1, width - kernel_size + 1, dtype=torch.float64)
    for b in range(samples):
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                p = x[b, :, i : i + kernel_size, j : j + kernel_size].double().flatten()
                if remove_mean:
                    p = p - p.mean()
                q = matrix.double() @ (p - mean.double())
                out[b, :, i, j] = q / max(q.norm().item(), floor)
    return out
