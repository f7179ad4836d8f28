"""docs/papers/sphere.md in numbers: from Oja's rule to a loss on similarities, on a linear layer Y = X W^T in float64.

X (B, N) samples, W (M, N) weights, C = X^T X.  Oja's update of all neurons is Y^T X - Y^T Y W.
"""

import pytest
import torch
from torch import Tensor

from tests.reference import agree, draw
from torchhebb.functional import orthogonality_loss, structure_loss
from torchhebb.nn import HebbLinear
from torchhebb.rules import Oja

BATCH, INPUTS, OUTPUTS = 12, 5, 3


def oja(x: Tensor, w: Tensor) -> Tensor:
    y = x @ w.T
    return y.T @ x - y.T @ y @ w


def mirror(x: Tensor, w: Tensor) -> Tensor:
    """The same with the overlap of the weights in place of that of the outputs."""
    y = x @ w.T
    return y.T @ x - w @ w.T @ y.T @ x


def error(x: Tensor, w: Tensor) -> Tensor:
    y = x @ w.T
    return y @ y.T - x @ x.T


def matching(x: Tensor, w: Tensor) -> Tensor:
    """|| Y Y^T - X X^T ||^2 / 4."""
    return error(x, w).square().sum() / 4


def weighted(x: Tensor, w: Tensor) -> Tensor:
    """Tr[E (X X^T)^-1 E] / 4 with E = Y Y^T - X X^T; the pseudo-inverse, for more samples than inputs."""
    e = error(x, w)
    return torch.trace(e @ torch.linalg.pinv(x @ x.T) @ e) / 4


def held(x: Tensor, w: Tensor) -> Tensor:
    """Tr[Y^T (X X^T)^-1 E Y], in which all but the first Y is held still."""
    y = x @ w.T
    return torch.trace(y.T @ (torch.linalg.pinv(x @ x.T) @ error(x, w) @ y).detach())


def gradient(loss: Tensor, w: Tensor) -> Tensor:
    return torch.autograd.grad(loss, w)[0]


@pytest.fixture(params=range(3))
def layer(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    return draw(request.param, BATCH, INPUTS), draw(request.param + 10, OUTPUTS, INPUTS).requires_grad_()


def test_the_held_loss_has_ojas_update_as_its_gradient(layer: tuple[Tensor, Tensor]):
    x, w = layer
    agree(gradient(held(x, w), w), -oja(x, w))


def test_the_librarys_oja_neuron_descends_the_held_loss():
    x, w = draw(4, BATCH, INPUTS), draw(5, 1, INPUTS).requires_grad_()
    neuron = HebbLinear(INPUTS, 1, rule=Oja(), dtype=torch.float64)
    neuron.weight.copy_(w.detach())
    neuron.learn(x)
    assert neuron.weight.grad is not None
    agree(neuron.weight.grad, gradient(held(x, w), w) / BATCH)


def test_the_weighted_loss_descends_the_mean_of_oja_and_its_mirror(layer: tuple[Tensor, Tensor]):
    x, w = layer
    agree(gradient(weighted(x, w), w), -(oja(x, w) + mirror(x, w)) / 2)


def test_for_orthonormal_neurons_that_is_half_of_oja(layer: tuple[Tensor, Tensor]):
    x, w = layer
    w = torch.linalg.qr(w.detach().T)[0].T.requires_grad_()
    agree(gradient(weighted(x, w), w), -oja(x, w) / 2)


def test_without_the_weighting_ojas_update_is_multiplied_by_the_covariance(layer: tuple[Tensor, Tensor]):
    x, w = layer
    agree(gradient(matching(x, w), w), -oja(x, w) @ x.T @ x)
    agree(gradient(matching(x, w), w) @ torch.linalg.inv(x.T @ x), -oja(x, w))


def test_dropping_it_scales_every_direction_by_its_variance(layer: tuple[Tensor, Tensor]):
    x, w = layer
    variances, directions = torch.linalg.eigh(x.T @ x)
    agree(gradient(matching(x, w), w) @ directions, -oja(x, w) @ directions * variances)


def descend(x: Tensor, w: Tensor, *, preconditioned: bool, steps: int, rate: float) -> list[Tensor]:
    path = []
    for _ in range(steps):
        update = oja(x, w)
        w = w + rate * (update if preconditioned else update @ x.T @ x)
        path.append(w)
    return path


def test_both_end_in_the_principal_subspace_and_the_unweighted_finds_strong_directions_first():
    basis, _ = torch.linalg.qr(draw(0, INPUTS, INPUTS))
    spread = torch.tensor([2.0, 1.6, 1.2, 0.7, 0.6], dtype=torch.float64)
    x = torch.linalg.qr(draw(1, BATCH, INPUTS))[0] * spread @ basis.T
    principal = basis[:, :OUTPUTS] @ basis[:, :OUTPUTS].T
    paths = {
        flag: descend(x, 0.1 * draw(2, OUTPUTS, INPUTS), preconditioned=flag, steps=3000, rate=0.02)
        for flag in (True, False)
    }
    for path in paths.values():
        w = path[-1]
        torch.testing.assert_close(w.T @ w, principal, atol=1e-6, rtol=0)

    def lag(path: list[Tensor]) -> float:
        """Steps to the weakest direction of the subspace over steps to the strongest."""
        done = [next(i for i, w in enumerate(path, 1) if (w @ basis[:, k]).norm() > 0.9) for k in (0, OUTPUTS - 1)]
        return done[1] / done[0]

    assert lag(paths[False]) > 2 * lag(paths[True])


def test_structure_loss_is_matching_on_unit_rows(layer: tuple[Tensor, Tensor]):
    x, w = layer
    unit = x / x.norm(dim=1, keepdim=True)
    rotated = torch.linalg.qr(draw(7, INPUTS, INPUTS))[0]
    agree(structure_loss(x, x @ rotated.T), 0.0)
    y = x @ w.T
    y = y / y.norm(dim=1, keepdim=True)
    agree(structure_loss(x, x @ w.T), (y @ y.T - unit @ unit.T).square().sum() / BATCH**2)


def test_orthogonality_takes_the_place_of_the_decay(layer: tuple[Tensor, Tensor]):
    x, w = layer
    whitened = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x)).T
    agree(orthogonality_loss(whitened), 0.0)
    assert orthogonality_loss(x @ w.T) > 0.01
    agree(gradient(orthogonality_loss(x @ w.T), w).mul(w).sum(), 0.0)  # blind to lengths, which weight decay bounds
