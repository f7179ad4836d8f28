"""The shape of a question: every variant is computed for every seed, and measures and curves are made from the cells.

How to write a question
-----------------------
Add one file to `questions/`, named like the question, with one frozen dataclass that derives from `Study`:

1. **Settings** are fields, each with a docstring.  Bounds are metadata (`torchhebb.bounds`); `check(run)` refuses
   settings that do not fit the run, such as more images than there are.
2. **`variants(run)`** returns what is compared: a mapping of names to what `cell` needs, as JSON can hold it.
3. **`cell(run, variant, seed)`** does the work and returns numbers (or lists of numbers) by quantity.  The cell is kept
   in the run folder, under a key made of the question, its version, the variant, the seed and all settings, so that an
   interrupted question continues with the next cell.  A setting on which no cell depends, such as the list of the
   variants, has `metadata=NOT_IN_CELLS`, combined with bounds by `|`.
4. **`quantities`** is a table of the quantities that become measures: the label of each, its unit and, for an accuracy,
   the number of samples behind its 95 % interval.  `block2_radius` is found under `radius`.
5. **`findings(run, cells)`** makes measures, curves, notes and figures from the cells.  By default it is `measures`,
   one `<variant>_<quantity>` for each number; `measure`, `values`, `curve_over` and `statistics.mean_curve` make
   others, and `figures/` draws.

    @dataclass(frozen=True)
    class Widths(Study[int]):
        '''Share of the neurons that win on at least one test image, at several widths.'''

        question: ClassVar[str] = "widths"
        quantities: ClassVar[dict[str, Quantity]] = {"winners": Quantity("neurons that win, %", "%")}

        widths: tuple[int, ...] = field(default=(10, 20), metadata=rising(above=0) | NOT_IN_CELLS)
        '''Neurons of the first block.'''

        def variants(self, run: Run) -> dict[str, int]:
            return {f"{width}_neurons": width for width in self.widths}

        def cell(self, run: Run, variant: int, seed: int) -> Cell:
            ...
            return {"winners": 100 * share}

Examples: `parts` needs little more than the defaults, `accuracy` keeps no cells, `sweep` makes curves against a
setting, and the cells of `radius` hold whole curves.  A question of another shape derives from `Evaluator` and
implements `run(run)`; `keep` keeps parts of it in the same way as cells.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from torchhebb.config import to_json
from torchhebb.evaluate.evaluator import NOT_IN_CELLS as NOT_IN_CELLS
from torchhebb.evaluate.evaluator import Evaluator, Finding
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.wilson import wilson

Variant = TypeVar("Variant")

Cell = dict[str, Any]
"""The numbers of one variant and seed by quantity, as JSON can hold them."""


def count_test_images(run: Run) -> int:
    """The number of test images of a run.

    >>> from types import SimpleNamespace
    >>> from torchhebb.data import load_data
    >>> count_test_images(SimpleNamespace(data=load_data("digits")))  # any run on the digits
    449
    """
    return len(run.data.test)


@dataclass(frozen=True)
class Quantity:
    """A number of a cell: its label in figures, its unit, and the number of samples behind its interval.

    >>> Quantity("accuracy, %", "%", samples=count_test_images).unit
    '%'
    """

    label: str
    unit: str = ""
    samples: Callable[[Run], int] | None = None


class Study(Evaluator, Generic[Variant]):
    """A question about variants of a run; see the module's docstring.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Neurons(Study[int]):
    ...     '''How many neurons each block has.'''
    ...     question: ClassVar[str] = "neurons"
    ...     quantities: ClassVar[dict[str, Quantity]] = {"neurons": Quantity("neurons")}
    ...     def variants(self, run):
    ...         return {f"block{i}": i for i in range(1, len(run.recipe.architecture.blocks) + 1)}
    ...     def cell(self, run, variant, seed):
    ...         return {"neurons": run.recipe.architecture.blocks[variant - 1].width}
    >>> Neurons().quantity("block2_neurons").label
    'block 2: neurons'
    """

    quantities: ClassVar[Mapping[str, Quantity]]
    keeps_cells: ClassVar[bool] = True
    """Whether to keep cells in the run folder; not if they are fast, measure times, or keep parts of their own."""

    @abstractmethod
    def variants(self, run: Run) -> Mapping[str, Variant]:
        """What is compared, by name."""

    @abstractmethod
    def cell(self, run: Run, variant: Variant, seed: int) -> Cell:
        """The numbers of one variant and seed."""

    def check(self, run: Run) -> None:
        """Raise UserError for settings that do not fit the run."""

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        """Measures, curves, notes and figures of the cells of each variant, one a seed."""
        yield from self.measures(run, cells)

    def run(self, run: Run) -> Iterator[Finding]:
        self.check(run)
        yield from self.findings(run, self.cells(run))

    def cells(self, run: Run) -> dict[str, list[Cell]]:
        """The cells of every variant, one a seed; all variants of a seed are computed before the next seed."""
        variants = self.variants(run)
        rows = [[self.kept_cell(run, variant, seed) for variant in variants.values()] for seed in run.seeds]
        return {name: list(column) for name, column in zip(variants, zip(*rows, strict=True), strict=True)}

    def kept_cell(self, run: Run, variant: Variant, seed: int) -> Cell:
        """The cell of a variant and seed, read from the run folder if it is kept there."""
        work = partial(self.cell, run, variant, seed)
        return self.keep(run, work, variant=to_json(variant), seed=seed) if self.keeps_cells else work()

    def measures(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Measure]:
        """`<variant>_<quantity>` for all quantities of the table in the cells; `<quantity>` if the name is ""."""
        for name, of_seeds in cells.items():
            for quantity in of_seeds[0]:
                if self._row(quantity) is not None:
                    full = f"{name}_{quantity}" if name else quantity
                    yield self.measure(run, full, values(of_seeds, quantity), quantity)

    def quantity(self, name: str) -> Quantity:
        """A row of the table; `block2_radius` is that of `radius`, with a label that begins with "block 2: "."""
        row = self._row(name)
        if row is None:
            raise KeyError(name)
        stage = name.removesuffix(row).replace("block", "block ").strip("_").replace("_", ", ")
        whole = self.quantities[row]
        return replace(whole, label=f"{stage}: {whole.label}") if stage else whole

    def measure(self, run: Run, name: str, numbers: Sequence[float], quantity: str) -> Measure:
        """A measure with one value per seed, and the unit and interval of its quantity."""
        found = self.quantity(quantity)
        interval = None if found.samples is None else wilson(numbers, found.samples(run))
        return Measure(name, found.unit, tuple(numbers), None, interval)

    def _row(self, name: str) -> str | None:
        """The longest name in the table with which the name of a quantity ends."""
        return max((row for row in self.quantities if f"_{name}".endswith(f"_{row}")), key=len, default=None)


def values(cells: Sequence[Cell], quantity: str) -> tuple[Any, ...]:
    """The values of one quantity in several cells.

    >>> values([{"accuracy": 91.0}, {"accuracy": 93.0}], "accuracy")
    (91.0, 93.0)
    """
    return tuple(cell[quantity] for cell in cells)


def curve_over(
    name: str, x_label: str, y_label: str, x: Sequence[float], cells: Sequence[Sequence[Cell]], quantity: str
) -> Curve:
    """The mean over seeds of a quantity against x; `cells` has the cells of each x, one per seed.

    >>> curve_over("a", "bits", "%", [4, 8], [[{"a": 1.0}, {"a": 3.0}], [{"a": 5.0}, {"a": 5.0}]], "a").y
    (2.0, 5.0)
    """
    lines = zip(*(values(of_seeds, quantity) for of_seeds in cells), strict=True)
    return mean_curve(name, x_label, y_label, x, list(lines))
