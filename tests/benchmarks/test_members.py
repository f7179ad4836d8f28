"""The benchmark of members compares equal work: both ways leave the same weights."""

import pytest
import torch

from benchmarks.harness import FOLDER
from tests.tiny import ARCHITECTURE


def test_members_side_by_side_take_the_steps_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    from benchmarks.bench_members import members_step, place
    from benchmarks.workload import torchhebb_step

    cpu = torch.device("cpu")
    batches = torch.rand(2, 3, 5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    alone, together = ([place(ARCHITECTURE.build(seed), cpu) for seed in (0, 1)] for _ in range(2))
    steps = [torchhebb_step(network, own, "float32") for network, own in zip(alone, batches, strict=True)]
    side = members_step(together, batches, "float32")
    for _ in range(4):
        side()
        for step in steps:
            step()
    for one, other in zip(alone, together, strict=True):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-4, atol=1e-5)
        assert not torch.equal(one.block1.layer.weight, ARCHITECTURE.build(0).block1.layer.weight)
