import logging
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchhebb.ops import int8 as module
from torchhebb.ops.int8 import float_products, int8_products, own_products


def whole_numbers(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randint(-128, 128, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


@given(m=st.integers(1, 40), n=st.integers(1, 40), k=st.integers(1, 3000), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_sums_are_exact(m: int, n: int, k: int, seed: int):
    a, b = whole_numbers(m, k, seed), whole_numbers(n, k, seed + 1)
    exact = (a.long() @ b.long().T).to(torch.int32)
    assert torch.equal(int8_products(a, b), exact)
    assert torch.equal(float_products(a, b), exact)
    assert k == 1 or torch.equal(torch._int_mm(a, b.T), exact)


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


@pytest.fixture
def unmeasured() -> Iterator[None]:
    own_products.cache_clear()
    yield
    own_products.cache_clear()


def test_without_the_private_function_the_same_comes_more_slowly_and_the_log_says_so_once(
    unmeasured: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    a, b = whole_numbers(20, 2100, 0), whole_numbers(30, 2100, 1)
    expected = torch._int_mm(a, b.T)
    monkeypatch.delattr(torch, "_int_mm")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(int8_products(a, b), expected) and torch.equal(int8_products(a, b), expected)
    assert [record.message.count("no _int_mm") for record in caplog.records] == [1]


def test_one_column_is_not_for_the_private_function(monkeypatch: pytest.MonkeyPatch):
    """It returns memory that nobody wrote."""
    monkeypatch.setattr(module, "own_products", lambda: True)
    monkeypatch.setattr(torch, "_int_mm", lambda *_: pytest.fail("called"))
    a = whole_numbers(3, 1, 0)
    assert torch.equal(int8_products(a, a), (a.long() @ a.long().T).to(torch.int32))


@pytest.mark.parametrize(("slow", "own"), [("_int_mm", False), ("float32", True)])
def test_the_faster_of_both_is_taken(
    unmeasured: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slow: str, own: bool
):
    """Without instructions for int8 `_int_mm` is many times slower than float32 products."""
    monkeypatch.setattr(
        module, "fastest_calls", lambda works, **_: {name: 1.0 + 7.0 * (name == slow) for name in works}
    )
    called = []
    monkeypatch.setattr(torch, "_int_mm", lambda a, b, do=torch._int_mm: called.append(1) or do(a, b))
    a = whole_numbers(20, 2100, 0)
    with caplog.at_level(logging.INFO):
        assert torch.equal(int8_products(a, a), (a.long() @ a.long().T).to(torch.int32))
    assert bool(called) == own
    said = "int8 products are computed in float32, 8 times as fast here as by torch._int_mm"
    assert [record.message for record in caplog.records] == ([] if own else [said])


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
