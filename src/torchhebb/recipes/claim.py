"""One claim of a paper as a comparison of two measures, so that results can confirm or refute it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MeasureRef:
    """A measure of a result: results/<recipe>/<question>-<device>.json."""

    recipe: str
    question: str
    measure: str


@dataclass(frozen=True)
class Claim:
    """`higher` lies above `lower`; one of them may be a number that the claim names."""

    text: str
    higher: MeasureRef | float
    lower: MeasureRef | float
