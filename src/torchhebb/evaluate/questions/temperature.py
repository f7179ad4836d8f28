"""Held-out accuracy and statistics of the competition against its inverse temperature."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from torchhebb.bounds import at_least, between, distinct, rising
from torchhebb.data import Batches, Images
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.radii import plastic_blocks
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.probe import read_out
from torchhebb.evaluate.statistics import percent
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, curve_over, values
from torchhebb.functional import hard_wta, soft_wta
from torchhebb.nn import Architecture, Block, Network
from torchhebb.rules import HardHebb, SoftHebb
from torchhebb.runs.networks import built, learn_run
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.device import autocast
from torchhebb.train.diagnostics import r1_share
from torchhebb.train.features import batch_size_for
from torchhebb.train.recipe import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

LOSERS = {False: "hebbian", True: "anti_hebbian"}


@dataclass(frozen=True)
class Regime:
    """A soft competition of one inverse temperature, or for None the hard one."""

    inverse_temperature: float | None
    anti_hebbian: bool = False

    @property
    def words(self) -> str:
        if self.inverse_temperature is None:
            return "hard WTA"
        return f"inverse temperature {self.inverse_temperature!r}{', anti-Hebbian losers' if self.anti_hebbian else ''}"


HARD = Regime(None)


@dataclass(frozen=True)
class Temperature(Study[Regime]):
    """Held-out accuracy and statistics of the competition against its inverse temperature t, the same for all layers.

    Every plastic layer is trained again by the rule SoftHebb(t); all other settings are the recipe's.  If a block
    outputs its posterior, the inverse temperature of this output is scaled by the same factor.  t is ln b for a base b.
    The hard WTA, the limit of high t, is trained too, with the recipe's output.  All measurements, and the choice of
    the best t, use held-out training images; test images are not used.

    Curves `<quantity> <losers>` against t, where losers are hebbian or anti_hebbian:

        linear_accuracy, labels_accuracy    on the held-out images, in %
        <block>_winners                     neurons that win at least once on the images learned from, in %
        <block>_posterior                   the largest posterior, averaged over these images (and positions)
        <block>_r1                          neurons at radius 1, in %

    Measures `<losers>_best_inverse_temperature`, the best t of every seed by its linear accuracy;
    `<losers>_best_<quantity>` at the t with the best mean, which the note `chosen` has; and `hard_<quantity>`.
    Raises UserError for settings out of range, or a block without a rule.
    Source: SoftHebb-2022, the base of the softmax; SoftHebb-2023, temperature regimes.

    Example:
        >>> Temperature(inverse_temperatures=(1.0, 30.0), hard=False).question
        'temperature'
    """

    question: ClassVar[str] = "temperature"
    quantities: ClassVar[dict[str, Quantity]] = {
        "linear_accuracy": Quantity("held-out accuracy, linear readout, %", "%"),
        "labels_accuracy": Quantity("held-out accuracy, neuron labels, %", "%"),
        "winners": Quantity("neurons that win, %", "%"),
        "posterior": Quantity("mean largest posterior"),
        "r1": Quantity("neurons at radius 1, %", "%"),
    }

    inverse_temperatures: tuple[float, ...] = field(
        default=(1.0, 5.3, 6.9, 15.0, 30.0, 60.0, 110.0, 200.0, 400.0), metadata=rising(above=0) | NOT_IN_CELLS
    )
    """Inverse temperatures to compare, in increasing order; 5.3 and 6.9 are the bases 200 and 1000."""
    anti_hebbian: tuple[bool, ...] = field(default=(), metadata=distinct(empty=True) | NOT_IN_CELLS)
    """Whether losers learn by the anti-Hebbian rule; both may be given.  An empty list takes the first block's."""
    hard: bool = field(default=True, metadata=NOT_IN_CELLS)
    """Whether to train the hard WTA too."""
    scale_output: bool = True
    """Whether the inverse temperature of a posterior output is scaled with the rule's."""
    passes: int = field(default=1, metadata=at_least(1))
    """Passes over the training images."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the training images that is held out."""
    readout_epochs: int | None = field(default=None, metadata=at_least(1))
    """Epochs of the linear readout; its other settings are the recipe's.  None takes the recipe's."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of images that are learned from, drawn once from those not held out; None takes all."""
    readout_images: int | None = field(default=None, metadata=at_least(1))
    """Number of images that readouts are fitted to, drawn once from those not held out; None takes all."""

    def check(self, run: Run) -> None:
        at_temperature(run.recipe.architecture, None)
        run.data.holdout(self.holdout)

    def variants(self, run: Run) -> dict[str, Regime]:
        soft = [Regime(t, losers) for losers in self._losers(run) for t in self.inverse_temperatures]
        return {regime.words: regime for regime in [*soft, *([HARD] if self.hard else [])]}

    def cell(self, run: Run, variant: Regime, seed: int) -> Cell:
        data = run.data.holdout(self.holdout, seed)
        architecture = at_temperature(
            run.recipe.architecture,
            variant.inverse_temperature,
            anti_hebbian=variant.anti_hebbian,
            scale_output=self.scale_output,
        )
        images = subsample(data.train, self.images)
        network = learn_run(
            built(run, seed, architecture),
            run,
            seed,
            images=images,
            plan=shortened(run.recipe.learning, self.passes),
            task=f"seed {seed}: {variant.words}",
        )
        fitted, readout = subsample(data.train, self.readout_images), shortened(run.recipe.readout, self.readout_epochs)
        found = read_out(network, fitted, data.test, len(data.classes), readout, run=run, seed=seed)
        competing = competition(network, images, variant.inverse_temperature, run)
        return {f"{name}_accuracy": value for name, value in found.items()} | competing

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        temperatures = self.inverse_temperatures
        panels: dict[str, dict[str, Curve]] = {}
        chosen: dict[str, float] = {}
        measures: list[Measure] = []
        for anti_hebbian in self._losers(run):
            losers = LOSERS[anti_hebbian]
            swept = [cells[Regime(t, anti_hebbian).words] for t in temperatures]
            accuracy = torch.tensor([values(of_seeds, "linear_accuracy") for of_seeds in swept])
            best = int(accuracy.mean(1).argmax())
            chosen[losers] = temperatures[best]
            of_seeds = tuple(temperatures[i] for i in accuracy.argmax(0).tolist())
            measures.append(Measure(f"{losers}_best_inverse_temperature", "", of_seeds))
            for quantity in swept[0][0]:
                name, label = f"{quantity} {losers}", self.quantity(quantity).label
                curve = curve_over(name, "inverse temperature", label, temperatures, swept, quantity)
                panels.setdefault(quantity, {})[f"{losers.replace('_', '-')} losers"] = curve
                yield curve
                at_best = values(swept[best], quantity)
                measures.append(self.measure(run, f"{losers}_best_{quantity}", at_best, quantity))
        hard = cells[HARD.words] if self.hard else []
        yield from measures
        yield from self.measures(run, {"hard": hard} if hard else {})
        yield Note("chosen", chosen)
        yield Note("held_out_images", len(run.data.holdout(self.holdout).test))
        caption = "Held-out accuracy and statistics of the competition against its inverse temperature."
        yield Figure("sweep", caption, self._figure(panels, hard))

    def _losers(self, run: Run) -> tuple[bool, ...]:
        """The kinds of losers: those of the settings, or that of the recipe's first block."""
        first = run.recipe.architecture.blocks[0]
        return self.anti_hebbian or (getattr(first.rule, "anti_hebbian", False),)

    def _figure(self, panels: Mapping[str, Mapping[str, Curve]], hard: Sequence[Cell]) -> "Canvas":
        """One panel per quantity, one line per kind of losers, the hard WTA as a level; t on a logarithmic axis."""
        return draw_panels(
            [
                Panel(
                    self.quantity(quantity).label,
                    curves,
                    {"hard WTA": fmean(values(hard, quantity))} if hard else {},
                    x_scale="log",
                )
                for quantity, curves in panels.items()
            ]
        )


def at_temperature(
    architecture: Architecture,
    inverse_temperature: float | None,
    *,
    anti_hebbian: bool = False,
    scale_output: bool = True,
) -> Architecture:
    """The architecture with every rule a SoftHebb of this inverse temperature, or HardHebb for None.

    With `scale_output`, the inverse temperature of a posterior output is scaled by the same factor as the rule's.
    Raises UserError for a block that learns without competition.

    >>> from torchhebb.nn import LinearBlock
    >>> block = LinearBlock(10, SoftHebb(100.0), activation="soft_wta", output_inverse_temperature=50.0)
    >>> at_temperature(Architecture((1, 8, 8), (block,)), 20.0).blocks[0].output_inverse_temperature
    10.0
    """

    def change(block: Block) -> Block:
        if inverse_temperature is None or not isinstance(block.rule, SoftHebb):
            rule = HardHebb() if inverse_temperature is None else SoftHebb(inverse_temperature, anti_hebbian)
            return block.with_rule(rule)
        changed = block.with_rule(SoftHebb(inverse_temperature, anti_hebbian, block.rule.rectify))
        if not scale_output or not block.has_setting("output_inverse_temperature"):
            return changed
        factor = inverse_temperature / block.rule.inverse_temperature
        output = block.setting("output_inverse_temperature")
        return changed.with_settings(output_inverse_temperature=output * factor)

    return architecture.with_blocks(change)


@torch.no_grad()
def competition(network: Network, images: Images, inverse_temperature: float | None, run: Run) -> Cell:
    """For every block: the fraction of neurons that win in %, the mean largest posterior, the R1 share in %."""
    batch_size, layers = batch_size_for(network.eval(), images, run.device), plastic_blocks(network)
    won = {name: torch.zeros(len(layer.weight), dtype=torch.bool, device=run.device) for name, layer in layers.items()}
    largest = {name: torch.zeros((), dtype=torch.float64, device=run.device) for name in layers}

    def watch(name: str, layer: nn.Module, u: Tensor) -> None:
        bias, groups = getattr(layer, "bias", None), getattr(layer, "groups", 1)
        score = (u if bias is None else u + bias).float().unflatten(1, (groups, -1))  # by group
        y = hard_wta(score, dim=2) if inverse_temperature is None else soft_wta(score, inverse_temperature, dim=2)
        first = torch.arange(groups, device=u.device) * score.shape[2]
        winners = score.argmax(2) + first.view(-1, *[1] * (score.dim() - 3))
        won[name][winners.unique()] = True
        largest[name] += y.amax(2).double().mean() * len(u)

    handles = [
        layer.register_forward_hook(lambda _m, _x, u, name=name, layer=layer: watch(name, layer, u))
        for name, layer in layers.items()
    ]
    run.progress.start("competition", len(images), "images")
    for x in Batches(images.images, batch_size, shuffle=False, device=run.device).epoch(0):
        with autocast(run.precision, run.device):
            network(x)
        run.progress.advance(len(x))
    run.progress.finish()
    for handle in handles:
        handle.remove()
    found: Cell = {}
    for block, layer in layers.items():
        found[f"{block}_winners"] = percent(won[block])
        found[f"{block}_posterior"] = largest[block].item() / len(images)
        found[f"{block}_r1"] = 100 * r1_share(layer).item()
    return found
