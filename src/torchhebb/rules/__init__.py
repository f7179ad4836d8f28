"""Learning rules: frozen objects that combine a competition and a decay.

A rule is one method: from pre-activations to the activity y that multiplies the input, and the decay.

What the decay does to the radius.  With decay <S_k, w_k>, which `None` stands for, an update changes it by

    d ||w_k||^2 / 2 = <S_k, w_k> (1 - ||w_k||^2),

so the radius 1 attracts a neuron while <S_k, w_k> = sum of y_k u_k is positive, and repels it while it is negative.
It is never negative in `Oja` and `GainShape`, nor in `HardHebb` where winners have u > 0.  It is negative for a neuron
whose activity is positive where its u is negative, and for an anti-Hebbian loser with positive u: such a neuron turns,
away from its inputs or towards them, until the sign changes.  Inputs that vary turn it soon.  Where all inputs are one,
nothing keeps its radius bounded under `SoftHebb`: it grows without limit under `NormAdaptiveSGD`, whose step does not
become smaller as the update does.  `Instar` has decay sum of y_k >= 0 and moves a neuron towards its inputs, so it
stays within their convex hull for lr sum of y_k <= 1.

>>> import torch
>>> SoftHebb(anti_hebbian=False)(torch.zeros(1, 4))
(tensor([[0.2500, 0.2500, 0.2500, 0.2500]]), None)
"""

from torchhebb.rules.base import Rule, StatefulRule
from torchhebb.rules.bcm import BCM
from torchhebb.rules.competition import GainShape, HardHebb, Instar, RankedHebb, SoftHebb
from torchhebb.rules.principal import Foldiak, Oja, OjaSubspace, Sanger

__all__ = [
    "BCM",
    "Foldiak",
    "GainShape",
    "HardHebb",
    "Instar",
    "Oja",
    "OjaSubspace",
    "RankedHebb",
    "Rule",
    "Sanger",
    "SoftHebb",
    "StatefulRule",
]
