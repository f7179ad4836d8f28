import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchhebb.readouts import factor as module
from torchhebb.readouts.factor import Factor


def definite(size: int, seed: int = 0) -> Tensor:
    x = torch.randn(size, 2 * size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x @ x.T / size + 0.1 * torch.eye(size)


@given(size=st.integers(1, 20), extra=st.integers(0, 4), block=st.integers(1, 24), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_it_solves_and_leaves_the_lower_triangle_as_it_was(size: int, extra: int, block: int, seed: int):
    a = definite(size, seed)
    room = torch.full((size + extra, size + extra), torch.nan, dtype=a.dtype)  # above the diagonal nothing may be read
    room[:size, :size] = a.tril()
    before = room.tril()
    right = torch.randn(size, 3, dtype=a.dtype, generator=torch.Generator().manual_seed(seed + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = Factor(room, size, lambda rows: room[rows.start : size, rows].clone())
        torch.testing.assert_close(found.solve(right), torch.linalg.solve(a, right))
    torch.testing.assert_close(room.tril(), before, equal_nan=True, rtol=0, atol=0)


def test_it_can_be_factored_again_for_another_matrix():
    room = definite(9).tril()
    right = torch.ones(9, 1, dtype=room.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 4)
        for strength in (0.5, 3.0):

            def entries(rows: slice, strength: float = strength) -> Tensor:
                panel = room[rows.start :, rows].clone()
                panel.diagonal().add_(strength)
                return panel

            a = definite(9) + strength * torch.eye(9)
            torch.testing.assert_close(Factor(room, 9, entries).solve(right), torch.linalg.solve(a, right))


def test_a_matrix_that_is_not_definite():
    a = torch.diag(torch.tensor([1.0, 2.0, 3.0, -1.0, 1.0]))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="definite from column 4 on"):
        patch.setattr(module, "BLOCK", 3)
        Factor(a.clone(), 5, lambda rows: a[rows.start :, rows].clone())
