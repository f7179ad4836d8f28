"""Continual learning: one network, tasks one after another, and what is left of the old ones."""

from torchhebb.evaluate.methods.continual.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)

__all__ = ["average_accuracy", "backward_transfer", "forgetting", "forward_transfer"]
