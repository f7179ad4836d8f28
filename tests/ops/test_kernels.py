"""Compiled chains give what the papers' equations say, and nothing is compiled unasked."""

import copy
import re
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit

from tests.reference import TOLERANCE, agree, draw, numbers
from tests.reference import rules as reference
from tests.reference.competition import along
from tests.reference.optim import step as reference_step
from torchhebb.errors import UserError
from torchhebb.functional.form import in_kernel, widened
from torchhebb.nn import BatchNorm, HebbConv2d, HebbLinear, SoftWTA, Triangle, learn
from torchhebb.nn.ensemble import EnsembleLayer
from torchhebb.nn.plastic import compete, compete_in_groups
from torchhebb.ops.kernels import compiled_kernels, kernel
from torchhebb.ops.linear_step import LinearStep
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import GainShape, HardHebb, Instar, Oja, RankedHebb, Rule, SoftHebb
from torchhebb.train.compiled import cpp_compiler

compiles = pytest.mark.skipif(shutil.which(cpp_compiler()) is None, reason="Inductor needs a C++ compiler")

FLAT, MAPS = (7, 5), (2, 33, 3, 4)
RULES = [
    (SoftHebb(0.7, rectify=True), reference.soft_hebb(0.7, rectify=True)),
    (SoftHebb(3.0, anti_hebbian=False), reference.soft_hebb(3.0, anti_hebbian=False)),
    (HardHebb(), reference.hard_hebb()),
    (RankedHebb(), reference.ranked_hebb()),
    (Oja(), reference.oja()),
    (GainShape(), reference.gain_shape()),
    (Instar(), reference.instar()),
]
# Every rule, and the one that networks learn by in all shapes and precisions: a case takes seconds of compiling.
CASES: list[tuple[Rule, reference.Learner, tuple[int, ...], torch.dtype]]
CASES = [(*rule, MAPS, torch.float64) for rule in RULES]
CASES += [(SoftHebb(), reference.soft_hebb(), shape, dtype) for shape in (FLAT, MAPS) for dtype in TOLERANCE]


def test_nothing_is_compiled_unasked(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", refuse)
    compete(SoftHebb(), draw(0, 3, 4))
    doubled = kernel(lambda x: 2 * x)
    assert doubled(1) == 2
    with compiled_kernels(), pytest.raises(AssertionError, match="compiled"):
        doubled(1)
    assert doubled(2) == 4


def test_what_cannot_be_compiled_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise BackendCompilerFailed(broken, RuntimeError("Python.h: No such file\nand much more"), None)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    line = "^tripled cannot be compiled here: Python.h: No such file; do without, by --no-compile$"
    with compiled_kernels(), pytest.raises(UserError, match=line):
        tripled(draw(0, 3))


@kernel
def tripled(x: Tensor) -> Tensor:
    return 3 * x


@kernel
def half(x: Tensor) -> Tensor:
    return x / 2


def test_a_kernel_keeps_its_name_and_its_words():
    assert compete.__name__ == "compete" and compete.__doc__


@compiles
@pytest.mark.parametrize(
    ("rule", "learner", "shape", "dtype"), CASES, ids=lambda value: re.sub(r" at 0x\w+", "", str(value))
)
def test_competition(rule: Rule, learner: reference.Learner, shape: tuple[int, ...], dtype: torch.dtype):
    """Against the papers' equations in float64, not against the eager way."""
    u = 4 * draw(0, *shape, dtype=dtype)
    if u.dim() == 4:
        u = u.contiguous(memory_format=torch.channels_last)
    with compiled_kernels():
        compiled, decay = compete(rule, u)
    output = along(learner.output, numbers(u))
    activity = along(learner.compete, output)
    forgotten = np.moveaxis(learner.forgets(activity, output), 1, 0).reshape(shape[1], -1).sum(1)
    agree(compiled, activity, dtype)
    assert decay.dtype == widened(dtype)
    agree(decay.to(dtype), forgotten, dtype)


@compiles
def test_a_kernel_knows_that_it_is_one():
    def asked(x: Tensor) -> Tensor:
        return x + 1 if in_kernel() else x

    x = draw(0, 3)
    assert torch.equal(asked(x), x)
    with compiled_kernels():
        assert torch.equal(asked(x), x) and torch.equal(kernel(asked)(x), x + 1)
        rule = SoftHebb()
        whole = torch.compile(lambda u: compete(rule, u)[0], fullgraph=True, backend="eager")
        agree(whole(x[None]), numbers(compete(rule, x[None])[0]))


@compiles
def test_groups_and_a_bias():
    u, bias = draw(1, 3, 8), draw(2, 4)

    def both() -> list[Tensor]:
        return [*compete_in_groups(SoftHebb(), u, 2), *compete(SoftHebb(), u[:, :4], bias)]

    eager = both()
    with compiled_kernels():
        compiled = both()
    for value, other in zip(eager, compiled, strict=True):
        agree(other, numbers(value))


@compiles
def test_the_first_of_equals_wins():
    u = torch.tensor([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [-torch.inf, 0.0, -torch.inf, 0.0]])
    with compiled_kernels():
        y, _ = compete(SoftHebb(), u)
    assert y.gt(0).tolist() == [[False, True, False, False], [True, False, False, False], [False, True, False, False]]
    agree(y, numbers(compete(SoftHebb(), u)[0]), torch.float32)


@compiles
def test_outside_of_kernels_the_competition_is_what_it_was():
    """In a user's own compiled code, whatever was compiled before, and in an exported program."""
    with compiled_kernels():
        compete(SoftHebb(), draw(0, 4, 6))

    rule = SoftHebb()

    def both(u: Tensor) -> Tensor:
        return compete(rule, u)[0]

    theirs = torch.compile(both, dynamic=True, fullgraph=True, backend="eager")
    for neurons in (5, 8):
        assert torch.equal(theirs(draw(1, 3, neurons)), both(draw(1, 3, neurons)))
    program = torch.export.export(SoftWTA(2.0), (draw(2, 3, 5),))
    assert any("softmax" in str(node.target) for node in program.graph.nodes)


@compiles
def test_under_autocast():
    u = 4 * draw(0, 6, 20, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        activity, decay = compete(SoftHebb(), u)
        with compiled_kernels():
            compiled = compete(SoftHebb(), u)
    agree(compiled[0], numbers(activity), torch.float32)
    agree(compiled[1], numbers(decay), torch.float32)


@compiles
@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (1.0, 0.5)], ids=str)
def test_members(temperatures: tuple[float, ...]):
    """By one rule for all, on inputs scaled where temperatures differ; and each at its own rate."""
    found = []
    for context in (nullcontext, compiled_kernels):
        layers = [HebbLinear(6, 5, rule=SoftHebb(t), dtype=torch.float64) for t in temperatures]
        for number, layer in enumerate(layers):
            layer.reset_parameters(torch.Generator().manual_seed(number))
        stacked = EnsembleLayer(layers)
        lr = torch.tensor([0.1, 0.02], dtype=torch.float64).repeat_interleave(5)
        optimizer = NormAdaptiveSGD([{"params": [stacked.weight], "groups": 2}], lr=0.1)
        optimizer.param_groups[0]["lr"] = lr
        with context():
            stacked.learn(draw(3, 2 * 4, 6))
            optimizer.step()
        found.append(stacked.weight)
    agree(found[1], numbers(found[0]))


@compiles
def test_more_shapes_than_are_kept_end_in_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torchhebb.ops.kernels._SHAPES", 1)
    with compiled_kernels():
        half(draw(0, 3))
        with pytest.raises(FailOnRecompileLimitHit):
            half(draw(0, 4))


@compiles
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_steps_with_falling_rates_are_compiled_once(dtype: torch.dtype):
    weight = torch.nn.Parameter(draw(3, 6, 2, 3, 3, dtype=dtype), requires_grad=False)
    optimizer = NormAdaptiveSGD([weight], 0.1, groups=2)
    for lr in (0.1, 0.07, 0.03):
        before = numbers(weight).copy()
        optimizer.param_groups[0]["lr"] = lr
        weight.grad = draw(4, 6, 2, 3, 3, dtype=dtype)
        with compiled_kernels(), torch._dynamo.config.patch(error_on_recompile=lr < 0.1):
            optimizer.step()
        agree(weight, reference_step(before, numbers(weight.grad), lr, groups=2), dtype)


@compiles
def test_fused_steps_with_falling_rates_are_compiled_once():
    step = LinearStep(draw(0, 4, 3))
    for lr in (0.1, 0.07, 0.03):
        with compiled_kernels(), torch._dynamo.config.patch(error_on_recompile=lr < 0.1):
            step(draw(1, 2, 3), draw(2, 2, 4), draw(3, 4), lr=lr, power=0.5)


@compiles
def test_steps_of_a_network():
    def layers() -> torch.nn.Sequential:
        first = HebbConv2d(3, 8, 3, padding=1)
        return torch.nn.Sequential(BatchNorm(3), first, Triangle(), torch.nn.Flatten(), HebbLinear(8 * 36, 5)).double()

    eager = layers()
    compiled = copy.deepcopy(eager)

    def steps(network: torch.nn.Sequential) -> list[Tensor]:
        optimizer = NormAdaptiveSGD(network.parameters(), lr=0.02)
        for number in range(3):
            learn(network, draw(5 + number, 4, 3, 6, 6))
            optimizer.step()
            optimizer.zero_grad()
        return list(network.parameters())

    before = numbers(eager[1].weight).copy()
    expected = steps(eager)
    with compiled_kernels():
        found = steps(compiled)
    for value, other in zip(expected, found, strict=True):
        agree(other, numbers(value))
    assert abs(numbers(eager[1].weight) - before).max() > 1e-3
