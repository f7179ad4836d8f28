"""Readouts beside the paper's Adam: each a frozen plan whose `fit` turns frozen features and labels into logits."""

from torchhebb.train.readouts.base import Fitted, ReadoutPlan
from torchhebb.train.readouts.labels import Labels
from torchhebb.train.readouts.logistic import Logistic
from torchhebb.train.readouts.neighbors import Neighbors
from torchhebb.train.readouts.ridge import Ridge
from torchhebb.train.readouts.wide import WideRidge

__all__ = ["Fitted", "Labels", "Logistic", "Neighbors", "ReadoutPlan", "Ridge", "WideRidge"]
