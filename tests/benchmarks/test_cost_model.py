"""The cost model counts what torch counts, and its parts behave as their equations say."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import FOLDER
from tests.reference import draw
from torchhebb.nn import Architecture, ConvBlock, Pool

BLOCKS = (
    ConvBlock(5, 5, pool=Pool("max", 4, 2, 1)),
    ConvBlock(40, 3, pool=Pool("avg", 2, 2)),
    ConvBlock(48, 3, stride=2, padding=0),
)
ARCHITECTURE = Architecture((3, 24, 20), BLOCKS)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from benchmarks import cost_model

    return cost_model


def test_operations_are_those_that_torch_counts(model):
    network = ARCHITECTURE.build().eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        for parameter in network.parameters():
            parameter.requires_grad_(True)  # as a plain convolution
        with torch.enable_grad():
            network(draw(0, 1, 3, 24, 20, dtype=torch.float32))
    assert sum(layer.operations for layer in model.layers_of(ARCHITECTURE)) == counter.get_total_flops()


def test_sizes_follow_the_network(model):
    layers = model.layers_of(ARCHITECTURE)
    weights = [p.numel() for p in ARCHITECTURE.build().parameters()]
    assert [layer.weights for layer in layers] == weights
    assert [layer.side for layer in layers] == [(24, 20), (12, 10), (2, 2)]
    assert [(layer.inputs, layer.outputs) for layer in layers] == [(1440, 2400), (600, 4800), (1200, 192)]


def test_parts_of_a_step(model):
    machine = model.Machine("test", 1e9, 1e9)
    one, two = (model.step_cost(ARCHITECTURE, batch, machine) for batch in (10, 20))
    assert math.isclose(two.arithmetic, 2 * one.arithmetic)
    operations = sum(layer.operations for layer in model.layers_of(ARCHITECTURE))
    assert math.isclose(one.arithmetic, 2 * 10 * operations / 1e9)
    weights = 4 * model.W_PASSES * sum(layer.weights for layer in model.layers_of(ARCHITECTURE)) / 1e9
    assert math.isclose(two.memory - weights, 2 * (one.memory - weights))
    assert one.communication == 0 and one.seconds == one.arithmetic + one.memory
    assert model.Cost(1.0, 3.0, 2.0).bottleneck == "memory"


def test_the_slowest_link_of_a_ring_decides(model):
    machine = model.Machine("test", 1.0, 1.0, link=100.0, network=10.0, per_node=4)
    assert model.ring(1000.0, 4, machine) == 2 * 3 / 4 * 1000 / 100
    assert model.ring(1000.0, 8, machine) == 2 * 7 / 8 * 1000 / 10


def test_winograd_leaves_a_quarter_where_tiles_fit(model):
    wide = model.layers_of(Architecture((32, 8, 8), (ConvBlock(64, 3),)))[0]
    assert wide.share(10) == 36 / (9 * 16) and wide.share(1) == 1.0
    assert [layer.share(100) for layer in model.layers_of(ARCHITECTURE)] == [1.0, 1.0, 1.0]


def test_imagenet(model):
    rows = model.predictions()
    assert [row[0] for row in rows[1:]] == ["1", "2", "4", "8", "16", "32", "64"]
    assert sum(layer.weights for layer in model.layers_of(model.imagenet())) == 362_385_936
    assert rows[1][5] != "communication" and rows[-1][5] == "communication"


def test_grouped_blocks_are_refused(model):
    with pytest.raises(ValueError, match="dense ConvBlocks"):
        model.layers_of(Architecture((4, 8, 8), (ConvBlock(4, 3, groups=2),)))
