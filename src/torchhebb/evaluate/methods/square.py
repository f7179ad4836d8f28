"""The Square attack, which needs no gradient.

The L-inf attack is that of the Adversarial Robustness Toolbox (ART).  ART's L2 attack divides a new window by the norm
that it should get instead of multiplying by it, and finds little, so that the L2 attack is implemented here.
"""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from torchhebb.errors import UserError
from torchhebb.train.perturb import Norm, fooled, losses

_ROUNDING = 1e-5  # of float32 pixels, summed over an image
_HALVE_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the queries at which squares halve


def check_square(height: int, width: int) -> None:
    """Raise UserError for images that are not square or have fewer than 5 pixels a side."""
    if height != width or height < 5:
        raise UserError(
            f"attacks must leave out square, which needs square images of at least 5 x 5 pixels, got {height} x {width}"
        )


@torch.no_grad()
def square(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: Norm,
    queries: int,
    seed: int,
    batch_size: int = 500,
) -> Tensor:
    """The Square attack: change a random square of pixels, and keep the change if the margin decreases.

    It uses only the logits of the network, so that masked gradients do not affect it.  Images that are misclassified
    already stay unchanged.

    Args: model, pixels -> logits, in evaluation mode; x (B, C, H, W) in [0, 1], H = W; labels (B,); queries, the number
    of changes that are tried on each image; seed, that of all draws; batch_size, that of the model's input.
    Returns: adversarial images, shaped as x, in [0, 1].
    Raises UserError without ART, or for images that are not square or have fewer than 5 pixels a side; RuntimeError
    if the attack left the ball.
    Source: Andriushchenko et al. 2020.
    """
    check_square(*(x.shape[2:] if x.dim() == 4 else (0, 0)))
    if len(x) == 0 or eps == 0:
        return x.clone()
    if norm == "inf":
        adversarial = _by_toolbox(model, x, labels, eps, queries, seed, batch_size)
    else:
        generator = torch.Generator().manual_seed(seed)
        parts = zip(x.split(batch_size), labels.split(batch_size), strict=True)
        adversarial = torch.cat([_in_l2(model, part, truth, eps, queries, generator) for part, truth in parts])
    _check(adversarial, x, eps, norm)
    return adversarial


def _by_toolbox(
    model: nn.Module, x: Tensor, labels: Tensor, eps: float, queries: int, seed: int, batch_size: int
) -> Tensor:
    try:
        from art.attacks.evasion import SquareAttack
        from art.estimators.classification import BlackBoxClassifierNeuralNetwork
    except ImportError:
        raise UserError("the square attack needs ART: pip install torchhebb[attacks]") from None

    def predict(pixels: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(pixels).to(x.device)).float().cpu().numpy()

    classes = model(x[:1]).shape[1]
    network = BlackBoxClassifierNeuralNetwork(predict, tuple(x.shape[1:]), classes, clip_values=(0.0, 1.0))
    attack = SquareAttack(
        network,
        norm=np.inf,
        eps=float(eps),
        max_iter=queries,
        p_init=_first_share(x.shape[2]),
        batch_size=batch_size,
        verbose=False,
    )
    with _seeded(seed):
        return torch.from_numpy(attack.generate(x.float().cpu().numpy(), labels.cpu().numpy())).to(x)


def _in_l2(model: nn.Module, x: Tensor, labels: Tensor, eps: float, queries: int, generator: torch.Generator) -> Tensor:
    """Every query moves norm from one window of the change to another, and adds two bumps of opposite sign there."""
    batch, channels, size, _ = x.shape

    def draw(top: int) -> int:
        return int(torch.randint(top, (), generator=generator))

    def bumps(side: int) -> Tensor:
        signs = torch.randint(2, (batch, channels, 1, 1), generator=generator) * 2 - 1
        pattern = opposite_bumps(side) if draw(2) else opposite_bumps(side).T
        return (signs * pattern).to(x)

    def moved(change: Tensor) -> Tensor:
        return (x + eps * change / _length(change, (1, 2, 3))).clamp(0, 1)

    change = torch.zeros_like(x)
    tile = max(size // 5, 3)
    for top in range(0, size - tile + 1, tile):
        for left in range(0, size - tile + 1, tile):
            change[:, :, top : top + tile, left : left + tile] = bumps(tile)
    best = moved(change)
    change = best - x
    height = losses(model(best), labels, "margin")
    for query in range(queries):
        asked = (height <= 0).nonzero().squeeze(1)  # images that do not fool the model yet
        if len(asked) == 0:
            break
        share = _first_share(size) / 2 ** sum(query / queries > part for part in _HALVE_AT)
        side = max(round(math.sqrt(share) * size), 3)
        (top, left), (from_top, from_left) = ((draw(size - side + 1), draw(size - side + 1)) for _ in range(2))
        new = np.s_[:, :, top : top + side, left : left + side]
        old = np.s_[:, :, from_top : from_top + side, from_left : from_left + side]
        trial = change.clone()
        trial[new] = 0
        trial[old] = 0
        # The norm that the unchanged pixels leave within the ball, divided among the channels.
        free = (eps**2 - trial.square().sum((1, 2, 3), keepdim=True)).clamp_min(0).div(channels).sqrt()
        window = bumps(side) + change[new] / _length(change[new], (2, 3))
        trial[new] = free * window / _length(window, (2, 3))
        tried = moved(trial)
        found = losses(model(tried[asked]), labels[asked], "margin")
        higher = found > height[asked]
        rising = asked[higher]
        best[rising], height[rising] = tried[rising], found[higher]
        change = best - x
    unmoved = fooled(model, x, labels).view(-1, 1, 1, 1)
    return torch.where(unmoved, x, best)


def opposite_bumps(side: int) -> Tensor:
    """Two pyramids of opposite sign, one above the other, with norm 1 together, (side, side).

    A pixel at ring d around the top of its pyramid has the height sum_{i >= d} 1 / (i + 1)^2, i < side / 2.

    >>> opposite_bumps(2)[:, 1]
    tensor([ 0.7071, -0.7071])
    """
    half = side // 2
    rings = torch.cat([1 / (torch.arange(half) + 1.0) ** 2, torch.zeros(side - half)])
    heights = rings.flip(0).cumsum(0).flip(0)
    rows, columns = (torch.arange(half) - half // 2).abs(), (torch.arange(side) - half).abs()
    pyramid = heights[torch.maximum(rows[:, None], columns[None, :])]
    pattern = torch.cat([pyramid, -pyramid, torch.zeros(side - 2 * half, side)])
    return pattern / pattern.norm()


def _first_share(size: int) -> float:
    """The fraction of an image that the first square covers, limited so that it fits into a small image."""
    return min(0.8, ((size - 2) / size) ** 2)


def _length(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    return x.square().sum(dim, keepdim=True).sqrt().clamp_min(1e-12)


def _check(adversarial: Tensor, x: Tensor, eps: float, norm: Norm) -> None:
    change = (adversarial - x).flatten(1)
    distance = change.abs().amax() if norm == "inf" else change.norm(dim=1).amax()
    low, high = adversarial.amin(), adversarial.amax()
    if not (distance <= eps + _ROUNDING and low >= 0 and high <= 1):  # so that NaN is caught as well
        raise RuntimeError(
            f"the square attack left its bounds: distance {float(distance)} of {eps} allowed, "
            f"pixels from {float(low)} to {float(high)}"
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of numpy and Python, which ART uses, and restore them afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
