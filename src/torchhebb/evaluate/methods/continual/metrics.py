"""Metrics of continual learning: functions of an accuracy matrix.

`matrix` (T, T) holds A[i, j], the accuracy in % on task j after learning task i, counted from 0; entries that are not
measured, such as those of a task without a readout, are NaN.  Joint training has a single stage: a matrix of one row.
"""

from torch import Tensor

from torchhebb.errors import UserError


def average_accuracy(matrix: Tensor) -> float:
    """ACC = mean over j of A[T-1, j]: the accuracy on all tasks at the end.  Source: Lopez-Paz and Ranzato 2017.

    >>> import torch
    >>> average_accuracy(torch.tensor([[90.0, 50.0], [70.0, 80.0]]))
    75.0
    """
    return matrix[-1].double().mean().item()


def forgetting(matrix: Tensor) -> float:
    """F = mean over j < T-1 of max over i >= j of A[i, j] - A[T-1, j]: the loss since the best stage; never negative.

    The maximum starts at i = j, since an accuracy before a task is learned cannot be lost by learning others.
    Source: Chaudhry et al. 2018, whose maximum excludes the last stage, so that theirs is negative if a task ends at
    its best.  Raises UserError for fewer than two tasks learned one after another.

    >>> import torch
    >>> forgetting(torch.tensor([[90.0, 50.0], [70.0, 80.0]]))
    20.0
    """
    best = _learned_in_turn(matrix).tril()  # accuracies are at least 0, so zeros above the diagonal never win
    return (best.amax(0) - matrix[-1].double())[:-1].mean().item()


def backward_transfer(matrix: Tensor) -> float:
    """BWT = mean over j < T-1 of A[T-1, j] - A[j, j]: the change of accuracy by later tasks.

    Source: Lopez-Paz and Ranzato 2017.  Raises UserError for fewer than two tasks learned one after another.

    >>> import torch
    >>> backward_transfer(torch.tensor([[90.0, 50.0], [70.0, 80.0]]))
    -20.0
    """
    matrix = _learned_in_turn(matrix)
    return (matrix[-1] - matrix.diagonal())[:-1].mean().item()


def forward_transfer(matrix: Tensor, start: Tensor) -> float:
    """FWT = mean over j > 0 of A[j-1, j] - b_j: the gain on a task by earlier tasks, before it is learned.

    Args: start (T,), b_j, the accuracy on task j of the untrained network.
    Source: Lopez-Paz and Ranzato 2017.  Raises UserError for fewer than two tasks learned one after another.

    >>> import torch
    >>> forward_transfer(torch.tensor([[90.0, 50.0], [70.0, 80.0]]), torch.tensor([40.0, 45.0]))
    5.0
    """
    return (_learned_in_turn(matrix).diagonal(1) - start.double()[1:]).mean().item()


def _learned_in_turn(matrix: Tensor) -> Tensor:
    """The matrix in float64; raises UserError unless it is (T, T) with T > 1."""
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise UserError(f"matrix must be (tasks, tasks) of two tasks or more, got {tuple(matrix.shape)}")
    return matrix.double()
