"""How a run computes: chosen by what was measured, kept, and the same numbers up to rounding."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reference import draw
from tests.tiny import learned, tiny_recipe
from torchhebb.errors import UserError
from torchhebb.functional import linear_statistic
from torchhebb.nn import Architecture, ConvBlock, HebbConv2d, LinearBlock, Network
from torchhebb.ops import products
from torchhebb.ops.conv_algorithms import Convolution, Patches, convolutions_by
from torchhebb.ops.products import batched, has_onednn, linear, products_by, statistic
from torchhebb.process import MEASURE, threads
from torchhebb.runs import TrainOptions, open_run, run_recipe
from torchhebb.runs.folder import kept_numerics
from torchhebb.train import Learning, Readout
from torchhebb.train import numerics as module
from torchhebb.train.numerics import (
    Numerics,
    choose_numerics,
    measure_steps,
    measure_threads,
    multiplications,
    with_convolutions,
    with_threads,
)

CPU = torch.device("cpu")
SHAPES = "4x1x3x3 over 10x10"  # of the convolution of `network()` and its padded input
onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with instructions for bfloat16, whatever this one has."""
    monkeypatch.delenv(MEASURE, raising=False)
    monkeypatch.setattr(module, "product_dtype", lambda: torch.bfloat16)


def network(neurons: int = 4) -> Network:
    return Architecture((1, 8, 8), (ConvBlock(neurons, 3), LinearBlock(3))).build(0)


def chosen(milliseconds: tuple[float, ...], precision: str = "auto", **sizes: int) -> Numerics:
    asked = []

    def measure(candidates: Mapping[str, Numerics]) -> dict[str, float]:
        asked.append(list(candidates))
        return dict(zip(candidates, milliseconds, strict=True))

    found = choose_numerics(network(**sizes), Learning(), precision, CPU, measure=measure)  # type: ignore[arg-type]
    assert set(found.convolutions) == (set() if not asked else {SHAPES})
    return replace(found, convolutions={})


@onednn
@pytest.mark.parametrize(
    ("milliseconds", "precision", "library"),
    [
        ((10.0, 9.9, 9.5), "float32", "torch"),
        ((10.0, 5.0, 4.9), "float32", "onednn"),
        ((10.0, 5.0, 4.0), "float32", "onednn"),
        ((10.0, 5.0, 3.0), "bfloat16", "torch"),
        ((10.0, 20.0, 7.0), "bfloat16", "torch"),
    ],
)
def test_the_fastest_by_more_than_a_little(
    monkeypatch: pytest.MonkeyPatch, milliseconds: tuple[float, ...], precision: str, library: str
):
    monkeypatch.setattr(module, "LEAST", 0)
    found = chosen(milliseconds)
    assert (found.precision, found.products) == (precision, library)
    assert list(found.measured.values()) == list(milliseconds)
    assert f"{milliseconds[0]:.3g} ms by float32" in found.why


@onednn
def test_a_precision_that_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LEAST", 0)
    assert chosen((10.0, 5.0), "float32") == Numerics("float32", "onednn")
    only = choose_numerics(network(), Learning(), "bfloat16", CPU)
    assert (only.precision, list(only.convolutions)) == ("bfloat16", [SHAPES]) and not only.measured


def test_where_bfloat16_is_slow_it_is_no_candidate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LEAST", 0)
    monkeypatch.setattr(module, "product_dtype", lambda: torch.float32)
    monkeypatch.setattr(module, "has_onednn", lambda: True)
    assert list(chosen((10.0, 9.9)).measured) == ["float32", "float32, onednn"]
    assert choose_numerics(network(), Learning(), "bfloat16", CPU).precision == "bfloat16"


def test_what_is_small_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert chosen(()) == Numerics()
    monkeypatch.setattr(module, "LEAST", 0)
    monkeypatch.setenv(MEASURE, "0")
    assert not chosen(()).was_measured


@pytest.mark.parametrize(("seconds", "calls"), [(0.0625, 3 * 2), (2.5, 1 * 2)])
def test_large_steps_are_measured_once(monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int):
    now, made = [0.0], []

    def step(x: torch.Tensor) -> None:
        made.append(torch.get_num_threads())
        now[0] += seconds

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "learning_step", lambda *_, **__: step)
    found = measure_threads(Numerics(), network(), Learning(batch_size=4, epochs=2), None, 0, [2, 1])
    assert made == [2, 1] * (calls // 2)
    assert found == pytest.approx(dict.fromkeys([2, 1], 1e3 * seconds * 2 / 4))


@pytest.mark.parametrize(
    ("taken", "count"),
    [
        ({1: 4.6}, 1),
        ({2: 5.0, 1: 4.6}, 1),  # the steps of the digits, as fast by one
        ({2: 5.0, 1: 5.5}, 1),
        ({2: 5.0, 1: 6.0}, 2),
        ({8: 1.0, 4: 1.9, 2: 3.7, 1: 7.0}, 8),
        ({8: 2.0, 4: 1.0, 2: 1.05, 1: 1.3}, 2),
    ],
)
def test_threads_that_are_of_little_use_are_left_out(taken: dict[int, float], count: int):
    found = with_threads(Numerics("bfloat16"), taken)
    assert (found.threads, found.precision) == (count, "bfloat16")
    assert f"{count} threads: an image takes" in found.why


@pytest.mark.parametrize("slow", [1, 2])
@pytest.mark.parametrize("where", ["learning", "readout"])
def test_threads_are_measured_in_learning_and_readout(monkeypatch: pytest.MonkeyPatch, slow: int, where: str):
    """What is slowed down in one of them, by one number of threads, is computed by the other number."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def sleep(of: str) -> None:
        time.sleep(0.02 if of == where and torch.get_num_threads() == slow else 0.001)

    monkeypatch.setattr(module, "learning_step", lambda *_, **__: lambda _: sleep("learning"))
    monkeypatch.setattr(Readout, "fit", lambda *_: sleep("readout"))
    with threads(2):
        one = choose_numerics(network(), Learning(), "auto", CPU, readout=Readout(batch_size=8), classes=2)
        assert torch.get_num_threads() == 2
    assert one.threads == 3 - slow and list(one.by_threads) == ["2", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads(2):
        assert choose_numerics(network(), Learning(), "auto", CPU).threads is None


def test_the_largest_layer_counts():
    assert multiplications(network(), 10) == max(10 * 64 * 4 * 9, 10 * 3 * 4 * 64)


def test_every_candidate_is_measured_and_nothing_changes():
    before = network()
    after = network()
    taken = measure_steps(after, Learning(batch_size=3), module.CANDIDATES if has_onednn() else {"float32": Numerics()})
    assert all(0 < ms < 1e5 for ms in taken.values())
    assert all(torch.equal(one, other) for one, other in zip(before.parameters(), after.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in after.parameters())


@onednn
@pytest.mark.parametrize("count", [3, 40])
def test_products_are_the_same_by_both(monkeypatch: pytest.MonkeyPatch, count: int):
    called = []
    original = products._onednn
    monkeypatch.setattr(products, "LEAST", 1)
    monkeypatch.setattr(products, "_onednn", lambda a, b: called.append(1) or original(a, b))
    x, w, y = (draw(seed, *shape, dtype=torch.float32) for seed, shape in enumerate([(count, 7), (5, 7), (count, 5)]))
    several, others = draw(3, 4, count, 7, dtype=torch.float32), draw(4, 5, 4, 7, dtype=torch.float32).permute(1, 2, 0)
    with products_by("onednn"):
        found = linear(x, w), statistic(x, y, scale=0.5), batched(several, others)
    assert len(called) == 2 + 4
    expected = x @ w.T, linear_statistic(x, y, scale=0.5), torch.bmm(several, others)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    called.clear()
    linear(x, w)
    with products_by("onednn"):
        linear(x.double(), w.double())
        linear(x.requires_grad_(), w).sum().backward()
    assert x.grad is not None and not called


def test_a_library_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products, "has_onednn", lambda: False)
    with pytest.raises(UserError, match="products onednn needs a torch with oneDNN"), products_by("onednn"):
        pass


def models(folder: Path) -> dict[str, bytes]:
    """What was learned, without the checkpoint, which knows how long it took."""
    return {name: value for name, value in learned(folder).items() if "checkpoint" not in name}


@pytest.mark.parametrize("slow", ["patches", "torch"])
def test_a_layer_learns_by_its_fastest_algorithm(monkeypatch: pytest.MonkeyPatch, slow: str):
    kind: Any = {"patches": Patches, "torch": Convolution}[slow]
    convolve = kind.convolve
    monkeypatch.setattr(kind, "convolve", lambda self, weight: (time.sleep(0.01), convolve(self, weight))[1])
    before = placed_channels_last(network())
    found = with_convolutions(Numerics(), before, Learning())
    assert found.convolutions == {SHAPES: "torch" if slow == "patches" else "patches"}
    assert set(found.layers[SHAPES]) == {"patches", "torch"} and found.layers[SHAPES][slow] >= 10
    assert f"{SHAPES} by {found.convolutions[SHAPES]} (" in found.why
    assert all(parameter.grad is None for parameter in before.parameters())

    called = []
    for one in (Patches, Convolution):
        monkeypatch.setattr(one, "convolve", lambda self, w, of=one.convolve: called.append(type(self)) or of(self, w))
    layer = next(module for module in before.modules() if isinstance(module, HebbConv2d))
    x = torch.rand(3, 1, 8, 8)
    with found.applied():
        layer.train().learn(x)
    assert called == [Convolution if slow == "patches" else Patches]
    assert layer.algorithms(x) == (SHAPES, ["patches", "torch"])


def test_an_algorithm_that_a_batch_does_not_allow_is_replaced():
    layer = next(module for module in placed_channels_last(network()).modules() if isinstance(module, HebbConv2d))
    x = torch.rand(3, 1, 8, 8)
    with convolutions_by({SHAPES: "winograd"}):  # one channel is too few
        by_limits = layer.train().learn(x)
    assert torch.equal(by_limits, layer.learn(x))


def placed_channels_last(of: Network) -> Network:
    return of.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@onednn
def test_a_run_keeps_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(module, "LEAST", 0)
    monkeypatch.setattr(products, "LEAST", 1)
    asked = iter([{"float32": 4.0, "float32, onednn": 2.0, "bfloat16": 3.0}])
    monkeypatch.setattr(module, "measure_steps", lambda *_: next(asked))
    by_torch = {SHAPES: "torch"}  # the first block would learn by patches, as the second one does
    monkeypatch.setattr(module, "with_convolutions", lambda candidate, *_: replace(candidate, convolutions=by_torch))
    by_patches = set()
    convolve = Patches.convolve
    monkeypatch.setattr(Patches, "convolve", lambda self, w: by_patches.add(tuple(w.shape)) or convolve(self, w))
    recipe = tiny_recipe(baselines=())
    result = run_recipe(recipe, TrainOptions(), folder=tmp_path / "one")
    assert by_patches == {(8, 4, 3, 3)}
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert config["numerics"]["products"] == "onednn" and config["numerics"]["precision"] == "float32"
    assert "products by onednn: a step takes 4 ms by float32" in result.notes["chosen"]
    assert any('"kind": "numerics"' in line for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines())

    # It goes on as it began, without measuring again: the seeds of an extended run are those of a whole one.
    run_recipe(replace(recipe, seeds=2), TrainOptions(), folder=tmp_path / "one")
    assert kept_numerics(tmp_path / "one") == Numerics("float32", "onednn", convolutions=by_torch)
    assert open_run(tmp_path / "one").numerics == kept_numerics(tmp_path / "one")
    told = {name: open_run(tmp_path / "one", TrainOptions(precision=name)) for name in ("float32", "bfloat16")}  # type: ignore[arg-type]
    assert told["float32"].numerics == kept_numerics(tmp_path / "one")
    assert told["bfloat16"].numerics == Numerics("bfloat16")  # what was chosen was chosen for another precision
    with monkeypatch.context() as without, caplog.at_level("WARNING"):
        without.setattr("torchhebb.runs.run.has_onednn", lambda: False)
        assert open_run(tmp_path / "one").numerics.products == "torch" and "by products of oneDNN" in caplog.text
    monkeypatch.setattr(module, "measure_steps", lambda *_: {"float32": 4.0, "float32, onednn": 2.0, "bfloat16": 3.0})
    run_recipe(replace(recipe, seeds=2), TrainOptions(), folder=tmp_path / "whole")
    assert models(tmp_path / "one") == models(tmp_path / "whole")

    monkeypatch.setattr("torchhebb.train.device.bfloat16_gain", lambda: 0.1)
    for work in (
        lambda: open_run(tmp_path / "one", TrainOptions(precision="bfloat16")),
        lambda: run_recipe(recipe, TrainOptions(precision="bfloat16"), folder=tmp_path / "slow"),
    ):
        caplog.clear()
        work()
        assert "precision bfloat16 is slower here than float32" in caplog.text

    monkeypatch.setenv(MEASURE, "0")
    run_recipe(recipe, TrainOptions(), folder=tmp_path / "other")
    assert models(tmp_path / "one")["model.safetensors"] != models(tmp_path / "other")["model.safetensors"]


def test_a_run_takes_the_threads_that_were_chosen_and_leaves_the_process_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    asked = []

    def measure(*arguments: Any) -> dict[int, float]:
        asked.append(arguments[3:])
        return {2: 2.0, 1: 1.0}

    monkeypatch.setattr(module, "measure_threads", measure)
    recipe = tiny_recipe(baselines=(), learning=Learning(batch_size=2))
    with threads(2):
        result = run_recipe(recipe, folder=tmp_path)
        assert torch.get_num_threads() == 2
    assert asked == [(recipe.readout, 10, [2, 1])]
    assert (result.notes["threads"], result.notes["wait_policy"]) == (1, "passive")
    assert result.device.endswith(", 1 threads") and "1 threads: an image takes 2 ms by 2" in result.notes["chosen"]
    assert kept_numerics(tmp_path) == Numerics(threads=1)


def test_what_the_command_line_sets_before_torch_is_there():
    """How threads wait; and no search for garbage among what is imported, neither meanwhile nor later."""
    told = """
import gc, os, sys
import torchhebb.__main__

class Watch:
    def find_spec(name, path, target=None):
        if name == "torch":
            print(gc.isenabled(), os.environ["OMP_WAIT_POLICY"])

sys.meta_path.insert(0, Watch)
sys.argv = ["torchhebb", "--version"]
torchhebb.__main__.main()
print(gc.isenabled(), gc.get_freeze_count() > 100_000)"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", told], check=True, timeout=60, stdout=subprocess.PIPE, text=True, env=environment
    )
    first, *_, last = done.stdout.splitlines()
    assert (first, last) == ("False passive", "True True")


def test_a_wait_policy_that_is_given_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch):
    import torchhebb.__main__

    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setattr("torchhebb.cli.main", lambda: int(os.environ["OMP_WAIT_POLICY"] == "active"))
    assert torchhebb.__main__.main() == 1
