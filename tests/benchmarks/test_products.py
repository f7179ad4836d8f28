"""The benchmark of products of few bits: its variants compute the same."""

import sys

import torch

from benchmarks.harness import FOLDER

sys.path.insert(0, str(FOLDER))

from benchmarks.bench_products import make_calls


def test_the_variants_compute_the_same() -> None:
    found = {name: call() for name, call in make_calls(16).items()}
    assert all(isinstance(value, torch.Tensor) and value.abs().sum() > 0 for value in found.values())
    assert torch.equal(found["int8 by _int_mm"], found["int8 by float32"])  # type: ignore[arg-type]
    for name in ("patches", "features"):
        few, many = found[f"{name}, bfloat16"], found[f"{name}, float32"]
        assert isinstance(few, torch.Tensor) and isinstance(many, torch.Tensor) and few.shape == many.shape
        assert 0 < (few - many).abs().mean() < 0.02 * many.abs().mean()
