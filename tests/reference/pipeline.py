"""The layer pipeline by its definition: blocks are functions (state, x) -> (output, new state)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.reference import rules
from tests.reference.activation import triangle
from tests.reference.optim import step

Array = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """What a block has learned: weight (K, D), running mean and variance (D,)."""

    weight: Array
    mean: Array
    variance: Array


Block = Callable[[State, Array], tuple[Array, State]]


def pipeline(batches: Sequence[Array], blocks: Sequence[Block], states: Sequence[State], seed: int) -> list[State]:
    """At tick t block l takes what block l - 1 gave at tick t - 1, both by the states from before their tick.

    The blocks of a tick come in an order drawn anew for every tick: they know nothing of each other.
    """
    random, now = np.random.default_rng(seed), list(states)
    given: dict[int, Array] = {}
    for tick in range(len(batches) + len(blocks) - 1):
        before, arrived, given = list(now), given, {}
        for number in random.permutation(len(blocks)):
            if 0 <= tick - number < len(batches):
                x = batches[tick] if number == 0 else arrived[number - 1]
                given[number], now[number] = blocks[number](before[number], x)
    return now


def soft_hebb_block(lr: float, inverse_temperature: float) -> Block:
    """Batch norm, a SoftHebb layer with its norm-adaptive step, triangle; the output is from before the step."""

    def block(state: State, x: Array) -> tuple[Array, State]:
        mean, variance = x.mean(0), x.var(0)
        normal = (x - mean) / np.sqrt(variance + 1e-5)
        u, _, update = rules.linear_layer(normal, state.weight, rules.soft_hebb(inverse_temperature))
        moved = State(
            step(state.weight, -update / len(x), lr),
            0.9 * state.mean + 0.1 * mean,
            0.9 * state.variance + 0.1 * x.var(0, ddof=1),
        )
        return np.array([triangle(row) for row in u]), moved

    return block
