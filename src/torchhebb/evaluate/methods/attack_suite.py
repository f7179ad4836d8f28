"""Adversarial attacks on a classifier: by gradients, by gradients of a softened copy, and by random search."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from torchhebb.evaluate.methods.square import square
from torchhebb.nn import SoftWTA
from torchhebb.train.perturb import Norm, fgsm, fooled, pgd

AttackName = Literal["fgsm", "pgd", "margin", "softened", "square"]
ATTACKS: tuple[AttackName, ...] = get_args(AttackName)


@dataclass(frozen=True)
class Suite:
    """The attacks to run and their settings; a seed determines all random draws."""

    attacks: Sequence[AttackName]
    steps: int
    restarts: int
    queries: int
    softness: Sequence[float]

    def applicable(self, model: nn.Module) -> list[AttackName]:
        """The attacks that apply to a model: the softened attack needs a soft WTA output."""
        return [attack for attack in self.attacks if attack != "softened" or has_soft_output(model)]

    def move(
        self,
        attack: AttackName,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        eps: float,
        seed: int,
        chunk: int,
    ) -> Tensor:
        """The images (B, C, H, W) in [0, 1] after one attack, computed `chunk` at a time."""
        if attack == "square":
            return square(model, x, labels, eps=eps, norm=norm, queries=self.queries, seed=seed, batch_size=chunk)
        climb = partial(pgd, model, eps=eps, norm=norm, steps=self.steps, restarts=self.restarts)
        generator = torch.Generator().manual_seed(seed)
        moved = []
        for part, truth in zip(x.split(chunk), labels.split(chunk), strict=True):
            match attack:
                case "fgsm":
                    found = fgsm(model, part, truth, eps=eps, norm=norm)
                case "softened":
                    found = part
                    for share in self.softness:
                        other = climb(part, truth, generator=generator, surrogate=soften(model, share))
                        found = torch.where(per_image(fooled(model, found, truth)), found, other)
                case "margin":
                    found = climb(part, truth, generator=generator, loss="margin")
                case _:
                    found = climb(part, truth, generator=generator, loss="cross_entropy")
            moved.append(found)
        return torch.cat(moved)

    def strongest(self, model: nn.Module, x: Tensor, labels: Tensor, *, norm: Norm, eps: float, seed: int) -> Tensor:
        """Each image after the first gradient attack that the model misclassifies, or else after the last attack."""
        moved = x
        for attack in self.applicable(model):
            if attack != "square":
                other = self.move(attack, model, x, labels, norm=norm, eps=eps, seed=seed, chunk=len(x))
                moved = torch.where(per_image(fooled(model, moved, labels)), moved, other)
        return moved


def has_soft_output(model: nn.Module) -> bool:
    """Whether the model has a soft WTA output."""
    return any(isinstance(module, SoftWTA) for module in model.modules())


def soften(model: nn.Module, share: float) -> nn.Module:
    """A copy of the model in which the inverse temperature of every soft WTA output is multiplied by `share`."""
    softer = copy.deepcopy(model)
    for module in softer.modules():
        if isinstance(module, SoftWTA):
            module.inverse_temperature *= share
    return softer


def per_image(chosen: Tensor) -> Tensor:
    """A mask (B,) in a shape that broadcasts over images (B, C, H, W)."""
    return chosen.view(-1, 1, 1, 1)


@torch.no_grad()
def answers_of(model: nn.Module, x: Tensor, chunk: int) -> Tensor:
    """The classes (B,) that a model predicts for images, computed `chunk` at a time."""
    parts = [model(part).argmax(1) for part in x.split(chunk)] if len(x) else []
    return torch.cat([torch.empty(0, dtype=torch.long, device=x.device), *parts])
