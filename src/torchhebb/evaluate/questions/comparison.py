"""A run among published results of other bio-plausible algorithms on CIFAR-10, and what each of them needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.methods.literature import PEERS, QUALITIES, Peer
from torchhebb.runs.baselines import CONTENDERS, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

DATA = "cifar10"
OURS, KNOWN, GREY = "#D55E00", "#0072B2", "#505050"
# What a baseline of a run has: random weights and raw pixels do not learn below the readout.
_BASELINES: dict[str, tuple[bool | None, ...]] = {
    "random": (None, None, None, None),
    "raw": (None, None, None, None),
    "backpropagation": (False, False, False, False),
}


@dataclass(frozen=True)
class Comparison(Evaluator):
    """A run's test accuracy and that of its baselines, among published numbers, with four qualities each.

    The numbers of others and what they rest on are in `PEERS`; those quoted from memory are marked, and so is every
    quality that is our judgement.  Measures are the run's own, as its result holds them; the note `table` has all rows,
    the best first.

    Raises UserError for a run on other data than CIFAR-10.
    Source: SoftHebb-2023, comparison with other bio-plausible algorithms.
    """

    question: ClassVar[str] = "comparison"

    def run(self, run: Run) -> Iterator[Finding]:
        if run.recipe.data != DATA:
            raise UserError(f"the numbers of others are for {DATA}, and {run.recipe.name} is on {run.recipe.data}")
        own = [measure for measure in run.result.measures if measure.name.endswith("test_accuracy")]
        yield from own
        rows = sorted([*map(_peer, PEERS), *(_own(run, measure) for measure in own)], key=lambda row: -row["accuracy"])
        yield Note("qualities", list(QUALITIES))
        yield Note("table", rows)
        caption = (
            "Test accuracy on CIFAR-10 and four qualities (dot: has it; ring: has not; dash: does not arise; small: "
            "our judgement). Orange: this run. Full: published. Open: quoted from memory, not looked up."
        )
        yield Figure("table", caption, _figure(rows))


def _peer(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "accuracy": peer.accuracy,
        "source": peer.source,
        "measured": False,
        "verified": peer.verified,
        "qualities": list(peer.qualities),
        "judged": list(peer.judged),
    }


def _own(run: Run, measure: Measure) -> dict[str, Any]:
    """The row of one of the run's own measures; how its blocks learn decides on the qualities of its network."""
    head = measure.name.removesuffix("test_accuracy").rstrip("_")
    words = contender_label(run, "own") if head in ("", "online") else CONTENDERS.get(head, f"{head} pixels")
    layerwise = not all(block.is_local_to_synapses for block in run.recipe.architecture.blocks)
    return {
        "name": f"{words}, this run",
        "accuracy": round(measure.mean, 2),
        "source": f"{run.recipe.name}, n = {len(measure.values)}",
        "measured": True,
        "verified": True,
        "qualities": list(_BASELINES.get(head, (True, True, True, True))),
        # A local loss, or a whitening, takes all neurons or inputs of a block: local to the layer, not to one synapse.
        "judged": [1] if layerwise and head not in _BASELINES else [],
    }


def _figure(rows: Sequence[dict[str, Any]]) -> "Canvas":
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8.2, 0.27 * len(rows) + 1.3), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(2.2, 1))
    for place, row in enumerate(rows):
        colour = OURS if row["measured"] else KNOWN
        face = colour if row["verified"] else "white"
        left.plot([row["accuracy"]], [place], "o", color=colour, markerfacecolor=face, markersize=6)
        text = f"{row['accuracy']:g}" + ("" if row["verified"] else " ?")
        left.annotate(
            text, (row["accuracy"], place), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8
        )
        for column, has in enumerate(row["qualities"]):
            size = 4 if column in row["judged"] else 8
            mark, inside = ("_", GREY) if has is None else ("o", GREY if has else "white")
            right.plot([column], [place], mark, color=GREY, markerfacecolor=inside, markersize=size)
    left.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8.5)
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.margins(x=0.1)
    left.set_xlabel("test accuracy on CIFAR-10, %", fontsize=8.5)
    left.grid(alpha=0.25)
    right.set_xlim(-0.6, len(QUALITIES) - 0.4)
    right.set_xticks(range(len(QUALITIES)), QUALITIES, fontsize=8, rotation=35, ha="left", rotation_mode="anchor")
    right.xaxis.tick_top()
    for axes in (left, right):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return canvas
