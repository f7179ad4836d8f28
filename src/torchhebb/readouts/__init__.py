"""Readouts beside the paper's Adam: each a frozen plan whose `fit` turns frozen features and labels into logits."""

from torchhebb.readouts.base import Fitted, ReadoutPlan
from torchhebb.readouts.labels import Labels
from torchhebb.readouts.logistic import Logistic
from torchhebb.readouts.neighbors import Neighbors
from torchhebb.readouts.ridge import Ridge
from torchhebb.readouts.wide import WideRidge

__all__ = ["Fitted", "Labels", "Logistic", "Neighbors", "ReadoutPlan", "Ridge", "WideRidge"]
