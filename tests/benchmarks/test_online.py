"""The benchmark of the on-line step: its variants are what they are named, and take the same step."""

import sys

import torch

from benchmarks.harness import FOLDER, compare
from torchhebb.nn import SoftWTA
from torchhebb.recipes import get_recipe

sys.path.insert(0, str(FOLDER))

from benchmarks.bench_online import BACKPROPAGATION, FUSED, PLAIN, SEPARATE, TORCH_FUSED, _label, make_steps, table

CPU = torch.device("cpu")
ACTIVATION = SoftWTA(get_recipe("softhebb2022-mnist").architecture.blocks[0].output_inverse_temperature)  # type: ignore[attr-defined]


def test_every_variant_takes_a_step() -> None:
    steps = make_steps(5, 2, CPU)
    assert list(steps) == [FUSED, SEPARATE, PLAIN, BACKPROPAGATION, TORCH_FUSED]
    one, other, plain = (steps[name]() for name in (FUSED, SEPARATE, PLAIN))
    assert isinstance(one, torch.Tensor) and other is None and isinstance(plain, torch.Tensor)
    torch.testing.assert_close(ACTIVATION(one), plain)  # the step of the loop leaves out what nobody reads
    second, plain_second = steps[FUSED](), steps[PLAIN]()
    assert isinstance(second, torch.Tensor) and isinstance(plain_second, torch.Tensor)
    torch.testing.assert_close(ACTIVATION(second), plain_second, rtol=1e-4, atol=1e-5)
    assert not torch.equal(one, second)


def test_a_row_a_size() -> None:
    names = (FUSED, SEPARATE, PLAIN, BACKPROPAGATION, TORCH_FUSED)
    samples = {_label(name, 5, 2): (float(number), float(number)) for number, name in enumerate(names, 1)}
    own = _label(FUSED, 5, 2)
    ratios = [compare(samples, own, _label(name, 5, 2), target=0.3) for name in names[2:]]
    header, row = table([(5, 2)], samples, ratios)
    assert len(header) == len(row)
    assert row[:3] == ("5", "2", "1.000")
    assert row[7:] == ("0.33 [0.33, 0.33] FAIL", "0.25 [0.25, 0.25] PASS", "0.20 [0.20, 0.20] PASS")
