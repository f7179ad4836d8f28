"""Variants of the recipes of SoftHebb-2023 on the same blocks, each as a change of the recipe.

The docstring of a variant, preceded by the name of the data, becomes that of the recipe.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from torchhebb.nn import Block
from torchhebb.recipes.softhebb2023_published import BY_DEPTH
from torchhebb.rules import BCM, Foldiak, HardHebb, OjaSubspace, RankedHebb, Rule, Sanger, SoftHebb
from torchhebb.train import Recipe


class Variant(Protocol):
    """A change of a recipe, and its words."""

    __doc__: str | None

    def __call__(self, recipe: Recipe, /) -> Recipe: ...


def hard(recipe: Recipe) -> Recipe:
    """Hard WTA on the same blocks, at the rates of the paper's own hard networks.

    At depth 3 the paper's also have other triangles, pools and padding.
    """
    deep = len(recipe.architecture.blocks) > 1

    def block(block: Block) -> Block:
        return block.with_settings(rule=HardHebb(), lr=0.05 if deep else 0.08, lr_power=0.75 if deep else 0.5)

    printed = BY_DEPTH[recipe.data][len(recipe.architecture.blocks)]
    return _other_blocks(recipe, "hard", block, printed.hard)


def ranked(recipe: Recipe) -> Recipe:
    """Krotov and Hopfield's rule on the same blocks: the second unlearns, by 0.1.

    Rates are SoftHebb's; nothing was published.
    """
    return _other_blocks(recipe, "ranked", lambda block: block.with_rule(RankedHebb(delta=0.1)))


def hebbian(recipe: Recipe) -> Recipe:
    """SoftHebb whose losers learn as the winner does: no anti-Hebbian sign; nothing was published."""
    return _other_blocks(recipe, "hebbian", lambda block: block.with_rule(_without_losers(block.rule)))


def sanger(recipe: Recipe) -> Recipe:
    """Sanger's rule, also called HPCA, on the same blocks: no competition, principal components in order.

    Rates are SoftHebb's; nothing was published.
    """
    return _other_blocks(recipe, "sanger", lambda block: block.with_rule(Sanger()))


def subspace(recipe: Recipe) -> Recipe:
    """Oja's subspace rule on the same blocks: no competition, a basis of the principal components.

    Rates are SoftHebb's; nothing was published.
    """
    return _other_blocks(recipe, "subspace", lambda block: block.with_rule(OjaSubspace()))


def foldiak(recipe: Recipe) -> Recipe:
    """Foldiak's rule on the same blocks: Oja's on activities decorrelated by lateral connections, from radius 1.

    At a constant rate, slow against the lateral connections: at SoftHebb's rates these grow until the activities have
    no stable fixed point, and if they are slower, all neurons learn the first component.  Nothing was published.
    """

    def block(block: Block) -> Block:
        return block.with_settings(rule=Foldiak(1e-3), init_radius=1.0, lr=1e-3, lr_power=0.0)

    return _other_blocks(recipe, "foldiak", block)


def bcm(recipe: Recipe) -> Recipe:
    """The rule of Bienenstock, Cooper and Munro on the same blocks, at a constant rate from radius 1.

    Nothing was published.
    """

    def block(block: Block) -> Block:
        return block.with_settings(rule=BCM(), init_radius=1.0, lr_power=0.0)

    return _other_blocks(recipe, "bcm", block)


def random(recipe: Recipe) -> Recipe:
    """Random weights with the initial statistics of batch norm, as in the released code.

    Only the readout is trained; the baseline `random` also calibrates the batch norms.  Both are compared with the
    paper's number, because the paper does not say which it is.
    """
    printed = recipe.published_beside.random
    name = f"{recipe.name}-random"
    return replace(recipe, name=name, learning=replace(recipe.learning, epochs=0), published=printed)


def _other_blocks(
    recipe: Recipe, name: str, change: Callable[[Block], Block], published: float | None = None
) -> Recipe:
    """The recipe with every block changed, without baselines, which belong to the plain recipe."""
    return replace(
        recipe,
        name=f"{recipe.name}-{name}",
        architecture=recipe.architecture.with_blocks(change),
        baselines=(),
        published=published,
    )


def _without_losers(rule: Rule | None) -> Rule:
    assert isinstance(rule, SoftHebb)
    return replace(rule, anti_hebbian=False)
