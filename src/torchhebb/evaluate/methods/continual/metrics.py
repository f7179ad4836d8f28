"""What is left of old tasks, and what new ones gain: numbers of an accuracy matrix.

`matrix` (T, T) holds A[i, j], the accuracy in % on task j after learning task i, tasks counted from 0; what was not
measured, such as a task that had no readout yet, is NaN.  Joint training has one stage, a matrix of one row.
"""

from torch import Tensor

from torchhebb.errors import UserError


def average_accuracy(matrix: Tensor) -> float:
    """ACC = mean over j of A[T-1, j]: how good it is at everything in the end.  Source: Lopez-Paz and Ranzato 2017.

    >>> import torch
    >>> average_accuracy(torch.tensor([[90.0, 50.0], [70.0, 80.0]]))
    75.0
    """
    return matrix[-1].double().mean().item()


def forgetting(matrix: Tensor) -> float:
    """F = mean over j < T-1 of max over i >= j of A[i, j] - A[T-1, j]: the loss since the best time; never negative.

    Accuracies before a task was learned are not lost by learning others, so the maximum starts at i = j.
    Source: Chaudhry et al. 2018, whose maximum leaves out the last stage, so that theirs is negative where a task ended
    at its best.  Raises UserError unless two tasks and more were learned one after another.

    >>> import torch
    >>> forgetting(torch.tensor([[90.0, 50.0], [70.0, 80.0]]))
    20.0
    """
    best = _learned_in_turn(matrix).tril()  # accuracies are at least 0, so zeros above the diagonal never win
    return (best.amax(0) - matrix[-1].double())[:-1].mean().item()


def backward_transfer(matrix: Tensor) -> float:
    """BWT = mean over j < T-1 of A[T-1, j] - A[j, j]: what later tasks gave (+) or took (-).

    Source: Lopez-Paz and Ranzato 2017.  Raises UserError unless two tasks and more were learned one after another.

    >>> import torch
    >>> backward_transfer(torch.tensor([[90.0, 50.0], [70.0, 80.0]]))
    -20.0
    """
    matrix = _learned_in_turn(matrix)
    return (matrix[-1] - matrix.diagonal())[:-1].mean().item()


def forward_transfer(matrix: Tensor, start: Tensor) -> float:
    """FWT = mean over j > 0 of A[j-1, j] - b_j: what earlier tasks gave a task before it was learned.

    Args: start (T,), b_j, the accuracy on task j of the network before it learned anything.
    Source: Lopez-Paz and Ranzato 2017.  Raises UserError unless two tasks and more were learned one after another.

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
