"""The equations as pure functions of tensors: no state, any device, any float dtype."""

from torchhebb.functional.activation import triangle
from torchhebb.functional.bayes import kl_divergence, log_prior_update, mixture_cross_entropy, posterior
from torchhebb.functional.competition import hard_wta, ranked_wta, signed_wta, soft_wta
from torchhebb.functional.mixture import (
    component_log_density,
    log_normaliser,
    mean_resultant_length,
    mixture_log_density,
    sample_mixture,
)
from torchhebb.functional.plasticity import conv2d_statistic, linear_statistic, norm_adaptive_step, plasticity
from torchhebb.functional.quantize import power_of_two_scale, quantize
from torchhebb.functional.similarity import orthogonality_loss, structure_loss
from torchhebb.functional.whitening import decorrelation_step, whitening_matrix

__all__ = [
    "component_log_density",
    "conv2d_statistic",
    "decorrelation_step",
    "hard_wta",
    "kl_divergence",
    "linear_statistic",
    "log_normaliser",
    "log_prior_update",
    "mean_resultant_length",
    "mixture_cross_entropy",
    "mixture_log_density",
    "norm_adaptive_step",
    "orthogonality_loss",
    "plasticity",
    "posterior",
    "power_of_two_scale",
    "quantize",
    "ranked_wta",
    "sample_mixture",
    "signed_wta",
    "soft_wta",
    "structure_loss",
    "triangle",
    "whitening_matrix",
]
