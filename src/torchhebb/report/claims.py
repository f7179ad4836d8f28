"""The table of the claims of a paper: difference, 95 % interval and verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from typing import Literal

from torchhebb.evaluate.statistics import welch
from torchhebb.recipes.claim import Claim, MeasureRef
from torchhebb.train import Measure, Result

Found = tuple[Measure, Result]
Verdict = Literal["confirmed", "refuted", "open", "not run"]
ACCURACIES = ("accuracy", "baselines")
"""Questions whose results hold the test accuracies of a network and of its baselines: both are searched."""
_HEADER = ("claim", "measured", "difference [95 %]", "seeds", "verdict")


@dataclass(frozen=True)
class Judged:
    """A claim and its measurement; `difference` is higher - lower, with its 95 % interval."""

    claim: Claim
    measures: tuple[Measure | float, ...]
    difference: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


def judge_claim(claim: Claim, results: Sequence[Result]) -> Judged:
    """Confirmed if the whole interval of the difference lies above 0, refuted if it lies below, otherwise open.

    The interval is Welch's over seeds where both sides have several, and otherwise, or where all seeds agree to the
    last digit, that over the images that were measured, from the intervals of the two measures; with one seed and
    without these the claim stays open.
    """
    sides = _sides(claim, results)
    if sides is None:
        return Judged(claim, (), None, None, "not run")
    higher, lower = sides
    difference = _mean(higher) - _mean(lower)
    half = welch(higher, lower)
    interval = None if half is None else (difference - half, difference + half)
    verdict: Verdict = "open"
    if interval is not None and (interval[0] > 0 or interval[1] < 0):
        verdict = "confirmed" if difference > 0 else "refuted"
    return Judged(claim, (higher, lower), difference, interval, verdict)


def claims_table(claims: Sequence[Claim], results: Sequence[Result]) -> str:
    """One row a claim, as Markdown."""
    lines = [_HEADER, *(_row(judge_claim(claim, results)) for claim in claims)]
    rows = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([rows[0], "|" + "---|" * len(_HEADER), *rows[1:]])


def _row(judged: Judged) -> tuple[str, ...]:
    if judged.difference is None:
        return judged.claim.text, "", "", "", "not run"
    sides = [side for side in judged.measures if isinstance(side, Measure)]
    unit = sides[0].unit
    measured = " against ".join(f"{_mean(side):.2f}" for side in judged.measures)
    low, high = judged.interval or (-inf, inf)
    bounds = f" [{low:+.2f}, {high:+.2f}]" if judged.interval else ""
    seeds = ", ".join(dict.fromkeys(str(len(side.values)) for side in sides))
    return judged.claim.text, f"{measured} {unit}".strip(), f"{judged.difference:+.2f}{bounds}", seeds, judged.verdict


def _mean(side: Measure | float) -> float:
    return side.mean if isinstance(side, Measure) else side


def find_measure(results: Sequence[Result], side: MeasureRef) -> Found | None:
    """The measure with the most seeds, whatever device and precision it comes from, and its result."""
    return max(_found(results, side), key=lambda pair: len(pair[0].values), default=None)


def _found(results: Sequence[Result], side: MeasureRef) -> list[Found]:
    questions = ACCURACIES if side.question in ACCURACIES else (side.question,)
    return [
        (measure, result)
        for result in results
        if result.recipe == side.recipe and result.question in questions
        for measure in result.measures
        if measure.name == side.measure
    ]


def _sides(claim: Claim, results: Sequence[Result]) -> tuple[Measure | float, Measure | float] | None:
    """The two measures with most seeds among those whose difference has an interval; without such, among all."""

    def candidates(side: MeasureRef | float) -> Sequence[Measure | float]:
        if not isinstance(side, MeasureRef):
            return [side]
        return [measure for measure, _ in _found(results, side)]

    def worth(pair: tuple[Measure | float, Measure | float]) -> tuple[bool, int]:
        return welch(*pair) is not None, sum(len(side.values) for side in pair if isinstance(side, Measure))

    return max(product(candidates(claim.higher), candidates(claim.lower)), key=worth, default=None)
