"""Images between classes, from the density that is implied by a layer of competing neurons.

| symbol | meaning |
|---|---|
| x | a direction: an image scaled to unit norm, no pixel below 0 |
| w_k, b_k, t | prototype and bias of neuron k; inverse temperature |
| S, T | the neurons labelled with the source class and with the target class |
| p(x, C) | sum over k in C of exp(t (w_k x + b_k)): the density of a class, up to a constant |
| P_x(C) | sum over k in C of y_k: the posterior mass of a class, p(x, C) over its sum over all classes |
| m_C(x) | mean of w_k over k in C, weighted by y_k |
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchhebb.train.perturb import pgd


@dataclass(frozen=True, eq=False)
class Causes:
    """The generative model of a layer: its neurons as hidden causes, and the class that each is labelled with.

    Args: weight (K, d); bias (K,) or None; inverse_temperature t; labels (K,).
    """

    weight: Tensor
    bias: Tensor | None
    inverse_temperature: float
    labels: Tensor

    def log_joint(self, x: Tensor) -> Tensor:
        """t (w_k x + b_k) for directions x (B, d).  Returns: (B, K)."""
        u = x @ self.weight.mT
        return self.inverse_temperature * (u if self.bias is None else u + self.bias)

    def members(self, classes: Tensor) -> Tensor:
        """Which neurons are labelled with each of the classes (B,).  Returns: (B, K) bool."""
        return self.labels == classes.unsqueeze(1)

    def log_density(self, x: Tensor, classes: Tensor) -> Tensor:
        """log p(x, C) for the class C of each row.  Returns: (B,)."""
        return self.log_joint(x).masked_fill(~self.members(classes), -torch.inf).logsumexp(1)

    def mean(self, x: Tensor, classes: Tensor) -> Tensor:
        """m_C(x) for the class C of each row; t m_C(x) is the gradient of log p(x, C).  Returns: (B, d)."""
        among = self.log_joint(x).masked_fill(~self.members(classes), -torch.inf)
        return torch.softmax(among, 1) @ self.weight

    def posterior(self, x: Tensor, classes: int) -> Tensor:
        """P_x(C) of every class.  Returns: (B, classes)."""
        y = torch.softmax(self.log_joint(x), 1)
        return y.new_zeros(len(x), classes).index_add_(1, self.labels, y)


def bridge(
    causes: Causes, x: Tensor, source: Tensor, target: Tensor, shares: Sequence[float], *, iterations: int = 20
) -> Tensor:
    """A path from images to another class through regions of high density.

    At share s it maximises, starting from the last point of the path,

        J_s(x) = (1-s)^2 t x_0 x + s (1-s) log p(x, S) + s log p(x, T)

    over directions x.  The three weights sum to one: at 0 only the image x_0 counts, at 1 only the density of the
    target class, and in between a geometric mean of both classes' densities and x_0.  Since log p(x, T) is
    log P_x(T) + log p(x), it is low where no image is expected, unlike the posterior.  Each iteration is

        x <- normalise(relu((1-s)^2 x_0 + s (1-s) m_S(x) + s m_T(x)))

    the direction without negative pixels that maximises the tangent of J_s; J_s is convex, so it does not decrease.

    The end is a mode of the target's density, with a high posterior of the target unless another class is denser there.

    Args: x (B, d), directions; source and target (B,), classes with at least one neuron; shares in [0, 1], increasing.
    Returns: (B, shares, d), directions.
    Source: SoftHebb-2022, objects that interpolate real classes; the path of densities is that of Neal 2001.

    >>> causes = Causes(torch.eye(3), None, 2.0, torch.tensor([0, 1, 1]))
    >>> x = torch.tensor([[1.0, 0.0, 0.0]])
    >>> bridge(causes, x, torch.tensor([0]), torch.tensor([1]), (0.0, 1.0))
    tensor([[[1.0000, 0.0000, 0.0000],
             [0.0000, 0.7071, 0.7071]]])
    """
    start, points = x, []
    for share in shares:
        for _ in range(iterations):
            classes = (1 - share) * causes.mean(x, source) + causes.mean(x, target)
            x = normalize(((1 - share) ** 2 * start + share * classes).clamp_min(0), dim=1)
        points.append(x)
    return torch.stack(points, 1)


def ascent(
    causes: Causes, x: Tensor, target: Tensor, shares: Sequence[float], *, reach: float, steps: int = 40
) -> Tensor:
    """A path that maximises the posterior alone: it minimises log (1 - P_x(T)) within s * reach (L2) of the image.

    It is not restricted to regions of high density.

    Args: x (B, ...), pixels in [0, 1]; target (B,); reach, the largest distance of the last point.
    Returns: (B, shares, ...), pixels in [0, 1].
    Source: projected gradient steps as in Madry et al. 2018.
    """
    model, first = _AgainstTarget(causes, target), torch.zeros_like(target)
    return torch.stack([pgd(model, x, first, eps=share * reach, norm="2", steps=steps) for share in shares], 1)


def mixtures(causes: Causes, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Samples of given classes, as mixtures of prototypes.

    A neuron k of the class is drawn at random, and another one by its posterior within the class at w_k.  From a random
    point on the arc between their prototypes, one step leads to m_C.

    Args: classes (B,), each with at least two neurons.  Returns: (B, d), directions without negative pixels.
    """
    members = causes.members(classes)
    one = _draw(members.double(), generator)
    prototypes = normalize(causes.weight, dim=1)
    others = members.scatter(1, one.unsqueeze(1), False)
    log_joint = causes.log_joint(prototypes[one]).masked_fill(~others, -torch.inf)
    other = _draw(torch.softmax(log_joint, 1), generator)
    share = torch.rand(len(classes), generator=generator, device=generator.device).to(causes.weight)
    x = geodesic(prototypes[one], prototypes[other], share)
    return normalize(causes.mean(x, classes).clamp_min(0), dim=1)


def geodesic(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Points on the arcs between unit vectors: (sin((1-s) a) x + sin(s a) y) / sin a, a the angle between them.

    Args: one and other (B, d), unit rows that are not opposite; share (B,).  Returns: (B, d), unit rows.
    Source: Shoemake 1985.

    >>> geodesic(torch.eye(2)[:1], torch.eye(2)[1:], torch.tensor([0.5]))
    tensor([[0.7071, 0.7071]])
    """
    share = share.unsqueeze(1)
    angle = 2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1)).unsqueeze(1)
    # sin(s a) / sin(a) tends to s; normalising leaves only the direction.
    return normalize(
        (1 - share) * torch.sinc((1 - share) * angle / torch.pi) * one
        + share * torch.sinc(share * angle / torch.pi) * other,
        dim=1,
    )


def as_pixels(x: Tensor, brightest: Tensor) -> Tensor:
    """Directions (B, ..., d) without negative pixels as images whose largest pixel is `brightest` (B,)."""
    peak = x.amax(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return x / peak * brightest.view(-1, *[1] * (x.dim() - 1))


class _AgainstTarget(nn.Module):
    """Pixels (B, ...) -> logits (B, 2): all other classes, and the target class."""

    def __init__(self, causes: Causes, target: Tensor) -> None:
        super().__init__()
        self.causes, self.members = causes, causes.members(target)

    def forward(self, x: Tensor) -> Tensor:
        log_joint = self.causes.log_joint(normalize(x.flatten(1), dim=1))
        sides = (log_joint.masked_fill(side, -torch.inf) for side in (self.members, ~self.members))
        return torch.stack([side.logsumexp(1) for side in sides], 1)


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    """One index a row, drawn on the generator's device."""
    return torch.multinomial(weights.to(generator.device), 1, generator=generator)[:, 0].to(weights.device)
