"""The table of the claims of a paper: difference, 95 % interval and verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from torchhebb.evaluate.statistics import welch
from torchhebb.recipes.claim import Claim, MeasureRef
from torchhebb.train import Measure, Result

Verdict = Literal["confirmed", "refuted", "open", "not run"]
_HEADER = ("claim", "measured", "difference [95 %]", "seeds", "verdict")


@dataclass(frozen=True)
class Judged:
    """A claim beside what was measured; `difference` is higher - lower, with its 95 % interval."""

    claim: Claim
    measures: tuple[Measure | float, ...]
    difference: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


def judge_claim(claim: Claim, results: Sequence[Result]) -> Judged:
    """Confirmed where the whole interval of the difference lies above 0, refuted where it lies below, else open.

    The interval is Welch's over seeds where both sides have several, and otherwise, or where all seeds agree to the
    last digit, that over the images that were measured, from the intervals of the two measures; with one seed and
    without these the claim stays open.
    """
    sides = (claim.higher, claim.lower)
    higher, lower = (_find(side, results) if isinstance(side, MeasureRef) else side for side in sides)
    if higher is None or lower is None:
        return Judged(claim, (), None, None, "not run")
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


def _find(of: MeasureRef, results: Sequence[Result]) -> Measure | None:
    """The measure with the most seeds, whatever device it comes from."""
    found = [
        measure
        for result in results
        if (result.recipe, result.question) == (of.recipe, of.question)
        for measure in result.measures
        if measure.name == of.measure
    ]
    return max(found, key=lambda measure: len(measure.values), default=None)
