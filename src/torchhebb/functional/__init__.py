"""Pure tensor mathematics: no state, any device, any float dtype."""

from torchhebb.functional.activation import triangle
from torchhebb.functional.bayes import log_prior_update
from torchhebb.functional.competition import hard_wta, ranked_wta, soft_wta
from torchhebb.functional.plasticity import conv2d_statistic, linear_statistic, norm_adaptive_step, plasticity
from torchhebb.functional.similarity import orthogonality_loss, structure_loss

__all__ = [
    "conv2d_statistic",
    "hard_wta",
    "linear_statistic",
    "log_prior_update",
    "norm_adaptive_step",
    "orthogonality_loss",
    "plasticity",
    "ranked_wta",
    "soft_wta",
    "structure_loss",
    "triangle",
]
