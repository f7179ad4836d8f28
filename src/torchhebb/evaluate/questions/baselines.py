"""Test accuracy of the run's network compared with networks of the same size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torchhebb.bounds import distinct
from torchhebb.config import to_json
from torchhebb.evaluate.evaluator import Finding, Note
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.runs.baselines import COMPARED, GRADIENTS, BaselineName, accuracy_of, baseline
from torchhebb.runs.run import Run


@dataclass(frozen=True)
class Baselines(Study[BaselineName]):
    """Test accuracy of the run's network and of networks of the same size that learn otherwise.

    A baseline that was trained with the run, or for another question, is reused; others are trained now and kept with
    the run.  So a run that was trained without a baseline needs no second training to be compared with it.

    Backpropagation learns by the plan in the run's config.json, `supervised`, which the note of that name repeats.

    Measures `test_accuracy` of the run's own network and `<baseline>_test_accuracy` of the others in %, one value per
    seed, with the 95 % Wilson interval over test images.
    Raises UserError for a baseline for which the blocks have no form.

    Example:
        >>> Baselines(baselines=("own", "backpropagation")).question
        'baselines'
    """

    question: ClassVar[str] = "baselines"
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {"accuracy": Quantity("test accuracy, %", "%", count_test_images)}

    baselines: tuple[BaselineName, ...] = field(
        default=("own", "random", "backpropagation"), metadata=distinct() | NOT_IN_CELLS
    )
    """Networks to compare."""

    def variants(self, run: Run) -> dict[str, BaselineName]:
        return {"" if name == "own" else f"{name}_": name for name in self.baselines}

    def cell(self, run: Run, variant: BaselineName, seed: int) -> Cell:
        if variant == "own":
            return {"accuracy": run.result.measure("test_accuracy").values[list(run.seeds).index(seed)]}
        network, task = baseline(run, seed, variant), f"seed {seed}: {COMPARED[variant]}"
        return {"accuracy": accuracy_of(run, variant, network, task)}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        for prefix, of_seeds in cells.items():
            name = f"{prefix}test_accuracy"
            measure = self.measure(run, name, values(of_seeds, "accuracy"), "accuracy")
            yield replace(measure, published=run.recipe.published_for(name))
        yield Note("test_images", count_test_images(run))
        if any(name in GRADIENTS for name in self.baselines):
            yield Note("supervised", to_json(run.recipe.supervised))
        yield Note("training", {"command": run.result.command, "seconds": round(run.result.seconds, 1)})
