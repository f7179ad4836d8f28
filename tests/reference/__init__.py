"""The slow, obvious version of every fast path: float64 numpy, loops, written from the equations of the papers.

No reference calls the library or a convolution. A test puts both on the same numbers and asks for agreement.
"""

import numpy as np
import torch
from hypothesis import settings
from numpy.typing import NDArray
from torch import Tensor

LAW = settings(deadline=None, max_examples=25, derandomize=True)

# Agreement asked of each precision, relative to the largest expected entry.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 4e-2}


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers from a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def numbers(tensor: Tensor) -> NDArray[np.float64]:
    """The numbers of a tensor, as the references take them."""
    return tensor.detach().double().numpy()


def agree(actual: Tensor, expected: NDArray[np.float64] | Tensor | float, dtype: torch.dtype = torch.float64) -> None:
    """Asserts shape, dtype, and values as close as the precision allows."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.dtype == dtype
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.detach().double(), expected, rtol=0, atol=TOLERANCE[dtype] * scale)
