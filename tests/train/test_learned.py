"""What learning changed: the weights before it are found again exactly, and little change is said."""

import pytest
import torch

from tests.tiny import digits
from torchhebb.nn import Architecture, ConvBlock, WhitenedBlock
from torchhebb.train import Learning
from torchhebb.train.diagnostics import plastic_layers
from torchhebb.train.learn import learn_images
from torchhebb.train.learned import LayerChange, initial_weights, layer_changes, nothing_learned

WHITENED = Architecture((1, 8, 8), (WhitenedBlock(8, 3), WhitenedBlock(6, 3)))
PLAIN = Architecture((1, 8, 8), (ConvBlock(4, 3, init_radius=2.0), ConvBlock(6, 3)))


@pytest.mark.parametrize("architecture", [WHITENED, PLAIN])
@pytest.mark.parametrize(
    "plan", [Learning(order="greedy"), Learning(order="greedy", epochs=2), Learning(order="joint")]
)
def test_the_weights_before_learning_are_found_again(architecture: Architecture, plan: Learning):
    images = digits(60)
    still = architecture.with_blocks(lambda block: block.with_settings(lr=0.0))
    # At a rate of zero the weights after learning are those before it.
    network = learn_images(still.build(3), images, plan, seed=3)
    found = initial_weights(network, images, plan, 3)
    assert found.keys() == plastic_layers(network).keys()
    for name, layer in plastic_layers(network).items():
        assert torch.allclose(found[name], layer.weight.flatten(1), atol=1e-4), name
    assert all(change.turned < 0.1 for change in layer_changes(network, found))


def test_learning_turns_weights():
    images = digits(200)
    network = learn_images(WHITENED.build(0), images, Learning(order="greedy", epochs=3), seed=0)
    changes = layer_changes(network, initial_weights(network, images, Learning(order="greedy", epochs=3), 0))
    assert [change.name for change in changes] == ["block1.layer", "block2.layer"]
    assert all(change.turned > 5 for change in changes) and nothing_learned(changes) is None


@pytest.mark.parametrize(
    ("change", "accuracies", "words"),
    [
        (LayerChange("b", 4.9, 1.0), (), "turned by 4.9 degrees"),
        (LayerChange("b", 40.0, 3.0), (), "the radii of b are 3.0"),
        (
            LayerChange("b", 40.0, 1.0),
            (60.0, 60.0),
            "the features reach 60.0 % on held-out images, random weights 60.0 %",
        ),
        (LayerChange("b", 40.0, 1.4), (61.0, 60.0), None),
    ],
)
def test_little_learning_is_one_line_with_advice(change: LayerChange, accuracies: tuple, words: str | None):
    said = nothing_learned([change], dict(zip(("test_accuracy", "random_test_accuracy"), accuracies, strict=False)))
    if words is None:
        assert said is None
    else:
        assert said is not None and words in said and "; try " in said and "\n" not in said
