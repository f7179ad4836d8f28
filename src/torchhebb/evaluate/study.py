"""The one shape of a question: every variant is computed for every seed, and measures and curves are made of that.

How to write a question
-----------------------
One file in `questions/`, named like the question, with one frozen dataclass that derives from `Study`:

1. **Settings** are fields with a docstring each.  Bounds are metadata (`torchhebb.bounds`); settings that do not fit
   the run, such as more images than there are, are refused in `check(run)`.
2. **`variants(run)`** names what is compared: a mapping of names to what `cell` needs of each, as JSON can hold it.
3. **`cell(run, variant, seed)`** does the work and returns numbers (or lists of them) by quantity.  Its value is kept
   in the run folder, under a key made of the question, the variant, the seed and all settings, so that a question that
   was stopped goes on where it was.  A setting on which no cell depends, such as the list of the variants, says so by
   `metadata=NOT_IN_CELLS`, combined with bounds by `|`.
4. **`quantities`** is a table of what becomes a measure: the words of each quantity, its unit, and the samples behind
   its 95 % interval, if it is an accuracy over so many samples.  `block2_radius` finds `radius` there.
5. **`findings(run, cells)`** turns cells into measures, curves, notes and figures.  By default it is `measures`, one
   `<variant>_<quantity>` for each number; `measure`, `values` and `statistics.mean_curve` make others, and `figures/`
   draws.

    @dataclass(frozen=True)
    class Widths(Study[int]):
        '''How many neurons win on some test image, at several widths.'''

        question: ClassVar[str] = "widths"
        quantities: ClassVar[dict[str, Quantity]] = {"winners": Quantity("neurons that win, %", "%")}

        widths: tuple[int, ...] = field(default=(10, 20), metadata=rising(above=0) | NOT_IN_CELLS)
        '''Neurons of the first block.'''

        def variants(self, run: Run) -> dict[str, int]:
            return {f"{width}_neurons": width for width in self.widths}

        def cell(self, run: Run, variant: int, seed: int) -> Cell:
            ...
            return {"winners": 100 * share}

`accuracy` is an example that keeps no cells, `sweep` of curves against a setting, `radius` of cells that hold whole
curves, `parts` of one that needs no more than the default.  A question of another shape derives from `Evaluator` and
implements `run(run)`; `keep` keeps parts of it as it keeps cells.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from torchhebb.config import to_json
from torchhebb.evaluate.evaluator import NOT_IN_CELLS as NOT_IN_CELLS
from torchhebb.evaluate.evaluator import Evaluator, Finding
from torchhebb.evaluate.statistics import mean_curve, wilson
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure

Variant = TypeVar("Variant")

Cell = dict[str, Any]
"""What is found of one variant and seed, by quantity, as JSON can hold it."""


def count_test_images(run: Run) -> int:
    """The number of test images of a run."""
    return len(run.data.test)


@dataclass(frozen=True)
class Quantity:
    """What a cell measures: its words in figures and on axes, its unit, and how many samples its interval is for."""

    label: str
    unit: str = ""
    samples: Callable[[Run], int] | None = None


class Study(Evaluator, Generic[Variant]):
    """A question about variants of a run; see the module's docstring."""

    quantities: ClassVar[Mapping[str, Quantity]]
    keeps_cells: ClassVar[bool] = True
    """Whether cells are kept in the run folder; not where they are quick, hold times, or keep their own parts."""

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
        """The cell of a variant and seed, read again where it was kept."""
        work = partial(self.cell, run, variant, seed)
        return self.keep(run, work, variant=to_json(variant), seed=seed) if self.keeps_cells else work()

    def measures(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Measure]:
        """`<variant>_<quantity>` of everything in the cells that the table has; `<quantity>` where the name is ""."""
        for name, of_seeds in cells.items():
            for quantity in of_seeds[0]:
                if self._row(quantity) is not None:
                    full = f"{name}_{quantity}" if name else quantity
                    yield self.measure(run, full, values(of_seeds, quantity), quantity)

    def quantity(self, name: str) -> Quantity:
        """The row of the table; `block2_radius` is that of `radius`, and its words begin with "block 2: "."""
        row = self._row(name)
        if row is None:
            raise KeyError(name)
        stage = name.removesuffix(row).replace("block", "block ").strip("_").replace("_", ", ")
        whole = self.quantities[row]
        return replace(whole, label=f"{stage}: {whole.label}") if stage else whole

    def measure(self, run: Run, name: str, numbers: Sequence[float], quantity: str) -> Measure:
        """One number a seed under a name, with the unit and the interval of its quantity."""
        found = self.quantity(quantity)
        interval = None if found.samples is None else wilson(numbers, found.samples(run))
        return Measure(name, found.unit, tuple(numbers), None, interval)

    def _row(self, name: str) -> str | None:
        """The longest name in the table that a quantity's name ends with."""
        return max((row for row in self.quantities if f"_{name}".endswith(f"_{row}")), key=len, default=None)


def values(cells: Sequence[Cell], quantity: str) -> tuple[Any, ...]:
    """One quantity of some cells.

    >>> values([{"accuracy": 91.0}, {"accuracy": 93.0}], "accuracy")
    (91.0, 93.0)
    """
    return tuple(cell[quantity] for cell in cells)


def curve_over(
    name: str, x_label: str, y_label: str, x: Sequence[float], cells: Sequence[Sequence[Cell]], quantity: str
) -> Curve:
    """A quantity against x, its mean over seeds; `cells` are those of each x, one a seed.

    >>> curve_over("a", "bits", "%", [4, 8], [[{"a": 1.0}, {"a": 3.0}], [{"a": 5.0}, {"a": 5.0}]], "a").y
    (2.0, 5.0)
    """
    lines = zip(*(values(of_seeds, quantity) for of_seeds in cells), strict=True)
    return mean_curve(name, x_label, y_label, x, list(lines))
