"""Names of devices and precisions: what a machine has, and one line for what it has not."""

from typing import Any

import pytest
import torch

from torchhebb.errors import UserError
from torchhebb.ops import products
from torchhebb.process import MEASURE
from torchhebb.train import device as module
from torchhebb.train.device import Precision, autocast, find_device, find_precision, product_dtype, warn_if_slow


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    machine(monkeypatch, 0)
    assert find_device("auto") == find_device() == torch.device("cpu")
    machine(monkeypatch, 1)
    assert find_device("auto") == torch.device("cuda")


def test_a_device_by_name(monkeypatch: pytest.MonkeyPatch):
    machine(monkeypatch, 2)
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(("name", "gpus"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_said_with_those_that_are(monkeypatch: pytest.MonkeyPatch, name: str, gpus: int):
    machine(monkeypatch, gpus)
    with pytest.raises(UserError, match=f"'{name}' is not on this machine; allowed: auto, cpu") as caught:
        find_device(name)
    assert str(caught.value).count("cuda:") == gpus + (":" in name)


@pytest.mark.parametrize("name", ["tpu", "", "mps", "meta", "cuda:x", "gpu", 0.5, (1, 4)])
def test_another_name_is_refused(name: Any):
    with pytest.raises(UserError, match="device must be auto, cpu, cuda or cuda:N, got"):
        find_device(name)


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for has in (True, False):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda has=has: {"amx_bf16": has}, raising=False)
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, has=has: has)
        assert find_precision("auto", cpu) == find_precision("auto", cuda) == ("bfloat16" if has else "float32")
        assert find_precision("float32", cpu) == "float32" and find_precision("bfloat16", cuda) == "bfloat16"


def test_products_are_of_the_faster_dtype(monkeypatch: pytest.MonkeyPatch):
    for faster, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setenv(MEASURE, "0")
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda has=faster: {"avx512_bf16": has}, raising=False)
        assert product_dtype() == dtype
        monkeypatch.delenv(MEASURE)
        monkeypatch.setattr(module, "bfloat16_gain", lambda faster=faster: 4.0 if faster else 0.1)
        assert product_dtype() == dtype


def test_the_gain_of_bfloat16_is_the_time_of_float32_by_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products, "fastest_calls", lambda *_, **__: {torch.float32: 8.0, torch.bfloat16: 2.0})
    assert products.bfloat16_gain.__wrapped__() == 4.0


@pytest.mark.parametrize(
    ("precision", "fast", "warns"), [("bfloat16", False, True), ("bfloat16", True, False), ("float32", False, False)]
)
def test_a_precision_that_is_slow_here_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, precision: Precision, fast: bool, warns: bool
):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": fast}, raising=False)
    warn_if_slow(precision, torch.device("cpu"))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warns
    assert all("bfloat16 is slower here than float32" in record.getMessage() for record in caplog.records)


def test_tf32_is_for_gpus():
    assert find_precision("tf32", torch.device("cuda")) == "tf32"
    with pytest.raises(UserError, match="precision tf32 is of NVIDIA's GPUs, and the device is cpu"):
        find_precision("tf32", torch.device("cpu"))


def test_on_a_gpu_float32_is_not_rounded_unless_asked_and_the_setting_is_put_back():
    def found() -> tuple[str, str]:
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]

    before, cuda = found(), torch.device("cuda")
    assert before[1] == "tf32", "torch's own setting for convolutions, which float32 has to change"
    with autocast("float32", cuda):
        assert found() == ("ieee", "ieee")
        with autocast("tf32", cuda):
            assert found() == ("tf32", "tf32")
        assert found() == ("ieee", "ieee")
    with pytest.raises(RuntimeError, match="stop"), autocast("tf32", cuda):
        raise RuntimeError("stop")
    assert found() == before


def test_autocast_computes_in_the_precision_asked_for():
    x, layer = torch.rand(2, 3), torch.nn.Linear(3, 4)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(precision, torch.device("cpu")):
            assert layer(x).dtype == dtype
    assert layer.weight.dtype == torch.float32
