"""Readouts: each a frozen plan whose `fit` turns frozen features and labels into logits."""

from torchhebb.readouts.adam import Readout
from torchhebb.readouts.base import FitContext, Fitted, ReadoutPlan, percent_correct, predict_logits
from torchhebb.readouts.labels import Labels
from torchhebb.readouts.logistic import Logistic
from torchhebb.readouts.neighbors import Neighbors
from torchhebb.readouts.ridge import Ridge
from torchhebb.readouts.streamed import StreamedRidge
from torchhebb.readouts.wide import WideRidge

__all__ = [
    "FitContext",
    "Fitted",
    "Labels",
    "Logistic",
    "Neighbors",
    "Readout",
    "ReadoutPlan",
    "Ridge",
    "StreamedRidge",
    "WideRidge",
    "percent_correct",
    "predict_logits",
]
