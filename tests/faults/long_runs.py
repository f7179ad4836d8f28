"""A million updates of a small layer: the norms of its neurons stay near 1 and finite, and the memory flat."""

import random
from functools import partial
from pathlib import Path

import torch

from tests.faults.campaign import Case, Kind, Outcome, Surface, peak_bytes
from torchhebb import learn
from torchhebb.nn import HebbLinear
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import HardHebb, Instar, Oja, OjaSubspace, RankedHebb, Rule, Sanger, SoftHebb

INPUTS, NEURONS, BATCH = 16, 8, 4
RULES: tuple[Rule, ...] = (
    SoftHebb(1.0),
    SoftHebb(20.0, anti_hebbian=False),
    SoftHebb(5.0, rectify=True),
    HardHebb(),
    RankedHebb(rank=2, delta=0.1),
    Oja(),
    OjaSubspace(),
    Sanger(),
    Instar(),
)
GROWTH_BYTES = 16 << 20
NEAR = (0.5, 1.5)


def nothing(folder: Path) -> None:
    pass


def draw(updates: int, ready: None, random: random.Random, folder: Path) -> Case:
    number = int(folder.name.removeprefix("case-"))
    rule = RULES[number % len(RULES)]
    lr = random.choice((0.01, 0.03))
    return Case(
        f"{rule}: {updates:,} updates at a rate of {lr}", partial(learned, rule, lr, updates, number), repr(rule)
    )


def learned(rule: Rule, lr: float, updates: int, seed: int) -> Outcome:
    """Learn from fresh noise on a few directions; look at the norms and the memory on the way."""
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = HebbLinear(INPUTS, NEURONS, rule=rule, init_radius=3.0).train()
    optimizer = NormAdaptiveSGD([{"params": [layer.weight], "lr": lr}])
    directions = torch.randn(NEURONS, INPUTS, generator=generator)
    before = 0
    for update in range(updates):
        chosen = torch.randint(NEURONS, (BATCH,), generator=generator)
        x = directions[chosen] + 0.3 * torch.randn(BATCH, INPUTS, generator=generator)
        learn(layer, x / x.norm(dim=1, keepdim=True))
        optimizer.step()
        optimizer.zero_grad()
        if update == updates // 10:
            before = peak_bytes(reset=True)
        if update % 1000 == 0 and not layer.weight.isfinite().all():
            return Outcome(Kind.DIFFERENCE, f"not finite after {update:,} updates")
    grown = peak_bytes() - before
    norms = layer.weight.norm(dim=1)
    span = f"norms from {norms.min():.3f} to {norms.max():.3f}, {grown >> 10:,} KiB more memory"
    if not (NEAR[0] <= norms.min() and norms.max() <= NEAR[1]):
        return Outcome(Kind.DIFFERENCE, span)
    return Outcome(Kind.MEMORY, span) if grown > GROWTH_BYTES else Outcome(Kind.RIGHT, span)


SURFACES = (
    Surface(
        "million-updates",
        "Long runs",
        "A million updates of a layer of 8 neurons by each rule. Right: norms from 0.5 to 1.5, finite, and not more "
        "than 16 MiB of memory more than after a tenth of them.",
        nothing,
        partial(draw, 1_000_000),
        cases=len(RULES),
        quick=0,
        seconds=3600.0,
    ),
    Surface(
        "ten-thousand-updates",
        "Long runs",
        "The same for ten thousand updates.",
        nothing,
        partial(draw, 10_000),
        cases=len(RULES),
        quick=1,
        seconds=120.0,
    ),
)
