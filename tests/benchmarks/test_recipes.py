"""The benchmark of recipes: which methods a recipe has, where weights start, and the row that it becomes."""

import sys

import pytest
import torch

from benchmarks.harness import FOLDER, compare

sys.path.insert(0, str(FOLDER))

from benchmarks.bench_recipes import METHODS, RECIPES, make_step, started, summary
from torchhebb.recipes import get_recipe
from torchhebb.train.diagnostics import plastic_layers, radii

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("softhebb2022-digits", METHODS),
        ("softhebb2023-digits", METHODS),
        ("sphere2025-digits", ("torchhebb", "torchhebb bfloat16", "backpropagation")),
    ],
)
def test_a_recipe_has_the_methods_that_fit_its_blocks(name: str, methods: tuple[str, ...]) -> None:
    steps = {method: make_step(name, method, CPU) for method in METHODS}
    assert tuple(method for method, step in steps.items() if step is not None) == methods
    for step in steps.values():
        if step is not None:
            step()


def test_whitened_blocks_have_no_other_method() -> None:
    for method in METHODS[2:]:
        assert make_step("softhebb2023-cifar10-best", method, CPU) is None


def test_layers_start_at_the_same_mean_radius() -> None:
    recipe = get_recipe("softhebb2023-digits")
    network = started(recipe.architecture.build(), recipe.architecture.input_shape, CPU)
    assert [radii(layer).mean().item() for layer in plastic_layers(network).values()] == pytest.approx([2.0, 2.0])


def test_every_recipe_measured_exists_once() -> None:
    assert len({*RECIPES}) == len(RECIPES)
    for name in RECIPES:
        assert get_recipe(name).name == name


def test_a_row_says_what_was_measured_and_leaves_out_what_was_not() -> None:
    full, lone = "softhebb2023-digits", "softhebb2023-cifar10-best"
    samples = {f"{full}: torchhebb": (2.0, 2.0), f"{full}: plain": (4.0, 4.0), f"{full}: backpropagation": (8.0, 8.0)}
    ratios = [compare(samples, f"{full}: torchhebb", f"{full}: {other}") for other in METHODS[2:]]
    samples[f"{lone}: torchhebb"] = (100.0, 100.0)
    memory = {f"{full}: torchhebb": 12.3, f"{full}: backpropagation": 4.0, f"{lone}: torchhebb": 7.0}
    header, first, second = summary((full, lone), samples, ratios, memory)
    assert dict(zip(header, first, strict=True)) == {
        "recipe": full,
        "batch": "10",
        "torchhebb, ms": "2.0",
        "torchhebb bfloat16, ms": "",
        "plain, ms": "4.0",
        "backpropagation, ms": "8.0",
        "torchhebb of plain": "0.50 [0.50, 0.50]",
        "torchhebb bfloat16 of plain": "",
        "torchhebb of backpropagation": "0.25 [0.25, 0.25]",
        "torchhebb bfloat16 of backpropagation": "",
        "images/s": "5000",
        "peak, MiB": "12 / - / - / 4",
        "time, memory": "PASS, FAIL",
    }
    assert second == (lone, "10", "100.0", *[""] * 7, "100", "7 / - / - / -", "")
