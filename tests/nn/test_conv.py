"""HebbConv2d against one position at a time, and what forward and learn may touch."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import LAW, agree, draw, numbers
from tests.reference import rules as reference
from tests.reference.activation import Pair
from torchhebb.nn import HebbConv2d
from torchhebb.ops.conv_algorithms import ConvAlgorithm, Patches, select_algorithm
from torchhebb.rules import GainShape, HardHebb, Instar, Oja, RankedHebb, Rule, SoftHebb

Both = int | Pair


def pair(value: Both) -> Pair:
    return (value, value) if isinstance(value, int) else value


def layer(
    inputs: int, outputs: int, kernel: Both, *, dtype: torch.dtype = torch.float64, **options: object
) -> HebbConv2d:
    torch.manual_seed(0)
    return HebbConv2d(inputs, outputs, kernel, init_radius=2.0, dtype=dtype, **options)  # type: ignore[arg-type]


def check(
    kernel: Both,
    *,
    stride: Both = 1,
    padding: Both = 0,
    dilation: Both = 1,
    groups: int = 1,
    padding_mode: str = "reflect",
    rule: Rule | None = None,
    learner: reference.Learner | None = None,
    size: Pair = (5, 7),
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
) -> None:
    conv = layer(
        2 * groups, 3 * groups, kernel, dtype=dtype, rule=rule or SoftHebb(1.5), stride=stride, padding=padding,
        dilation=dilation, groups=groups, padding_mode=padding_mode,
    )  # fmt: skip
    x = draw(1, batch, 2 * groups, *size, dtype=dtype)
    output, update, count = reference.conv2d_layer(
        numbers(x), numbers(conv.weight), learner or reference.soft_hebb(1.5), stride=pair(stride),
        padding=pair(padding), dilation=pair(dilation), groups=groups, padding_mode=padding_mode,
    )  # fmt: skip
    agree(conv(x), output, dtype)
    agree(conv.learn(x), output, dtype)
    assert conv.weight.grad is not None
    agree(conv.weight.grad, -update / count, dtype)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2, (1, 2)])
@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), ((3, 2), (2, 1)), (2, (0, 1))])
def test_geometry(kernel: Both, padding: Both, stride: Both, dilation: Both, groups: int):
    check(kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)


@pytest.mark.parametrize("padding_mode", ["reflect", "zeros", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 1, 2, (2, 1), (0, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding(padding_mode: str, padding: Both, stride: int):
    check(3, stride=stride, padding=padding, padding_mode=padding_mode, size=(4, 6))


RULES = [
    (SoftHebb(0.5, anti_hebbian=False), reference.soft_hebb(0.5, anti_hebbian=False)),
    (SoftHebb(0.65, rectify=True), reference.soft_hebb(0.65, rectify=True)),
    (HardHebb(), reference.hard_hebb()),
    (RankedHebb(2, 0.4), reference.ranked_hebb()),
    (GainShape(), reference.gain_shape()),
    (Instar(), reference.instar()),
    (Oja(), reference.oja()),
]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("rule", "learner"), RULES, ids=lambda value: repr(value) if isinstance(value, Rule) else "")
def test_rules(rule: Rule, learner: reference.Learner, groups: int):
    check(3, padding=1, groups=groups, rule=rule, learner=learner)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rectify", [False, True])
def test_low_precision(rectify: bool, dtype: torch.dtype):
    rule = SoftHebb(1.5, anti_hebbian=False, rectify=rectify)  # without a winner's sign, which rounding could move
    learner = reference.soft_hebb(1.5, anti_hebbian=False, rectify=rectify)
    check(3, padding=1, groups=2, rule=rule, learner=learner, batch=1, dtype=dtype)


def test_defaults():
    conv = HebbConv2d(2, 3, 3)
    assert conv.weight.shape == (3, 2, 3, 3)
    assert conv.weight.dtype == torch.get_default_dtype()
    assert conv(torch.zeros(1, 2, 5, 6)).shape == (1, 3, 3, 4)
    assert conv.rule == SoftHebb()
    assert [name for name, _ in conv.named_parameters()] == ["weight"]


@pytest.mark.parametrize("rule", [SoftHebb(0.65, rectify=True), SoftHebb(1.5), HardHebb()])
def test_groups_are_separate_layers(rule: Rule):
    whole = layer(4, 6, 3, padding=1, groups=2, rule=rule)
    x = draw(2, 3, 4, 5, 4)
    output = whole.learn(x)
    for half in range(2):
        part = layer(2, 3, 3, padding=1, rule=rule)
        part.weight.copy_(whole.weight[3 * half : 3 * half + 3])
        agree(part.learn(x[:, 2 * half : 2 * half + 2]), output[:, 3 * half : 3 * half + 3])
        assert whole.weight.grad is not None and part.weight.grad is not None
        agree(whole.weight.grad[3 * half : 3 * half + 3], part.weight.grad)


@pytest.mark.parametrize("rectify", [False, True])
def test_forward_is_pure_and_differentiable_to_its_input(rectify: bool):
    conv = layer(2, 4, 3, padding=1, rule=SoftHebb(rectify=rectify))
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    x = draw(3, 1, 2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(conv, (x,))
    conv(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert not conv.weight.requires_grad
    assert conv.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())


def test_learn_adds_to_grad_and_nothing_else():
    conv = layer(2, 4, 3, padding=1)
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    x = draw(4, 2, 2, 5, 4).requires_grad_()
    output = conv.learn(x)
    assert not output.requires_grad and output.grad_fn is None
    assert x.grad is None
    agree(output, conv(x).detach())
    assert conv.weight.grad is not None and not conv.weight.grad.requires_grad
    first = conv.weight.grad.clone()
    conv.learn(x)
    agree(conv.weight.grad, 2 * first)
    other = draw(5, 2, 2, 5, 4)
    alone = layer(2, 4, 3, padding=1)
    alone.learn(other)
    assert alone.weight.grad is not None
    conv.learn(other)
    agree(conv.weight.grad, 2 * first + alone.weight.grad)
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())


def test_eval_mode_is_forward_only():
    conv = layer(2, 4, 3).eval()
    x = draw(6, 2, 2, 5, 4).requires_grad_()
    output = conv.learn(x)
    agree(output, conv(x).detach())
    assert not output.requires_grad
    assert conv.weight.grad is None


def test_a_gradient_baseline_may_switch_gradients_on():
    conv = layer(2, 4, 3)
    conv.weight.requires_grad_(True)
    x = draw(7, 2, 2, 5, 4)
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    conv.weight.grad = None
    assert not conv.learn(x).requires_grad
    assert conv.weight.grad is not None
    fixed = layer(2, 4, 3)
    fixed.learn(x)
    assert fixed.weight.grad is not None
    agree(conv.weight.grad, fixed.weight.grad)


def test_memory_format_does_not_matter():
    conv = layer(4, 6, 3, padding=1, groups=2)
    x = draw(8, 2, 4, 5, 4)
    conv.learn(x)
    first = conv.weight.grad
    conv.weight.grad = None
    conv.learn(x.contiguous(memory_format=torch.channels_last))
    assert first is not None and conv.weight.grad is not None
    agree(conv.weight.grad, first)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_layer_learns_by_the_fast_algorithms_however_its_weights_lie_in_memory(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
):
    """Learning by hand, from weights as they are made, was several times slower than in a run."""
    taken = []

    def selected(*arguments: Any) -> ConvAlgorithm:
        taken.append(select_algorithm(*arguments))
        return taken[-1]

    monkeypatch.setattr("torchhebb.nn.conv.select_algorithm", selected)
    conv = layer(3, 4, 3, padding=1).to(memory_format=layout)  # type: ignore[call-overload]
    conv.learn(draw(8, 2, 3, 8, 8))
    assert isinstance(taken[0], Patches) and conv.weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_updates_are_in_the_order_of_the_weights(layout: torch.memory_format, batch: int, groups: int):
    """Whatever the batch: workers with other parts of it sum them alike, and keep the same bits."""
    conv = layer(4, 6, 3, padding=1, groups=groups).to(memory_format=layout)  # type: ignore[call-overload]
    for of_x in (torch.contiguous_format, torch.channels_last):
        conv.weight.grad = None
        conv.learn(draw(8, batch, 4, 5, 4).contiguous(memory_format=of_x))
        assert conv.weight.grad is not None and conv.weight.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("groups", [1, 4])
def test_initial_weights(groups: int):
    torch.manual_seed(1)
    weight = HebbConv2d(32, 256, 5, groups=groups, init_radius=3.0).weight
    std = 3.0 / math.sqrt(32 / groups * 25)
    assert abs(weight.mean() / std) < 0.02
    assert weight.std() / std == pytest.approx(1, abs=0.02)
    assert (weight.abs() > 2 * std).float().mean().item() == pytest.approx(0.0455, abs=0.005)  # normal tails
    assert HebbConv2d(8, 512, 5).weight.flatten(1).norm(dim=1).mean().item() == pytest.approx(25, rel=0.02)
    torch.manual_seed(1)
    assert torch.equal(HebbConv2d(32, 256, 5, groups=groups, init_radius=3.0).weight, weight)


@LAW
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_a_duplicated_batch_leaves_the_mean_update_unchanged(seed: int, batch: int):
    x = draw(seed, batch, 2, 5, 4)
    once, twice = layer(2, 3, 3), layer(2, 3, 3)
    once.learn(x)
    twice.learn(torch.cat([x, x]))
    assert once.weight.grad is not None and twice.weight.grad is not None
    agree(twice.weight.grad, once.weight.grad)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("kernel_size", {"kernel_size": -3}),
        ("kernel_size", {"kernel_size": (3, 0)}),
        ("stride", {"stride": 0}),
        ("padding", {"padding": -1}),
        ("dilation", {"dilation": 0}),
        ("groups", {"groups": 3}),
        ("padding_mode", {"padding_mode": "mirror"}),
        ("in_channels", {"in_channels": 0}),
        ("out_channels", {"out_channels": 0}),
        ("init_radius", {"init_radius": -1.0}),
    ],
)
def test_impossible_arguments_are_named(argument: str, options: dict[str, object]):
    with pytest.raises(ValueError, match=argument):
        HebbConv2d(**({"in_channels": 4, "out_channels": 4, "kernel_size": 3} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 8, 8), (1, 2, 2, 8)])
def test_impossible_inputs_are_named(shape: tuple[int, ...]):
    conv = layer(2, 3, 3)
    for call in (conv, conv.learn):
        with pytest.raises(ValueError, match=r"x .*got"):
            call(torch.zeros(shape, dtype=torch.float64))
