"""Golden vectors: one step of learning on given numbers, for whoever builds it anew, in hardware say.

    python -m tests.make_golden           write golden/ at the root of the repository

Inputs are rounded to a dtype first; what follows from them is computed in 50 digits by tests/reference/exact.py and
kept twice: rounded to float64 (`exact.NAME`), and that rounded to the dtype (`NAME`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from tests.reference import exact
from torchhebb.config import to_json
from torchhebb.rules import HardHebb, Rule, SoftHebb

FOLDER = Path(__file__).resolve().parent.parent / "golden"
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
TOLERANCES = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 2e-2}
MARGIN = 0.02

NAMES = {
    "x": "input: (samples, in), or (images, in, height, width)",
    "weight": "w, the weights before the step: (out, in), or (out, in, kernel height, kernel width)",
    "bias": "b, the log prior of each neuron before the step: (out,)",
    "u": "pre-activation, the bias apart: (samples, out), or (images, out, height, width)",
    "y": "activity after the competition, shaped as u",
    "statistic": "S, a sum over samples and positions, shaped as weight",
    "decay": "d, one a neuron: (out,)",
    "update": "dw, a sum over samples and positions, shaped as weight",
    "new_weight": "the weights after the norm-adaptive step",
    "bias_update": "db: (out,)",
    "new_bias": "the bias after its step",
}
EQUATIONS = {
    "u": "u_k = sum over inputs i of w_ki x_i; in a convolution over the channels and taps of the kernel, the image "
    "reflected at its border without repeating the edge, and every position of the map is a sample",
    "y of SoftHebb": "y_k = exp(t (u_k + b_k)) / sum over neurons l of exp(t (u_l + b_l)), t the inverse temperature, "
    "b zero without a bias; where anti_hebbian, y_k of every neuron but that of the largest u + b changes its sign",
    "y of HardHebb": "1 for the neuron of the largest u, 0 for the others",
    "statistic": "S_ki = sum over samples and positions of y_k x_i",
    "decay": "d_k = sum over samples and positions of y_k u_k",
    "update": "dw_ki = S_ki - d_k w_ki",
    "new_weight": "w_ki + lr (| ||w_k|| - 1 | + 1e-10)^power dw_ki / (largest |dw| of the layer), ||w_k|| the root of "
    "the sum of the neuron's squared weights",
    "bias_update": "db_k = (mean over samples of |y_k|) exp(-t b_k) - 1",
    "new_bias": "b_k + lr db_k / max(1, largest |db|)",
}


@dataclass(frozen=True)
class Case:
    """One layer on one batch; `kernel` 0 is a linear layer."""

    name: str
    rule: Rule
    seed: int  # one at which most neurons win somewhere, each ahead by MARGIN, so that rounding changes no winner
    bias: bool = False
    kernel: int = 0
    stride: int = 1
    padding: int = 0
    lr: float = 0.125
    power: float = 0.5

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and weight."""
        if self.kernel:
            return {"x": (2, 2, 5, 5), "weight": (4, 2, self.kernel, self.kernel)}
        return {"x": (6, 10), "weight": (5, 10)}


CASES = (
    Case("linear_soft", SoftHebb(4.0, anti_hebbian=False), seed=6),
    Case("linear_soft_bias", SoftHebb(2.0, anti_hebbian=False), seed=12, bias=True, power=0.2),
    Case("linear_anti_hebbian", SoftHebb(1.0), seed=6),
    Case("linear_hard", HardHebb(), seed=6),
    Case("conv_soft", SoftHebb(2.0, anti_hebbian=False), seed=11, kernel=2, stride=2, padding=1, power=0.75),
    Case("conv_anti_hebbian", SoftHebb(1.0), seed=16, kernel=3, padding=1),
    Case("conv_hard", HardHebb(), seed=16, kernel=3, stride=2, padding=1),
)


def inputs(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """x in [-1, 1), weights of radii below and above 1, a bias in (-1, 0], rounded to the dtype."""
    random = np.random.RandomState(case.seed)  # numpy promises this generator's stream for all versions
    x, weight = (random.random_sample(shape) for shape in case.shapes.values())
    neurons = len(weight)
    strength = (0.25 + np.arange(neurons) / neurons).reshape(-1, *[1] * (weight.ndim - 1))
    drawn = {"x": 2 * x - 1, "weight": (2 * weight - 1) * strength}
    if case.bias:
        drawn["bias"] = -random.random_sample(neurons)
    return {name: torch.from_numpy(value).to(dtype) for name, value in drawn.items()}


def answer(case: Case, given: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """Every result of the step in float64, and the winner's margin."""
    x, weight, bias = (given[name].double().numpy() if name in given else None for name in ("x", "weight", "bias"))
    assert x is not None and weight is not None
    samples = exact.patches(x, (case.kernel, case.kernel), case.stride, case.padding) if case.kernel else x
    rule = case.rule
    soft = isinstance(rule, SoftHebb)
    step = exact.step(
        samples,
        weight.reshape(len(weight), -1),
        bias,
        inverse_temperature=rule.inverse_temperature if soft else None,  # type: ignore[attr-defined]
        anti_hebbian=soft and rule.anti_hebbian,  # type: ignore[attr-defined]
        lr=case.lr,
        power=case.power,
    )
    return {name: _shaped(name, value, case, len(x)) for name, value in step.tensors().items()}, step.winner_margin


def build() -> dict[str, bytes]:
    """The files of the folder by name."""
    files: dict[str, bytes] = {}
    vectors = []
    for case in CASES:
        tensors: dict[str, Tensor] = {}
        margins = []
        for dtype in DTYPES:
            given = inputs(case, dtype)
            results, margin = answer(case, given)
            word = str(dtype).removeprefix("torch.")
            tensors |= {f"{word}.{name}": value for name, value in given.items()}
            tensors |= {f"{word}.{name}": value.to(dtype, copy=True) for name, value in results.items()}
            tensors |= {f"{word}.exact.{name}": value for name, value in results.items()}
            margins.append(margin)
        if min(margins) < MARGIN:
            raise ValueError(f"seed of {case.name} must leave a margin of {MARGIN}, got {min(margins):.4f}")
        shapes = {name: list(value.shape) for name, value in (given | results).items()}
        files[f"{case.name}.safetensors"] = save(tensors)
        vectors.append(_describe(case, shapes, len(results["u"].movedim(1, -1).flatten(0, -2)), min(margins)))
    book = {
        "about": " ".join((__doc__ or "").split("\n\n")[2].split()),
        "names": NAMES,
        "equations": EQUATIONS,
        "tolerances": TOLERANCES,
        "tolerance": "of float arithmetic: |yours - exact| at most this times the largest |exact| of the tensor",
        "vectors": vectors,
    }
    files["vectors.json"] = (json.dumps(book, indent=1) + "\n").encode()
    return files


def _shaped(name: str, value: NDArray[np.float64], case: Case, images: int) -> Tensor:
    tensor = torch.from_numpy(value)
    if not case.kernel or value.ndim == 1:
        return tensor
    if name in ("u", "y"):
        side = round((len(value) / images) ** 0.5)
        return tensor.unflatten(0, (images, side, side)).permute(0, 3, 1, 2).contiguous()
    return tensor.unflatten(1, case.shapes["weight"][1:])


def _describe(case: Case, shapes: dict[str, list[int]], samples: int, margin: float) -> dict[str, Any]:
    layer = "conv2d" if case.kernel else "linear"
    geometry = {"stride": case.stride, "padding": case.padding, "padding_mode": "reflect"} if case.kernel else {}
    return {
        "name": case.name,
        "file": f"{case.name}.safetensors",
        "layer": layer,
        "rule": to_json(case.rule),
        **geometry,
        "lr": case.lr,
        "power": case.power,
        "samples": samples,
        "winner_margin": round(margin, 4),
        "shapes": shapes,
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in build().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
