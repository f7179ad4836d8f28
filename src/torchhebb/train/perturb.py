"""Gradient attacks: maximise a loss of the network within a small ball around each image.

| symbol | meaning |
|---|---|
| x, c | a clean image, pixels in [0, 1], and its true class |
| z(x) | the logits |
| eps, p | radius and norm ("inf" or "2") of the ball around x, all pixels of an image together |
| L | the maximised loss: cross-entropy -log softmax(z)_c, or margin max_{j != c} z_j - z_c, positive once fooled |
| g | gradient of L to the pixels |
| d(g) | the direction in which L rises fastest at unit length: sign(g) for inf, g / ||g||_2 for 2 |
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["inf", "2"]
Loss = Literal["cross_entropy", "margin"]


def fgsm(model: nn.Module, x: Tensor, labels: Tensor, *, eps: float, norm: Norm = "inf") -> Tensor:
    """The fast gradient (sign) method, a single step to the surface of the ball: clip(x + eps d(g), 0, 1).

    Args and errors as for `pgd`.  Returns: adversarial images, shaped as x.
    Source: Goodfellow, Shlens and Szegedy 2015; with the L2 norm Miyato et al. 2017.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> x = torch.full((1, 1, 2, 2), 0.5)
    >>> (fgsm(model, x, torch.tensor([0]), eps=0.25) - x).abs().flatten()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return pgd(model, x, labels, eps=eps, norm=norm, steps=1, step_size=eps)


def pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: Norm = "inf",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    generator: torch.Generator | None = None,
    loss: Loss = "cross_entropy",
    surrogate: nn.Module | None = None,
) -> Tensor:
    """Projected gradient ascent: x' <- project(clip(x' + step_size d(g(x')), 0, 1)), onto the eps-ball around x.

    It starts at x; with a generator, every restart starts at a point drawn uniformly from the ball. Of the restarts
    each image keeps one that fools the model, or otherwise the one with the largest loss. The model is attacked in eval
    mode and returned to its previous mode; no .grad is changed.

    Args: model, pixels -> logits; x (B, ...) in [0, 1]; labels (B,); step_size, by default 2.5 eps / steps;
    surrogate, another model to take the gradients through, while `model` judges the restarts.
    Returns: adversarial images, shaped as x, in [0, 1].
    Raises ValueError for a number out of range, or restarts without a generator.
    Source: Madry et al. 2018; the margin as loss: Carlini and Wagner 2017.
    """
    if norm not in ("inf", "2"):
        raise ValueError(f"norm must be 'inf' or '2', got {norm!r}")
    if loss not in ("cross_entropy", "margin"):
        raise ValueError(f"loss must be 'cross_entropy' or 'margin', got {loss!r}")
    if eps < 0 or steps < 1 or restarts < 1:
        raise ValueError(f"eps must be at least 0, steps and restarts at least 1, got {eps}, {steps}, {restarts}")
    if restarts > 1 and generator is None:
        raise ValueError(f"restarts must be 1 without a generator, got {restarts}")
    step_size = 2.5 * eps / steps if step_size is None else step_size
    x = x.detach()
    surrogate = model if surrogate is None else surrogate
    with _evaluating(model), _evaluating(surrogate):
        best: Tensor | None = None
        for _ in range(restarts):
            found = x if generator is None else _project(x + _draw(x, eps, norm, generator), x, eps, norm)
            for _ in range(steps):
                ascent = _direction(_gradient(surrogate, found, labels, loss), norm)
                found = _project(found + step_size * ascent, x, eps, norm)
            best = found if best is None else _better(model, found, best, labels, loss)
        assert best is not None
        return best


def fooled(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Which of the images the model answers wrongly, (B,) bool."""
    with torch.no_grad():
        return model(x).argmax(1) != labels


def losses(logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """The loss that an attack maximises, (B,): the cross-entropy or the margin of every image.

    >>> losses(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([0]), "margin")
    tensor([2.])
    """
    if loss == "cross_entropy":
        return F.cross_entropy(logits, labels, reduction="none")
    index = labels.unsqueeze(1)
    others = logits.scatter(1, index, -torch.inf).amax(1)
    return others - logits.gather(1, index).squeeze(1)


def _gradient(model: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        # The sum, so that an image's gradient does not depend on its batch.
        return torch.autograd.grad(losses(model(x), labels, loss).sum(), x)[0]


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    if norm == "inf":
        return gradient.sign()
    tiny = torch.finfo(gradient.dtype).tiny
    # The largest entry first: the square of a masked gradient's tiny entries would vanish.
    gradient = gradient / _per_image(gradient.abs().flatten(1).amax(1), gradient).clamp_min(tiny)
    return gradient / _length(gradient).clamp_min(tiny)


def _project(moved: Tensor, x: Tensor, eps: float, norm: Norm) -> Tensor:
    """The nearest point of the box [0, 1], drawn towards x into the ball."""
    change = moved.clamp(0, 1) - x
    if norm == "inf":
        change = change.clamp(-eps, eps)
    else:
        change = change * (eps / _length(change).clamp_min(torch.finfo(x.dtype).tiny)).clamp_max(1)
    return (x + change).clamp(0, 1)


def _draw(x: Tensor, eps: float, norm: Norm, generator: torch.Generator) -> Tensor:
    """A point of the ball around 0 for every image, drawn on the generator's device."""
    if norm == "inf":
        unit = torch.rand(x.shape, generator=generator, device=generator.device, dtype=x.dtype) * 2 - 1
    else:
        normal = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        radius = torch.rand(len(x), generator=generator, device=generator.device, dtype=x.dtype)
        radius = radius ** (1 / x[0].numel())  # uniform in volume
        unit = normal / _length(normal) * _per_image(radius, x)
    return eps * unit.to(x.device)


@torch.no_grad()
def _better(model: nn.Module, one: Tensor, other: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Per image: the one that fools the model, otherwise (or if both do) the one with the larger loss."""
    logits, others = model(one), model(other)
    fools, others_fool = logits.argmax(1) != labels, others.argmax(1) != labels
    higher = losses(logits, labels, loss) > losses(others, labels, loss)
    return torch.where(_per_image((fools & ~others_fool) | ((fools == others_fool) & higher), one), one, other)


def _length(x: Tensor) -> Tensor:
    return _per_image(x.flatten(1).norm(dim=1), x)


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 1))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
