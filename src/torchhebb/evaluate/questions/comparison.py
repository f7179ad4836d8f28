"""The accuracy of a run in a table of published results of other bio-plausible algorithms on CIFAR-10.

Not a `Study`: it computes nothing for a seed; its measures are those of the run's own result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.literature import draw_literature
from torchhebb.evaluate.methods.literature import PEERS, QUALITIES, Peer
from torchhebb.runs.baselines import COMPARED, baseline_label
from torchhebb.runs.run import Run
from torchhebb.train import Measure

DATA = "cifar10"
# The qualities of baselines: random weights and raw pixels do not learn below the readout.
_BASELINES: dict[str, tuple[bool | None, ...]] = {
    "random": (None, None, None, None),
    "raw": (None, None, None, None),
    "backpropagation": (False, False, False, False),
}


@dataclass(frozen=True)
class Comparison(Evaluator):
    """Test accuracy of a run and its baselines in a table of published results, with four qualities of each method.

    The published numbers and their sources are in `PEERS`; numbers quoted from memory and qualities that are our own
    judgement are marked.  The measures are those of the run's result; the note `table` has all rows by accuracy.

    Raises UserError for a run on other data than CIFAR-10.
    Source: SoftHebb-2023, comparison with other bio-plausible algorithms.

    Example:
        >>> Comparison().question
        'comparison'
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
        yield Figure("table", caption, draw_literature(rows, QUALITIES))


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
    """The row of one of the run's measures; the qualities of its network follow from how its blocks learn."""
    head = measure.name.removesuffix("test_accuracy").rstrip("_")
    words = baseline_label(run, "own") if head in ("", "online") else COMPARED.get(head, f"{head} pixels")
    layerwise = not all(block.is_local_to_synapses for block in run.recipe.architecture.blocks)
    return {
        "name": f"{words}, this run",
        "accuracy": round(measure.mean, 2),
        "source": f"{run.recipe.name}, n = {len(measure.values)}",
        "measured": True,
        "verified": True,
        "qualities": list(_BASELINES.get(head, (True, True, True, True))),
        # A local loss or a whitening uses all neurons or inputs of a block: it is local to a layer, not to a synapse.
        "judged": [1] if layerwise and head not in _BASELINES else [],
    }
