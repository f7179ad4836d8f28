"""Weights that are kept at few bits stay on their grid at every step, and the run is what many bits lead back to."""

import statistics

import pytest
import torch
from torch import Tensor

from tests.tiny import digits, network
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.quantized import kept_quantized, quantize_weights
from torchhebb.evaluate.questions.low_precision import LowPrecision
from torchhebb.functional.quantize import power_of_two_scale, quantize
from torchhebb.nn import Network, learn
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.train import Curve, Learning, Result
from torchhebb.train.learn import learn_images

QUESTION = LowPrecision(bits=(24, 3))


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(QUESTION, run)


def weights(network: Network) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters() if weight.dim() > 1]


def on_grid(network: Network, bits: int, per: str = "neuron") -> bool:
    return all(
        torch.equal(quantize(weight, bits, scale=power_of_two_scale(weight, bits, per=per)), weight)  # type: ignore[arg-type]
        for weight in weights(network)
    )


@pytest.fixture(scope="module")
def networks(run: Run) -> dict[tuple[str, int], Network]:
    """The networks of the first seed by method and bits."""
    return {(m, bits): QUESTION.network(run, 0, m, bits) for m in QUESTION.methods for bits in QUESTION.bits}


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("scale", ["neuron", "layer"])
def test_weights_are_on_their_grid_before_and_after_every_step(rounding: str, scale: str) -> None:
    net = network().train()
    optimizer = NormAdaptiveSGD(net.learning_groups())
    images = digits(40).images / 255.0
    generator = torch.Generator().manual_seed(0)
    assert not on_grid(net, 6, scale)
    before = weights(net)
    with kept_quantized(net, 6, scale=scale, rounding=rounding, generator=generator):
        first = weights(net)
        for x in images.split(10):
            assert on_grid(net, 6, scale)
            learn(net, x)
            optimizer.step()
            optimizer.zero_grad()
        assert on_grid(net, 6, scale)
    for start, rounded in zip(before, first, strict=True):
        level = power_of_two_scale(start, 6, per=scale)  # type: ignore[arg-type]
        assert ((rounded - start).abs() <= level * (0.5 if rounding == "nearest" else 1)).all()
    assert any(not torch.equal(a, b) for a, b in zip(first, weights(net), strict=True))
    learn(net, images)
    optimizer.step()
    assert not on_grid(net, 6, scale)  # the context is over


def test_only_steps_on_the_own_weights_round() -> None:
    net, other = network(), network(1).train()
    with kept_quantized(net, 4):
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(1e-3)
        moved = weights(net)
        learn(other, digits(10).images / 255.0)
        NormAdaptiveSGD(other.learning_groups()).step()
        assert all(torch.equal(a, b) for a, b in zip(moved, weights(net), strict=True))
        assert not on_grid(other, 4)


def test_biases_stay() -> None:
    net = network()
    net.register_parameter("bias", torch.nn.Parameter(torch.tensor([0.123, 4.567])))
    quantize_weights(net, 2)
    assert torch.equal(net.bias, torch.tensor([0.123, 4.567])) and on_grid(net, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["joint", "greedy", "pipeline"])
def test_the_loop_of_training_learns_with_few_bits_in_every_order(order: str) -> None:
    plan = Learning(batch_size=20, order=order)  # type: ignore[arg-type]
    net, images = network(), digits(200)
    with kept_quantized(net, 8, rounding="stochastic", generator=torch.Generator().manual_seed(1)):
        start = weights(net)
        learn_images(net, images, plan)
    assert on_grid(net, 8)
    assert all(not torch.equal(a, b) for a, b in zip(start, weights(net), strict=True))


def test_many_bits_are_the_run_and_few_are_not(answer: Result, run: Run) -> None:
    own = run.result.measure("test_accuracy")
    assert answer.measure("test_accuracy").values == own.values and answer.measure("test_accuracy").published == 97.0
    for method in QUESTION.methods:
        many, few = (answer.measure(f"{method}_{bits}_bits_test_accuracy") for bits in (24, 3))
        assert len(many.values) == len(few.values) == 2 and many.values != few.values
        assert many.mean == pytest.approx(own.mean, abs=1.5)
        assert few.interval is not None and few.interval[0] < few.mean < few.interval[1]


def test_networks_have_their_bits(networks: dict[tuple[str, int], Network], run: Run) -> None:
    def flat(net: Network) -> Tensor:
        return torch.cat([weight.flatten() for weight in weights(net)])

    ideal = flat(run.network(0))
    for (_, bits), net in networks.items():
        assert on_grid(net, bits) and not net.training
        far = (flat(net) - ideal).norm() / ideal.norm()
        assert far < 0.02 if bits == 24 else far > 0.1
    for weight, rounded in zip(weights(run.network(0)), weights(networks["afterwards", 3]), strict=True):
        assert torch.equal(quantize(weight, 3, scale=power_of_two_scale(weight, 3)), rounded)


def test_curves_lead_from_few_bits_to_the_run(answer: Result, run: Run) -> None:
    def curve(name: str) -> Curve:
        return next(curve for curve in answer.curves if curve.name == name)

    for method in QUESTION.methods:
        line = curve(method)
        assert line.x == (3.0, 24.0, 32.0) and line.std is not None
        measured = [answer.measure(f"{method}_{bits}_bits_test_accuracy").mean for bits in (3, 24)]
        assert line.y == pytest.approx((*measured, run.result.measure("test_accuracy").mean))
        radii = curve(f"{method} block2 radius")
        ideal = [
            run.network(seed).get_submodule("block2.layer").weight.flatten(1).norm(dim=1).mean().item()
            for seed in run.seeds
        ]  # type: ignore[union-attr, operator]
        assert radii.y[-1] == pytest.approx(statistics.fmean(ideal), rel=1e-5)
    assert len(answer.curves) == 3 * 3
    assert (run.folder / "low_precision-bits.svg").exists()


def test_nearest_rounding_swallows_the_small_steps(networks: dict[tuple[str, int], Network], run: Run) -> None:
    """Most steps of the second layer lie below half a level of 3 bits."""
    start = run.recipe.architecture.build(0)
    quantize_weights(start, 3)
    moved = {
        method: (weights(networks[method, 3])[1] != weights(start)[1]).double().mean().item()
        for method in ("nearest", "stochastic")
    }
    assert moved["nearest"] < 0.5 * moved["stochastic"]


def test_what_was_learned_is_not_learned_again(answer: Result, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.low_precision.learn_run", None)
    again = evaluate(LowPrecision(bits=(3,), methods=("nearest",)), run)
    name = "nearest_3_bits_test_accuracy"
    assert again.measure(name).values == answer.measure(name).values
    with pytest.raises(TypeError):  # another scale is another network
        evaluate(LowPrecision(bits=(3,), methods=("nearest",), scale="layer"), run)


def test_draws_follow_from_the_seed(networks: dict[tuple[str, int], Network], run: Run) -> None:
    again = QUESTION.network(run, 0, "stochastic", 3)
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(networks["stochastic", 3]), strict=True))
    coarse = LowPrecision(scale="layer").network(run, 0, "stochastic", 3)
    assert on_grid(coarse, 3, "layer")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": (8, 1)}, r"bits must be numbers from 2 to 24, got \(8, 1\)"),
        ({"bits": ()}, "bits must be numbers from 2 to 24"),
        ({"bits": (32,)}, "bits must be numbers from 2 to 24"),
        ({"methods": ("down",)}, "methods must be among nearest, stochastic, afterwards, got"),
        ({"methods": ()}, "methods must be different from each other, one at least"),
        ({"scale": "image"}, "scale must be one of neuron, layer, got 'image'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, run: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(LowPrecision(**settings).run(run))  # type: ignore[arg-type]
