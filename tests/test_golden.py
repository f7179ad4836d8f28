"""The golden vectors are what the references and the library compute, and the files are what the generator makes."""

import json
import re
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from tests.make_golden import CASES, DTYPES, EQUATIONS, FOLDER, NAMES, TOLERANCES, build
from tests.reference import bayes, numbers
from tests.reference import optim as reference
from tests.reference.activation import conv2d, linear
from tests.reference.activation import pad as slow_pad
from tests.reference.competition import along, hard_wta, soft_wta
from tests.reference.plasticity import conv2d_statistic, linear_statistic, plasticity
from torchhebb import functional
from torchhebb.config import from_json
from torchhebb.nn import HebbConv2d, HebbLinear
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import Rule, SoftHebb

BOOK = json.loads((FOLDER / "vectors.json").read_text())
VECTORS = pytest.mark.parametrize("vector", BOOK["vectors"], ids=lambda vector: vector["name"])
DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=list(TOLERANCES))
INPUTS = {"x", "weight", "bias"}


def tensors(vector: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a vector in one dtype, exact ones among them, by name."""
    prefix = f"{str(dtype).removeprefix('torch.')}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(FOLDER / vector["file"]).items()
        if name.startswith(prefix)
    }


def within(actual: Tensor, exact: Tensor, tolerance: float) -> None:
    assert actual.shape == exact.shape
    error = (actual.double() - exact).abs().max() / exact.abs().max()
    assert error <= tolerance, f"relative error {error:.2e}"


def test_the_generator_makes_the_committed_files_bit_for_bit() -> None:
    made = build()
    assert {path.name for path in FOLDER.iterdir()} == made.keys()
    for name, content in made.items():
        assert (FOLDER / name).read_bytes() == content, f"{name}: run python -m tests.make_golden"
    assert sum(map(len, made.values())) < 200_000


def test_the_book_tells_everything_that_is_there() -> None:
    assert {vector["name"] for vector in BOOK["vectors"]} == {case.name for case in CASES}
    assert BOOK["tolerances"].keys() == {str(dtype).removeprefix("torch.") for dtype in DTYPES}
    assert BOOK["names"] == NAMES and BOOK["equations"] == EQUATIONS
    for vector in BOOK["vectors"]:
        for dtype in DTYPES:
            held = tensors(vector, dtype)
            results = vector["shapes"].keys() - INPUTS
            assert held.keys() == vector["shapes"].keys() | {f"exact.{name}" for name in results}
            for name, shape in vector["shapes"].items():
                assert name in NAMES and list(held[name].shape) == shape and held[name].dtype == dtype
            for name in results:
                assert held[f"exact.{name}"].dtype == torch.float64
                assert torch.equal(held[f"exact.{name}"].to(dtype), held[name])
        winners = held["exact.y"].argmax(1) if "bias" in held else held["exact.u"].argmax(1)
        assert len(winners.unique()) >= 4 and vector["winner_margin"] >= 0.02
        radii = held["weight"].double().flatten(1).norm(dim=1)
        assert radii.min() < 0.9 and radii.max() > 1.1


@VECTORS
@DTYPE
def test_the_float64_references_agree(vector: dict[str, Any], dtype: torch.dtype) -> None:
    held = tensors(vector, dtype)
    x, weight = numbers(held["x"]), numbers(held["weight"])
    bias = numbers(held["bias"]) if "bias" in held else None
    rule = vector["rule"]

    def compete(u: Any) -> Any:
        if rule["type"] == "HardHebb":
            return hard_wta(u)
        return soft_wta(u, rule["inverse_temperature"], bias, rule["anti_hebbian"])

    if vector["layer"] == "linear":
        u = linear(x, weight)
        y = along(compete, u)
        statistic = linear_statistic(x, y)
    else:
        sides = (vector["stride"],) * 2
        padded = slow_pad(x, (vector["padding"],) * 2, vector["padding_mode"])
        u = conv2d(padded, weight, sides)
        y = along(compete, u)
        statistic = conv2d_statistic(padded, y, weight.shape[2:], sides)
    decay = (y * u).sum(tuple(axis for axis in range(u.ndim) if axis != 1))
    update = plasticity(statistic, weight)
    found = {"u": u, "y": y, "statistic": statistic, "decay": decay, "update": update}
    found["new_weight"] = reference.step(weight, -update, vector["lr"], vector["power"])
    if bias is not None:
        found["bias_update"] = bayes.log_prior_update(abs(y).mean(0), bias, rule["inverse_temperature"])
        found["new_bias"] = reference.step(bias, -found["bias_update"], vector["lr"])
    assert found.keys() == vector["shapes"].keys() - INPUTS
    for name, value in found.items():
        within(torch.from_numpy(value), held[f"exact.{name}"], 1e-13)


def layer_of(vector: dict[str, Any], held: dict[str, Tensor], memory_format: torch.memory_format) -> Any:
    rule = from_json(Rule, vector["rule"])  # type: ignore[type-abstract]
    out, inside, *kernel = held["weight"].shape
    dtype = held["weight"].dtype
    if kernel:
        geometry = {name: vector[name] for name in ("stride", "padding", "padding_mode")}
        layer: Any = HebbConv2d(inside, out, kernel, rule=rule, dtype=dtype, **geometry)
        layer = layer.to(memory_format=memory_format)
    else:
        layer = HebbLinear(inside, out, rule=rule, bias="bias" in held, dtype=dtype)
    for name in INPUTS & dict(layer.named_parameters()).keys():
        getattr(layer, name).copy_(held[name])
    return layer


@VECTORS
@DTYPE
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_layers_and_optimizer_keep_the_tolerance(
    vector: dict[str, Any], dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    held = tensors(vector, dtype)
    tolerance = TOLERANCES[str(dtype).removeprefix("torch.")]
    layer = layer_of(vector, held, memory_format)
    within(layer.learn(held["x"]), held["exact.u"], tolerance)
    within(-layer.weight.grad * vector["samples"], held["exact.update"], tolerance)
    if "bias" in held:
        within(-layer.bias.grad, held["exact.bias_update"], tolerance)
    NormAdaptiveSGD(layer.parameters(), lr=vector["lr"], power=vector["power"]).step()
    within(layer.weight, held["exact.new_weight"], tolerance)
    if "bias" in held:
        within(layer.bias, held["exact.new_bias"], tolerance)


@VECTORS
@DTYPE
def test_the_functions_keep_the_tolerance(vector: dict[str, Any], dtype: torch.dtype) -> None:
    held = tensors(vector, dtype)
    tolerance = TOLERANCES[str(dtype).removeprefix("torch.")]
    x, weight, bias = held["x"], held["weight"], held.get("bias")
    rule = from_json(Rule, vector["rule"])  # type: ignore[type-abstract]
    y, _ = rule(held["u"], bias)
    within(y, held["exact.y"], tolerance)
    if vector["layer"] == "linear":
        statistic = functional.linear_statistic(x, held["y"])
    else:
        padded = pad(x, (vector["padding"],) * 4, mode="reflect")
        statistic = functional.conv2d_statistic(padded, held["y"], weight.shape[2:], stride=vector["stride"])
    within(statistic, held["exact.statistic"], tolerance)
    within(functional.plasticity(held["statistic"], weight, decay=held["decay"]), held["exact.update"], tolerance)
    new = functional.norm_adaptive_step(weight, held["update"], vector["lr"], vector["power"])
    within(new, held["exact.new_weight"], tolerance)
    if bias is not None:
        assert isinstance(rule, SoftHebb)
        update = functional.log_prior_update(held["y"].abs().mean(0), bias, rule.inverse_temperature)
        within(update, held["exact.bias_update"], tolerance)


@pytest.mark.parametrize(
    "mutant",
    [
        ("y /= y.sum(1, keepdims=True)", "y /= y.sum()"),
        ("dw = y.T @ x - ", "dw = y.T @ x + "),
        ("+ 1e-10) ** power", "+ 1e-10)"),
        ("np.exp(t * (u", "np.exp((u"),
        ("new = device(x,", "new = device(x + 1e-4,"),
    ],
)
def test_the_checker_of_the_page_runs_and_finds_mistakes(
    mutant: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (FOLDER.parent / "docs" / "guides" / "hardware.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(FOLDER.parent)
    right: dict[str, Any] = {}
    exec(compile(code, "hardware.md", "exec"), right)
    assert right["error"] <= TOLERANCES["float32"] and "allowed 2.0e-06" in capsys.readouterr().out
    assert code.count(mutant[0]) == 1
    wrong: dict[str, Any] = {}
    exec(compile(code.replace(*mutant), "hardware.md", "exec"), wrong)
    assert wrong["error"] > TOLERANCES["float32"]


@DTYPE
def test_the_reader_of_the_page_reads_every_tensor(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (FOLDER.parent / "docs" / "guides" / "hardware.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code.partition("def device")[0], "hardware.md", "exec"), names)
    for vector in BOOK["vectors"]:
        raw = (FOLDER / vector["file"]).read_bytes()
        for name, tensor in tensors(vector, dtype).items():
            read = names["read"](raw, f"{str(dtype).removeprefix('torch.')}.{name}")
            assert torch.equal(torch.from_numpy(read.copy()).double(), tensor.double())
