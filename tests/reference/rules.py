"""A layer's whole update, one sample and one position at a time: dw_k = sum of y_k x - (what the rule forgets) w_k."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.reference import activation, competition
from tests.reference.activation import Pair

Array = NDArray[np.float64]
Forget = Callable[[Array, Array], Array]


def oja_forgets(y: Array, u: Array) -> Array:
    """dw_k = y_k (x - u_k w_k)."""
    return y * u


def instar_forgets(y: Array, u: Array) -> Array:
    """dw_k = y_k (x - w_k)."""
    return y


@dataclass(frozen=True)
class Learner:
    """A rule for one sample: an output made of u, a competition on the output, and what a neuron forgets."""

    compete: Callable[[Array], Array]
    forgets: Forget = oja_forgets
    output: Callable[[Array], Array] = np.array


def soft_hebb(inverse_temperature: float = 1.0, anti_hebbian: bool = True, rectify: bool = False) -> Learner:
    """SoftHebb; rectified, relu(u - mean) stands for u in the competition, in the decay and as the output."""

    def compete(u: Array) -> Array:
        return competition.soft_wta(u, inverse_temperature, anti_hebbian=anti_hebbian)

    return Learner(compete, output=activation.rectify if rectify else np.array)


def hard_hebb() -> Learner:
    """The winner takes the sample, and forgets as in Oja's rule."""
    return Learner(competition.hard_wta)


def ranked_hebb(rank: int = 2, delta: float = 0.4) -> Learner:
    """The winner moves towards the sample, the rank-th away from it."""
    return Learner(lambda u: competition.ranked_wta(u, rank, delta))


def gain_shape() -> Learner:
    """The neuron nearest to the sample's axis learns by Oja's rule."""
    return Learner(competition.signed_wta)


def instar() -> Learner:
    """The winner moves to the sample itself."""
    return Learner(competition.hard_wta, instar_forgets)


def oja() -> Learner:
    """Every neuron answers with its pre-activation."""
    return Learner(np.array)


def linear_layer(x: Array, weight: Array, learner: Learner) -> tuple[Array, Array, Array]:
    """Output (B, K), activity (B, K) and summed update (K, D) of samples x (B, D)."""
    output, activity, update = np.zeros((len(x), len(weight))), np.zeros((len(x), len(weight))), np.zeros(weight.shape)
    for b in range(len(x)):
        output[b] = learner.output(np.array([np.sum(w * x[b]) for w in weight]))
        activity[b] = learner.compete(output[b])
        forgotten = learner.forgets(activity[b], output[b])
        for k in range(len(weight)):
            update[k] += activity[b, k] * x[b] - forgotten[k] * weight[k]
    return output, activity, update


def conv2d_layer(
    x: Array,
    weight: Array,
    learner: Learner,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "reflect",
) -> tuple[Array, Array, int]:
    """Output (B, K, H', W'), summed update (K, C/groups, kh, kw) and the number of samples x positions.

    Every position is one sample of a linear layer; every group is a layer of its own on its own channels.
    """
    kernel = (weight.shape[2], weight.shape[3])
    padded = activation.pad(x, padding, padding_mode)
    height = activation.positions(padded.shape[2], kernel[0], stride[0], dilation[0])
    width = activation.positions(padded.shape[3], kernel[1], stride[1], dilation[1])
    output, update = np.zeros((len(x), len(weight), height, width)), np.zeros(weight.shape)
    ins, outs = x.shape[1] // groups, len(weight) // groups
    for group in range(groups):
        own = slice(group * outs, (group + 1) * outs)
        flat = weight[own].reshape(outs, -1)
        for b, i, j in np.ndindex(len(x), height, width):
            seen = activation.patch(padded[b], i, j, kernel, stride, dilation)[group * ins : (group + 1) * ins]
            answer, _, change = linear_layer(seen.reshape(1, -1), flat, learner)
            output[b, own, i, j] = answer[0]
            update[own] += change.reshape(weight[own].shape)
    return output, update, len(x) * height * width


def sanger_update(x: Array, weight: Array) -> Array:
    """dw_k = y_k (x - sum over l up to k of y_l w_l), sample by sample, y = W x (Sanger 1989)."""
    update = np.zeros(weight.shape)
    for sample in x:
        y = [np.sum(w * sample) for w in weight]
        for k in range(len(weight)):
            explained = sum((y[below] * weight[below] for below in range(k + 1)), np.zeros(weight.shape[1]))
            update[k] += y[k] * (sample - explained)
    return update


def subspace_update(x: Array, weight: Array) -> Array:
    """dw_k = y_k (x - sum over all l of y_l w_l), sample by sample (Oja 1989)."""
    update = np.zeros(weight.shape)
    for sample in x:
        y = [np.sum(w * sample) for w in weight]
        explained = sum((y[other] * weight[other] for other in range(len(weight))), np.zeros(weight.shape[1]))
        for k in range(len(weight)):
            update[k] += y[k] * (sample - explained)
    return update


def foldiak_update(x: Array, weight: Array, lateral: Array, rounds: int = 2000) -> tuple[Array, Array]:
    """(dw, sum of y y^T off the diagonal): y settles by y = W x - L y, then dw_k = y_k (x - y_k w_k) (Foldiak 1989)."""
    update, correlation = np.zeros(weight.shape), np.zeros(lateral.shape)
    for sample in x:
        u = np.array([np.sum(w * sample) for w in weight])
        y = np.zeros(len(weight))
        for _ in range(rounds):  # the activity relaxes towards its fixed point
            y = y + 0.1 * (u - lateral @ y - y)
        for k, other in np.ndindex(*lateral.shape):
            if k != other:
                correlation[k, other] += y[k] * y[other]
        for k in range(len(weight)):
            update[k] += y[k] * (sample - y[k] * weight[k])
    return update, correlation


def bcm_update(x: Array, weight: Array, threshold: Array) -> Array:
    """dw_k = y_k (y_k - theta_k) x with y = max(W x, 0), sample by sample (Bienenstock, Cooper and Munro 1982)."""
    update = np.zeros(weight.shape)
    for sample in x:
        for k in range(len(weight)):
            y = max(np.sum(weight[k] * sample), 0.0)
            update[k] += y * (y - threshold[k]) * sample
    return update
