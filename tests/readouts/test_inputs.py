"""What features and labels may be: any unit, any integer dtype of labels, finite numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from torchhebb.errors import UserError
from torchhebb.readouts import Labels, Logistic, Neighbors, Readout, ReadoutPlan, Ridge, WideRidge

PLANS: dict[str, ReadoutPlan] = {
    "ridge": Ridge(),
    "wide": WideRidge(),
    "logistic": Logistic(iterations=50),
    "neighbors": Neighbors(k=(3,)),
    "adam": Readout(epochs=20, batch_size=20, lr=0.05, dropout=0.0, standardize=True, init_scale=0.0),
    "labels": Labels(),
}


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes around centres in eight dimensions, all numbers positive."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    centres = torch.rand(3, 8, generator=generator) * 4
    return centres[labels] + 0.4 * torch.rand(120, 8, generator=generator), labels


def answers(plan: ReadoutPlan, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return plan.fit(x, labels, 3).readout(x).argmax(1)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("factor", [1e-15, 1e-7, 1e7])
def test_the_unit_of_features_changes_nothing(name: str, factor: float) -> None:
    x, labels = problem()
    assert torch.equal(answers(PLANS[name], x * factor, labels), answers(PLANS[name], x, labels))


@pytest.mark.parametrize("name", ["ridge", "wide", "logistic", "adam"])
def test_a_small_feature_beside_a_large_one_is_read(name: str) -> None:
    """Standardised features have no units: only the smallest one tells the classes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(3).repeat(40)
    x = torch.rand(120, 5, generator=generator) * 1e6
    x[:, 2] = (labels + 0.1 * torch.rand(120, generator=generator)) * 1e-6
    x[:, 3] = (labels == 1) * 1e-6
    x[:, 4] = 7.0  # constant
    assert (answers(PLANS[name], x, labels) == labels).double().mean() > 0.95


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_integer_dtype(name: str, dtype: torch.dtype) -> None:
    x, labels = problem()
    assert torch.equal(answers(PLANS[name], x, labels.to(dtype)), answers(PLANS[name], x, labels))


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_refused(name: str, value: float) -> None:
    x, labels = problem()
    x[100, 3] = value
    with pytest.raises(UserError, match="features must be finite"):
        PLANS[name].fit(x, labels, 3)


def test_plans_are_values() -> None:
    plan: Any = PLANS["adam"]
    assert replace(plan, epochs=3) != plan


@pytest.mark.parametrize("plan", [Labels(), Logistic(), Neighbors(k=(1,)), Readout(epochs=1), Ridge(), WideRidge()])
@pytest.mark.parametrize(
    ("shape", "labels", "classes", "words"),
    [
        ((4,), [0, 1, 0, 1], 2, r"features must be \(N, ...\) of one sample at least, got \(4,\)"),
        ((0, 3), [], 2, "features must be"),
        ((4, 3), [0, 1], 2, r"labels must be \(4,\) integers"),
        ((4, 3), [0.0, 1.0, 0.0, 1.0], 2, "labels must be .* of float32"),
        ((4, 3), [0, 1, 2, 1], 2, "labels must be from 0 to below 2, got 0 to 2"),
        ((4, 3), [0, 1, -1, 1], 2, "labels must be from 0 to below 2, got -1 to 1"),
        ((4, 3), [0, 0, 0, 0], 0, "labels must be from 0 to below 0"),
    ],
)
def test_features_and_labels_that_do_not_fit(
    plan: ReadoutPlan, shape: tuple[int, ...], labels: list[float], classes: int, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        plan.fit(torch.rand(shape), torch.tensor(labels), classes)
