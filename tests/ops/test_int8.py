import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchhebb.ops import int8 as module
from torchhebb.ops.int8 import float_products, int8_products


def whole_numbers(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randint(-128, 128, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


@given(m=st.integers(1, 40), n=st.integers(1, 40), k=st.integers(1, 3000), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_sums_are_exact(m: int, n: int, k: int, seed: int):
    a, b = whole_numbers(m, k, seed), whole_numbers(n, k, seed + 1)
    exact = (a.long() @ b.long().T).to(torch.int32)
    assert torch.equal(int8_products(a, b), exact)
    assert torch.equal(float_products(a, b), exact)


def test_the_largest_sums_are_exact():
    a = torch.full((17, 4096), -128, dtype=torch.int8)
    assert torch.equal(int8_products(a, a), torch.full((17, 17), 4096 * 2**14, dtype=torch.int32))
    assert torch.equal(float_products(a, a), torch.full((17, 17), 4096 * 2**14, dtype=torch.int32))


def test_float_products_of_many_columns_are_exact():
    """Sums above 2^24 that are odd, which one float32 product of all columns would round."""
    a, b = torch.full((1, 5001), 127, dtype=torch.int8), torch.full((1, 5001), 127, dtype=torch.int8)
    assert float_products(a, b).item() == 127 * 127 * 5001


def test_rows_of_a_larger_tensor():
    a = whole_numbers(64, 100, 0)
    exact = (a[3:20, 10:90].long() @ a[5:9, 10:90].long().T).to(torch.int32)
    assert torch.equal(int8_products(a[3:20, 10:90], a[5:9, 10:90]), exact)


def test_without_the_private_function_the_same_comes_more_slowly_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    a, b = whole_numbers(20, 2100, 0), whole_numbers(30, 2100, 1)
    expected = int8_products(a, b)
    monkeypatch.delattr(torch, "_int_mm")
    monkeypatch.setattr(module, "_told", [])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(int8_products(a, b), expected) and torch.equal(int8_products(a, b), expected)
    assert [record.message.count("no _int_mm") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int8), "must be int8, got torch.float32"),
        (torch.zeros(2, 3, dtype=torch.int8), torch.zeros(2, 4, dtype=torch.int8), r"one width below 2\^17, got"),
        (torch.zeros(1, 2**17, dtype=torch.int8), torch.zeros(1, 2**17, dtype=torch.int8), "one width"),
    ],
)
def test_mistakes(a: torch.Tensor, b: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        int8_products(a, b)
