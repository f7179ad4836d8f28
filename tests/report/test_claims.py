"""Claims against results: the interval decides, and what was not measured is not judged."""

import pytest
from scipy import stats

from torchhebb.evaluate.statistics import welch
from torchhebb.recipes import get_claims, list_papers
from torchhebb.recipes.claim import Claim, MeasureRef
from torchhebb.report.claims import claims_table, judge_claim
from torchhebb.train import Measure, Result


def result(recipe: str, *values: float, interval: tuple[float, float] | None = None) -> Result:
    measure = Measure("test_accuracy", "%", values, interval=interval)
    seeds = tuple(range(len(values)))
    return Result(recipe, "accuracy", (measure,), seeds, 1.0, "cpu", "", {}, versions={}, commit="")


def of(recipe: str) -> MeasureRef:
    return MeasureRef(recipe, "accuracy", "test_accuracy")


CLAIM = Claim("soft above hard", of("soft"), of("hard"))


def test_the_interval_is_welchs() -> None:
    one, other = (96.0, 96.3, 95.8, 96.1), (95.0, 95.9, 95.2)
    measures = [Measure("a", "%", values) for values in (one, other)]
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    judged = judge_claim(CLAIM, [result("soft", *one), result("hard", *other)])
    assert judged.interval == pytest.approx((expected.low, expected.high))
    assert welch(*measures) == pytest.approx((expected.high - expected.low) / 2)


@pytest.mark.parametrize(
    "soft, hard, verdict",
    [
        ((96.0, 96.1, 95.9), (95.0, 95.1, 94.9), "confirmed"),
        ((95.0, 95.1, 94.9), (96.0, 96.1, 95.9), "refuted"),
        ((95.0, 96.5, 94.0), (95.2, 96.1, 94.1), "open"),
    ],
)
def test_verdicts(soft: tuple[float, ...], hard: tuple[float, ...], verdict: str) -> None:
    results = [result("soft", *soft), result("hard", *hard)]
    assert judge_claim(CLAIM, results).verdict == verdict
    assert claims_table([CLAIM], results).endswith(f"| 3 | {verdict} |")


def test_of_one_seed_the_images_decide() -> None:
    close = [result("soft", 96.0, interval=(95.6, 96.4)), result("hard", 95.8, interval=(95.4, 96.2))]
    far = [close[0], result("hard", 94.0, interval=(93.5, 94.5))]
    assert judge_claim(CLAIM, close).verdict == "open"
    judged = judge_claim(CLAIM, far)
    assert judged.verdict == "confirmed"
    assert judged.interval == pytest.approx((2 - (0.4**2 + 0.5**2) ** 0.5, 2 + (0.4**2 + 0.5**2) ** 0.5))


def test_one_seed_without_an_interval_stays_open() -> None:
    assert judge_claim(CLAIM, [result("soft", 99.0), result("hard", 1.0)]).verdict == "open"


def test_seeds_that_agree_to_the_last_digit_leave_the_judgement_to_the_images() -> None:
    soft, hard = result("soft", 96.0, 96.0, interval=(95.6, 96.4)), result("hard", 95.9, 95.9, interval=(95.5, 96.3))
    judged = judge_claim(CLAIM, [soft, hard])
    assert judged.verdict == "open" and judged.interval == pytest.approx((0.1 - 0.4 * 2**0.5, 0.1 + 0.4 * 2**0.5))
    assert judge_claim(CLAIM, [result("soft", 60.0, 60.0), result("hard", 7.0, 7.0)]).verdict == "confirmed"


def test_against_a_number() -> None:
    claim = Claim("above 95", of("soft"), 95.0)
    assert judge_claim(claim, [result("soft", 96.0, 96.2, 96.1)]).verdict == "confirmed"
    assert judge_claim(claim, [result("soft", 94.0, 94.2, 94.1)]).verdict == "refuted"


def test_what_is_missing_was_not_run() -> None:
    judged = judge_claim(CLAIM, [result("soft", 96.0, 96.2)])
    assert judged.verdict == "not run" and judged.difference is None
    assert claims_table([CLAIM], []).splitlines()[-1] == "| soft above hard |  |  |  | not run |"


def test_the_result_of_most_seeds_speaks() -> None:
    results = [result("soft", 90.0), result("soft", 96.0, 96.1, 95.9), result("hard", 95.0, 95.1, 94.9)]
    assert judge_claim(CLAIM, results).verdict == "confirmed"


def test_claims_name_recipes_questions_and_measures_that_exist() -> None:
    from torchhebb.evaluate import list_evaluators
    from torchhebb.recipes import list_recipes

    papers = [paper for paper in list_papers() if paper == "softhebb2022"]
    sides = [side for paper in papers for claim in get_claims(paper) for side in (claim.higher, claim.lower)]
    assert sides
    for side in sides:
        if isinstance(side, MeasureRef):
            assert side.recipe in list_recipes() and side.question in list_evaluators(), side


def test_measures_that_have_an_interval_come_before_more_seeds() -> None:
    hard = result("hard", 70.0, interval=(69.0, 71.0))
    few, many = result("soft", 80.0, interval=(79.0, 81.0)), result("soft", 80.0, 80.2, 80.4)
    for results in ([hard, few, many], [many, few, hard]):
        judged = judge_claim(CLAIM, results)
        assert judged.verdict == "confirmed" and judged.measures[0] == few.measures[0]
