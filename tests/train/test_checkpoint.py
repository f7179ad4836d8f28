"""Where a run stands, in one file: restored exactly, whole or absent, and clear when it cannot be used."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny import equal, network, state
from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.nn.packing import pack, unpack
from torchhebb.nn.tensors import write_tensors
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log, read_log


def test_a_task_under_way_is_restored(tmp_path: Path):
    Checkpoint(tmp_path).save("learning", {"step": 3}, {"w": torch.arange(4)})
    again = Checkpoint(tmp_path)
    assert again.restore("readout") is None
    position, tensors = again.restore("learning") or ({}, {})
    assert position == {"step": 3} and torch.equal(tensors["w"], torch.arange(4))


def test_what_is_done_stays_done(tmp_path: Path):
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.finish("learning", {"value": 80.31, "seconds": 1.5}) == {"value": 80.31, "seconds": 1.5}
    checkpoint.save("readout", {"epoch": 1}, {})
    checkpoint.finish("readout", None)
    again = Checkpoint(tmp_path)
    assert again.done == {"learning": {"value": 80.31, "seconds": 1.5}, "readout": None}
    assert again.restore("readout") is None


def test_the_log_goes_back_to_where_the_checkpoint_was(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    checkpoint = Checkpoint(tmp_path, log=log)
    log.write(kind="example", step=0)
    checkpoint.save("learning", {}, {})
    log.write(kind="example", step=1)
    Checkpoint(tmp_path, log=log)
    assert read_log(tmp_path / "metrics.jsonl") == [{"kind": "example", "step": 0}]


def test_without_a_checkpoint_the_log_starts_anew(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    log.write(kind="example", step=0)
    Checkpoint(tmp_path, log=log)
    assert read_log(tmp_path / "metrics.jsonl") == []


def test_it_is_due_once_its_interval_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("torchhebb.train.checkpoint.time.monotonic", lambda: now)
    checkpoint = Checkpoint(tmp_path, interval=60.0)
    assert not checkpoint.due
    now = 160.0
    assert checkpoint.due
    checkpoint.save("learning", {}, {})
    assert not checkpoint.due
    assert not Checkpoint(None, interval=0.0).due, "in memory there is nothing to save"


def test_without_a_folder_results_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint()
    checkpoint.finish("learning", 1)
    assert checkpoint.done == {"learning": 1} and checkpoint.restore("learning") is None
    assert not list(tmp_path.iterdir())


def adam(readout: LinearReadout) -> torch.optim.Adam:
    return torch.optim.Adam([readout.weight, readout.bias], lr=0.1)


def train(readout: LinearReadout, optimizer: torch.optim.Adam, steps: int) -> None:
    for step in range(steps):
        for parameter in (readout.weight, readout.bias):
            parameter.grad = torch.full_like(parameter, 0.1) * (step + 1)
        optimizer.step()


def test_modules_and_optimizers_go_on_as_if_nothing_had_happened(tmp_path: Path):
    one = LinearReadout(5, 3)
    optimizer = adam(one)
    train(one, optimizer, 2)
    write_tensors(pack(readout=one, optimizer=optimizer, network=network(1)), {}, tmp_path / "t")
    train(one, optimizer, 2)

    Checkpoint(tmp_path).save("t", {}, pack(readout=one, optimizer=optimizer, network=network(1)))
    other, blocks = LinearReadout(5, 3), network(2)
    second = adam(other)
    _, tensors = Checkpoint(tmp_path).restore("t") or ({}, {})
    unpack(tensors, readout=other, optimizer=second, network=blocks)
    assert equal(state(one), state(other)) and equal(state(blocks), state(network(1)))
    train(one, optimizer, 3)
    train(other, second, 3)
    assert equal(state(one), state(other))


def test_a_new_optimizer_packs_to_nothing():
    readout = LinearReadout(2, 2)
    assert pack(optimizer=adam(readout)) == {}
    optimizer = adam(readout)
    unpack({}, optimizer=optimizer)
    train(readout, optimizer, 1)
    assert readout.weight.isfinite().all()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    save_file({"w": torch.zeros(2)}, path)


@pytest.mark.parametrize("damage", [cut, flip, empty, foreign])
def test_a_damaged_file_says_so_and_what_to_do(tmp_path: Path, damage: Any):
    Checkpoint(tmp_path).save("learning", {"step": 1}, {"w": torch.rand(9)})
    damage(tmp_path / "checkpoint.safetensors")
    with pytest.raises(
        UserError, match=r"checkpoint\.safetensors is .*; delete it, and --resume starts again"
    ) as caught:
        Checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_said_in_one_line_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("learning", {"step": 1}, {"w": torch.ones(3)})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torchhebb.nn.tensors.save_file", full)
    with pytest.raises(UserError, match="cannot write .*checkpoint.*No space left on device.*; free space"):
        checkpoint.save("learning", {"step": 2}, {"w": torch.zeros(3)})
    monkeypatch.undo()
    position, tensors = Checkpoint(tmp_path).restore("learning") or ({}, {})
    assert position == {"step": 1} and torch.equal(tensors["w"], torch.ones(3))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_fused_optimizer_goes_on_exactly_however_weights_lie_in_memory(
    kind: type[torch.optim.Optimizer], layout: torch.memory_format, tmp_path: Path
):
    def begin() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=layout)  # type: ignore[call-overload]
        return layer, kind(layer.parameters(), lr=0.1, fused=True)  # type: ignore[call-arg]

    def steps(layer: torch.nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)
            for parameter in layer.parameters():
                parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape))
            optimizer.step()

    whole, broken, again = begin(), begin(), begin()
    steps(*whole, range(4))
    steps(*broken, range(2))
    Checkpoint(tmp_path).save("learning", {}, pack(layer=broken[0], optimizer=broken[1]))
    unpack(Checkpoint(tmp_path).tensors, layer=again[0], optimizer=again[1])
    steps(*again, range(2, 4))
    assert equal(state(whole[0]), state(again[0]))
