"""Continual learning: one network learns tasks one after another."""

from torchhebb.evaluate.methods.continual.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)

__all__ = ["average_accuracy", "backward_transfer", "forgetting", "forward_transfer"]
