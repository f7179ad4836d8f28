"""Members that learn side by side end where each would alone: over rules, layers, orders, rates, and stops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import ARCHITECTURE, digits, equal, state, untimed
from tests.watch import Stop, Watch, stop_after
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Network, Pool, SPHeReConvBlock
from torchhebb.nn.ensemble import EnsembleLayer
from torchhebb.rules import GainShape, HardHebb, Instar, Oja, RankedHebb, Rule, SoftHebb
from torchhebb.train import Learning, ensemble
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.ensemble import large_layers, learn_ensemble
from torchhebb.train.learn import learn_images
from torchhebb.train.log import Log, read_log
from torchhebb.train.recipe import AdamW

IMAGES = digits(53)
PLAN = Learning(batch_size=10, epochs=2)  # twelve steps, the last of each epoch ragged
SEEDS = (0, 3, 4)
RULES = {
    "soft": SoftHebb(2.0, anti_hebbian=False),
    "anti": SoftHebb(0.7),
    "rectify": SoftHebb(1.3, rectify=True),
    "hard": HardHebb(),
    "ranked": RankedHebb(3, 0.2),
    "oja": Oja(),
    "gain_shape": GainShape(),
    "instar": Instar(),
}


def conv(rule: Rule, **changes: Any) -> ConvBlock:
    return ConvBlock(6, 3, rule, power=0.7, init_radius=2.0, lr=0.05, **changes)


def linear(rule: Rule, **changes: Any) -> LinearBlock:
    return LinearBlock(7, rule, init_radius=2.0, lr=0.03, **changes)


def double(*blocks: Any, **changes: Any) -> Architecture:
    """Its standardisation, once in float64, takes the images there."""
    return Architecture((1, 8, 8), blocks, mean=(0.3,), std=(0.4,), **changes)


def alone(architectures: Architecture | list[Architecture], plan: Learning = PLAN, **changes: Any) -> list[Network]:
    each = architectures if isinstance(architectures, list) else [architectures] * len(SEEDS)
    return [
        learn_images(placed(architecture, seed), IMAGES, plan, seed=seed, **changes)
        for architecture, seed in zip(each, SEEDS, strict=False)
    ]


def together(architectures: Architecture | list[Architecture], plan: Learning = PLAN, **changes: Any) -> list[Network]:
    each = architectures if isinstance(architectures, list) else [architectures] * len(SEEDS)
    networks = [placed(architecture, seed) for architecture, seed in zip(each, SEEDS, strict=False)]
    return learn_ensemble(networks, IMAGES, plan, seeds=SEEDS[: len(each)], **changes)


def placed(architecture: Architecture, seed: int) -> Network:
    network = architecture.build(seed).to(memory_format=torch.channels_last)
    return network if architecture.mean is None else network.double()


def agree(ones: list[Network], others: list[Network], tolerance: float = 1e-9) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        mine, its = state(one), state(other)
        assert mine.keys() == its.keys()
        for name, tensor in mine.items():
            torch.testing.assert_close(
                tensor,
                its[name],
                rtol=tolerance,
                atol=tolerance,
                msg=lambda m, n=name: f"{n}: {m}",  # type: ignore[misc]
            )


def changed(networks: list[Network], architecture: Architecture) -> None:
    """Every weight learned, and no two members are alike."""
    for network, seed in zip(networks, SEEDS, strict=False):
        before = placed(architecture, seed).state_dict()
        assert all(not torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert not torch.equal(*(next(network.parameters()) for network in networks[:2]))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_in_both_kinds_of_layer(rule: Rule):
    architecture = double(conv(rule, pool=Pool("max", 2, 2)), linear(rule))
    found = together(architecture)
    changed(found, architecture)
    agree(found, alone(architecture))


@pytest.mark.parametrize(
    "block",
    [
        conv(SoftHebb(), stride=2, padding=0),
        conv(SoftHebb(), dilation=2, padding_mode="zeros", normalize=False, pool=Pool("avg", 2, 2)),
        replace(conv(SoftHebb(rectify=True)), kernel_size=5, padding_mode="circular", init="uniform"),
        replace(conv(HardHebb(), activation="soft_wta", output_inverse_temperature=3.0), power=1.0),
    ],
)
def test_every_kind_of_convolution(block: ConvBlock):
    architecture = double(block, linear(SoftHebb()))
    agree(together(architecture), alone(architecture))


def test_groups_of_neurons_run_member_after_member():
    architecture = double(conv(SoftHebb()), conv(SoftHebb(2.0), groups=2), feature_pool=2)
    agree(together(architecture), alone(architecture))


@pytest.mark.parametrize("rule", [SoftHebb(5.0, False), HardHebb(), Oja()])
def test_log_priors(rule: Rule):
    block = linear(rule, bias=True, bias_lr=0.05, activation="soft_wta", output_inverse_temperature=2.0)
    architecture = double(replace(block, normalize=False), unit_norm=True)
    found = together(architecture)
    changed(found, architecture)
    agree(found, alone(architecture))


def varied(rules: list[Rule], rates: list[float], bias: bool = False) -> list[Architecture]:
    return [
        double(
            replace(conv(rule), lr=rate),
            replace(linear(rule, bias=bias, activation="soft_wta", output_inverse_temperature=1 + rate), lr=2 * rate),
        )
        for rule, rate in zip(rules, rates, strict=True)
    ]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "rules",
    [
        [SoftHebb(t) for t in (0.5, 2.0, 6.9)],
        [SoftHebb(t, rectify=True) for t in (0.5, 2.0, 6.9)],
        [SoftHebb(1.0), SoftHebb(2.0, anti_hebbian=False), HardHebb()],
    ],
)
def test_members_of_their_own_temperatures_and_rates(rules: list[Rule], bias: bool):
    architectures = varied(rules, [0.01, 0.05, 0.2], bias)
    agree(together(architectures), alone(architectures))


def test_falling_rates():
    plan = replace(PLAN, schedule="cosine", final_lr_fraction=0.1)
    architectures = varied([SoftHebb()] * 3, [0.01, 0.05, 0.2])
    found = together(architectures, plan)
    agree(found, alone(architectures, plan))
    assert not torch.allclose(found[0].block1.layer.weight, together(architectures)[0].block1.layer.weight)


def test_layers_side_by_side_and_one_after_another_agree(monkeypatch: pytest.MonkeyPatch):
    architecture = double(conv(SoftHebb()), conv(SoftHebb(rectify=True)), linear(SoftHebb(), bias=True))
    seen: list[list[str]] = []
    stack = ensemble.stack_ensemble

    def watch(networks: Any, **settings: Any) -> Any:
        stacked = stack(networks, **settings)
        seen.append([name for name, module in stacked.named_modules() if isinstance(module, EnsembleLayer)])
        return stacked

    monkeypatch.setattr(ensemble, "stack_ensemble", watch)
    found = [together(architecture)]
    monkeypatch.setattr(ensemble, "_TOGETHER_BYTES", {"cpu": 10 * 64 * 9 * 8})  # not the second block
    found.append(together(architecture))
    monkeypatch.setattr(ensemble, "_TOGETHER_BYTES", {})
    found.append(together(architecture))
    layers = [f"block{number}.layer" for number in (1, 2, 3)]
    assert seen == [layers, [layers[0], layers[2]], []]
    agree(found[0], found[1])
    agree(found[0], found[2])
    agree(found[2], alone(architecture))


def test_what_is_large(monkeypatch: pytest.MonkeyPatch):
    network = ARCHITECTURE.build(0)
    for least, names in ((0, ["block1.layer", "block2.layer"]), (10 * 64 * 9 * 4, ["block2.layer"]), (1 << 20, [])):
        monkeypatch.setattr(ensemble, "_TOGETHER_BYTES", {"cpu": least})
        assert large_layers(network, (1, 8, 8), 10) == names
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("order", ["joint", "greedy"])
def test_float32_stays_close_for_some_steps(order: Any):
    plan = Learning(batch_size=10, order=order)
    agree(together(ARCHITECTURE, plan), alone(ARCHITECTURE, plan), 1e-4)


def test_bfloat16_stays_near():
    plan = Learning(batch_size=10)
    pairs = zip(
        together(ARCHITECTURE, plan, precision="bfloat16"), alone(ARCHITECTURE, plan, precision="bfloat16"), strict=True
    )
    for one, other in pairs:
        moved = other.block1.layer.weight - 0
        difference = torch.linalg.vector_norm(one.block1.layer.weight - moved)
        assert difference < 0.02 * torch.linalg.vector_norm(moved)


def test_a_single_member_is_a_run_alone():
    architecture = double(conv(SoftHebb()), linear(SoftHebb(rectify=True)))
    agree(together([architecture]), alone([architecture]))


def test_greedy_members_share_the_inputs_that_a_run_alone_has_kept(tmp_path: Path):
    store, plan = Store(tmp_path), Learning(order="greedy", epochs=2)
    first = alone(ARCHITECTURE, plan, store=store, key="digits")
    count = len(store.entries())
    found = together(ARCHITECTURE, plan, store=store, key="digits")
    assert count == len(SEEDS)
    agree(found, first, 1e-4)


def test_each_member_is_a_network_of_its_own_again():
    found = together(ARCHITECTURE)
    assert not any(module.training for network in found for module in network.modules())
    parameters = [parameter for network in found for parameter in network.parameters()]
    assert all(parameter.grad is None for parameter in parameters)
    sizes = {parameter.untyped_storage().nbytes() == 4 * parameter.numel() for parameter in parameters}
    assert sizes == {True}


JOINT, GREEDY = Learning(epochs=2), Learning(order="greedy", batch_size=7, epochs=2)


@pytest.mark.parametrize(("plan", "images"), [(JOINT, 15), (JOINT, 95), (GREEDY, 60), (GREEDY, 170)])
def test_a_stop_costs_nothing(tmp_path: Path, plan: Learning, images: int):
    def checkpoint(folder: str) -> Checkpoint:
        (tmp_path / folder).mkdir(exist_ok=True)
        return Checkpoint(tmp_path / folder, log=Log(tmp_path / folder / "metrics.jsonl"), interval=0.0)

    whole = together(ARCHITECTURE, plan, checkpoint=checkpoint("whole"))
    with pytest.raises(Stop):
        together(ARCHITECTURE, plan, checkpoint=checkpoint("parts"), progress=stop_after(images))
    again = together(ARCHITECTURE, plan, checkpoint=checkpoint("parts"))
    assert all(equal(state(one), state(other)) for one, other in zip(whole, again, strict=True))
    assert untimed(tmp_path / "parts/metrics.jsonl") == untimed(tmp_path / "whole/metrics.jsonl")


def test_the_log_of_each_member_is_that_of_a_run_alone(tmp_path: Path):
    names = [f"seed {seed}: learning" for seed in SEEDS]
    path = tmp_path / "together.jsonl"
    together(ARCHITECTURE, checkpoint=Checkpoint(log=Log(path)), tasks=names)
    lines = read_log(path)
    for network, seed, name in zip(range(3), SEEDS, names, strict=True):
        own = tmp_path / f"{network}.jsonl"
        learn_images(
            placed(ARCHITECTURE, seed), IMAGES, PLAN, seed=seed, checkpoint=Checkpoint(log=Log(own)), task=name
        )
        expected = read_log(own)
        mine = [line for line in lines if line["task"] == name]
        assert [(line["samples"], line["name"]) for line in mine] == [
            (line["samples"], line["name"]) for line in expected
        ]
        for one, other in zip(mine, expected, strict=True):
            assert one["radius_mean"] == pytest.approx(other["radius_mean"], rel=1e-4)
            assert (one["samples_per_second"] is None) == (other["samples_per_second"] is None)


def test_progress_counts_the_images_of_one_member(tmp_path: Path):
    watch = Watch()
    together(ARCHITECTURE, progress=watch)
    assert watch.done() == 2 * len(IMAGES)


def test_what_cannot_learn_side_by_side_says_so():
    networks = [ARCHITECTURE.build(seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="at least one"):
        learn_ensemble([], IMAGES, PLAN)
    with pytest.raises(UserError, match="seeds must be 2"):
        learn_ensemble(networks, IMAGES, PLAN, seeds=[1])
    with pytest.raises(UserError, match="tasks must be 2"):
        learn_ensemble(networks, IMAGES, PLAN, tasks=["one"])
    with pytest.raises(UserError, match="NormAdaptive"):
        learn_ensemble(networks, IMAGES, replace(PLAN, optimizer=AdamW()))
    local = Architecture((1, 8, 8), (SPHeReConvBlock(4, projection=4),))
    with pytest.raises(UserError, match="block1 learns by a local loss"):
        learn_ensemble([local.build(seed) for seed in (0, 1)], IMAGES, PLAN)
    powers = [replace(ARCHITECTURE, blocks=(replace(conv(SoftHebb()), lr_power=power),)) for power in (0.5, 1.0)]
    with pytest.raises(ValueError, match="one lr_power, got 0.5, 1.0"):
        together(powers)
    with pytest.raises(ValueError, match="one shape"):
        together([double(linear(SoftHebb())), double(replace(linear(SoftHebb()), features=8))])
    with pytest.raises(ValueError, match="same blocks"):
        together([double(linear(SoftHebb())), double(linear(SoftHebb()), linear(SoftHebb()))])
