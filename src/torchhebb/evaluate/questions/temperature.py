"""How soft should the competition be? The layers trained again at one inverse temperature after another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.questions.convergence import read_out
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.functional import hard_wta, soft_wta
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Network
from torchhebb.rules import HardHebb, SoftHebb
from torchhebb.runs.networks import built, learn_run
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.device import autocast
from torchhebb.train.diagnostics import plastic_layers, r1_share
from torchhebb.train.features import batch_size_for
from torchhebb.train.recipe import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Piece = dict[str, float]
"""What one training at one inverse temperature gives, by quantity."""

QUANTITIES = {
    "linear_accuracy": "held-out accuracy, linear readout, %",
    "labels_accuracy": "held-out accuracy, neuron labels, %",
    "winners": "neurons that win, %",
    "posterior": "mean largest posterior",
    "r1": "neurons at radius 1, %",
}
LOSERS = {False: "hebbian", True: "anti_hebbian"}


@dataclass(frozen=True)
class Temperature(Evaluator):
    """Every plastic layer trained anew at one inverse temperature t after another, all layers alike.

    The rule becomes SoftHebb(t), all else stays as in the recipe; where the posterior is the block's output, its
    inverse temperature is scaled by the same factor as the rule's.  t is ln b for a base b; the limit of high t is
    the hard WTA, which stands beside the sweep with the recipe's output.  Everything is measured, and the best t is
    chosen, on held-out training images; the test images are not touched.

    Curves `<quantity> <losers>` against t, losers being hebbian or anti_hebbian:

        linear_accuracy, labels_accuracy    on the held-out images, in %
        <block>_winners                     neurons that win on some image (and position) learned from, in %
        <block>_posterior                   the largest posterior, averaged over those images (and positions)
        <block>_r1                          neurons at radius 1, in %

    Measures `<losers>_best_inverse_temperature`, of every seed by its linear accuracy; `<losers>_best_<quantity>` at
    the t that is best on average, which is noted as `chosen`; `hard_<quantity>`.
    Raises UserError for settings out of range, or a block without a rule.
    Source: SoftHebb-2022, the base of the softmax; SoftHebb-2023, temperature regimes.
    """

    question: ClassVar[str] = "temperature"

    inverse_temperatures: tuple[float, ...] = (1.0, 5.3, 6.9, 15.0, 30.0, 60.0, 110.0, 200.0, 400.0)
    """What to sweep, in rising order; 5.3 and 6.9 are the bases 200 and 1000."""
    anti_hebbian: tuple[bool, ...] = ()
    """Whether losers unlearn; both may be given.  An empty list is what the recipe's first block does."""
    hard: bool = True
    """Whether the hard WTA stands beside the sweep."""
    scale_output: bool = True
    """Whether the inverse temperature of a posterior that is a block's output follows the rule's."""
    passes: int = 1
    """Passes over the training images."""
    holdout: float = 0.1
    """Share of the training images that is held out."""
    readout_epochs: int | None = None
    """Epochs of the linear readout, which is the recipe's in all else; None is the recipe's as well."""
    images: int | None = None
    """How many images are learned from, drawn once from those not held out; None is all of them."""
    readout_images: int | None = None
    """How many of them readouts are fitted to, drawn once; None is all of them."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check(run)
        both = self.anti_hebbian or (_anti_hebbian(run.recipe.architecture),)
        panels: dict[str, dict[str, Curve]] = {}
        hard: list[Piece] = []
        chosen: dict[str, float] = {}
        measures: list[Measure] = []
        for anti_hebbian in both:
            losers = LOSERS[anti_hebbian]
            pieces = [
                [self._piece(run, seed, t, anti_hebbian) for t in self.inverse_temperatures] for seed in run.seeds
            ]
            accuracy = torch.tensor([[piece["linear_accuracy"] for piece in seed] for seed in pieces])
            best = int(accuracy.mean(0).argmax())
            chosen[losers] = self.inverse_temperatures[best]
            of_seed = tuple(self.inverse_temperatures[i] for i in accuracy.argmax(1).tolist())
            measures.append(Measure(f"{losers}_best_inverse_temperature", "", of_seed))
            for quantity in pieces[0][0]:
                lines = [[piece[quantity] for piece in seed] for seed in pieces]
                label = _label(quantity)
                curve = mean_curve(
                    f"{quantity} {losers}", "inverse temperature", label, self.inverse_temperatures, lines
                )
                panels.setdefault(quantity, {})[losers] = curve
                yield curve
                values = tuple(line[best] for line in lines)
                measures.append(Measure(f"{losers}_best_{quantity}", _unit(quantity), values))
        if self.hard:
            hard = [self._piece(run, seed, None, False) for seed in run.seeds]
            for quantity in hard[0]:
                measures.append(Measure(f"hard_{quantity}", _unit(quantity), tuple(piece[quantity] for piece in hard)))
        yield from measures
        yield Note("chosen", chosen)
        yield Note("held_out_images", len(run.data.holdout(self.holdout).test))
        yield Figure(
            "sweep", "Training at one inverse temperature after another; held-out images.", _figure(panels, hard)
        )

    def _check(self, run: Run) -> None:
        grid = self.inverse_temperatures
        if not grid or grid[0] <= 0 or any(low >= high for low, high in zip(grid, grid[1:], strict=False)):
            raise UserError(f"inverse_temperatures must be numbers that rise from above 0, got {grid}")
        if len({*self.anti_hebbian}) < len(self.anti_hebbian):
            raise UserError(f"anti_hebbian must be True, False or both, got {self.anti_hebbian}")
        for setting in ("passes", "readout_epochs", "images", "readout_images"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise UserError(f"{setting} must be at least 1, got {value}")
        at_temperature(run.recipe.architecture, None)
        run.data.holdout(self.holdout)

    def _piece(self, run: Run, seed: int, inverse_temperature: float | None, anti_hebbian: bool) -> Piece:
        settings = {name: getattr(self, name) for name in ("scale_output", "passes", "holdout", "readout_epochs")}
        # Bounds stand in the key only where they bind, so that pieces from before there were any still serve.
        settings |= {name: value for name in ("images", "readout_images") if (value := getattr(self, name)) is not None}
        return run.once(
            lambda: self._train(run, seed, inverse_temperature, anti_hebbian),
            question=self.question,
            seed=seed,
            inverse_temperature=inverse_temperature,
            anti_hebbian=anti_hebbian,
            precision=run.precision,
            **settings,
        )

    def _train(self, run: Run, seed: int, inverse_temperature: float | None, anti_hebbian: bool) -> Piece:
        data, readout = run.data.holdout(self.holdout, seed), run.recipe.readout
        architecture = at_temperature(
            run.recipe.architecture, inverse_temperature, anti_hebbian=anti_hebbian, scale_output=self.scale_output
        )
        images = subsample(data.train, self.images)
        network = learn_run(
            built(run, seed, architecture),
            run,
            seed,
            images=images,
            plan=replace(run.recipe.learning, epochs=self.passes),
            task=f"seed {seed}: {_words(inverse_temperature, anti_hebbian)}",
        )
        readout = readout if self.readout_epochs is None else shortened(readout, self.readout_epochs)
        fitted = subsample(data.train, self.readout_images)
        found = read_out(network, fitted, data.test, len(data.classes), readout, run=run, seed=seed)
        competing = _competition(network, images, inverse_temperature, run)
        return {f"{name}_accuracy": value for name, value in found.items()} | competing


def at_temperature(
    architecture: Architecture,
    inverse_temperature: float | None,
    *,
    anti_hebbian: bool = False,
    scale_output: bool = True,
) -> Architecture:
    """The architecture with every rule a SoftHebb of this inverse temperature, or HardHebb for None.

    With `scale_output`, the inverse temperature of a posterior that is a block's output is multiplied by the factor of
    a SoftHebb rule's.  Raises UserError for a block that learns without competition.

    >>> block = LinearBlock(10, SoftHebb(100.0), activation="soft_wta", output_inverse_temperature=50.0)
    >>> at_temperature(Architecture((1, 8, 8), (block,)), 20.0).blocks[0].output_inverse_temperature
    10.0
    """
    blocks = []
    for number, block in enumerate(architecture.blocks, 1):
        if not isinstance(block, ConvBlock | LinearBlock):
            raise UserError(f"block{number} learns by a local loss: there is no competition to set a temperature of")
        if inverse_temperature is None:
            blocks.append(replace(block, rule=HardHebb()))
            continue
        rule, output = SoftHebb(inverse_temperature, anti_hebbian), block.output_inverse_temperature
        if isinstance(block.rule, SoftHebb):
            rule = replace(rule, rectify=block.rule.rectify)
            output *= inverse_temperature / block.rule.inverse_temperature if scale_output else 1
        blocks.append(replace(block, rule=rule, output_inverse_temperature=output))
    return replace(architecture, blocks=tuple(blocks))


@torch.no_grad()
def _competition(network: Network, images: Images, inverse_temperature: float | None, run: Run) -> Piece:
    """For every block: the neurons that win on some image in %, the mean largest posterior, the R1 share in %."""
    batch_size, layers = batch_size_for(network.eval(), images, run.device), plastic_layers(network)
    won = {name: torch.zeros(len(layer.weight), dtype=torch.bool, device=run.device) for name, layer in layers.items()}
    largest = {name: torch.zeros((), dtype=torch.float64, device=run.device) for name in layers}

    def watch(name: str, layer: nn.Module, u: Tensor) -> None:
        bias, groups = getattr(layer, "bias", None), getattr(layer, "groups", 1)
        score = (u if bias is None else u + bias).float().unflatten(1, (groups, -1))  # a group competes by itself
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
    found: Piece = {}
    for name, layer in layers.items():
        block = name.removesuffix(".layer")
        found[f"{block}_winners"] = 100 * won[name].double().mean().item()
        found[f"{block}_posterior"] = largest[name].item() / len(images)
        found[f"{block}_r1"] = 100 * r1_share(layer).item()
    return found


def _anti_hebbian(architecture: Architecture) -> bool:
    """Whether losers unlearn in the first block."""
    return getattr(getattr(architecture.blocks[0], "rule", None), "anti_hebbian", False)


def _words(inverse_temperature: float | None, anti_hebbian: bool) -> str:
    losers = ", anti-Hebbian losers" if anti_hebbian else ""
    return "hard WTA" if inverse_temperature is None else f"inverse temperature {inverse_temperature:g}{losers}"


def _label(quantity: str) -> str:
    """The words of a quantity.

    >>> _label("block2_r1"), _label("linear_accuracy")
    ('block 2: neurons at radius 1, %', 'held-out accuracy, linear readout, %')
    """
    block, _, rest = quantity.partition("_")
    return f"block {block[5:]}: {QUANTITIES[rest]}" if block.startswith("block") else QUANTITIES[quantity]


def _unit(quantity: str) -> str:
    return "" if quantity.endswith("posterior") else "%"


def _figure(panels: Mapping[str, Mapping[str, Curve]], hard: Sequence[Piece]) -> "Canvas":
    """A panel a quantity, a line for what losers do, the hard WTA a level line; t on a logarithmic axis."""
    from matplotlib.figure import Figure as Canvas

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    canvas = Canvas(figsize=(3.4 * columns, 2.6 * rows + 0.4), layout="constrained")
    places = canvas.subplots(rows, columns, squeeze=False).flat
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    for axes, (quantity, curves) in zip(places, panels.items(), strict=False):
        for losers, curve in curves.items():
            axes.errorbar(
                curve.x,
                curve.y,
                curve.std,
                marker="o",
                markersize=3,
                capsize=2,
                label=losers.replace("_", "-") + " losers",
            )
        if hard:
            level = sum(piece[quantity] for piece in hard) / len(hard)
            axes.axhline(level, color="grey", linestyle="--", linewidth=1, label="hard WTA")
        axes.set(xscale="log", xlabel="inverse temperature")
        axes.set_title(_label(quantity), fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    handles, labels = places[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return canvas
