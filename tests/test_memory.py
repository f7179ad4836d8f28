"""Where memory is short, work goes on in smaller pieces with the same results, or says in one line what to lower."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import digits, network
from torchhebb import memory
from torchhebb.cli import main
from torchhebb.errors import UserError
from torchhebb.memory import adaptive_chunks, free_bytes, out_of_memory, out_of_memory_as_user_error
from torchhebb.nn import LinearReadout, Network
from torchhebb.readouts.base import predict_logits
from torchhebb.train import Learning, Readout
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.ensemble import learn_ensemble
from torchhebb.train.features import BATCH_BYTES, batch_size_for, extract_features
from torchhebb.train.learn import learn_images

CPU = torch.device("cpu")
IMAGES = digits(50)
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
ERRORS = [RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA out of memory."), MemoryError()]


class Scarce:
    """A hook after which a module takes at most `most` samples at once."""

    def __init__(self, most: int, error: BaseException = ERRORS[0]) -> None:
        self.most, self.error = most, error
        self.seen: list[int] = []

    def __call__(self, _module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        self.seen.append(len(inputs[0]))
        if len(inputs[0]) > self.most:
            raise self.error


def scarce(most: int, error: BaseException = ERRORS[0]) -> tuple[Network, Scarce]:
    model, hook = network(), Scarce(most, error)
    model.block2.register_forward_pre_hook(hook)
    return model, hook


def test_pieces_cover_everything_once_and_stay_small_after_a_failure():
    done: list[int] = []
    sizes: list[int] = []

    def work(begin: int, end: int) -> None:
        sizes.append(end - begin)
        if end - begin > (3 if begin < 10 else 2):
            raise MemoryError
        done.extend(range(begin, end))

    assert adaptive_chunks(work, 23, 12) == 2
    assert done == list(range(23))
    assert sizes == [12, 6, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 1][: len(sizes)] and sizes[:4] == [12, 6, 3, 3]
    assert adaptive_chunks(lambda begin, end: None, 4, 9) == 9


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_features_go_on_in_smaller_batches(error: BaseException):
    model, hook = scarce(7, error)
    found = extract_features(model, IMAGES, device=CPU)
    assert hook.seen[:5] == [1, 1, 50, 25, 13] and set(hook.seen[5:-1]) == {7}
    torch.testing.assert_close(found, extract_features(network(), IMAGES, device=CPU), rtol=1e-5, atol=1e-6)


def test_tests_and_logits_go_on_in_smaller_batches():
    readout = LinearReadout(128, 10)
    readout.weight.copy_(torch.randn(10, 128, generator=torch.Generator().manual_seed(0)))
    features = extract_features(network(), IMAGES, device=CPU)
    expected = readout(features)
    readout.register_forward_pre_hook(Scarce(4))
    torch.testing.assert_close(predict_logits(readout, features), expected, rtol=1e-4, atol=1e-4)
    model, _ = scarce(4)
    right = (expected.argmax(1) == IMAGES.labels).sum().item()
    assert 0 < right < len(IMAGES)
    assert model_accuracy(torch.nn.Sequential(model, readout), IMAGES) == 100 * right / len(IMAGES)


def test_memory_too_short_for_one_image_is_one_line():
    model, _ = scarce(0)
    with pytest.raises(UserError, match="memory ran out in the features: lower the size of the network") as caught:
        extract_features(model, IMAGES, device=CPU)
    with pytest.raises(UserError, match="too little memory for the work of one sample"):
        adaptive_chunks(Failing(ERRORS[0]), 3, 2)
    assert "\n" not in str(caught.value)


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self.error


def test_other_errors_pass():
    model, _ = scarce(7, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        extract_features(model, IMAGES, device=CPU)
    with pytest.raises(ValueError, match="other"), out_of_memory_as_user_error("this", "that"):
        raise ValueError("other")
    assert not out_of_memory(ValueError("out of memory"))


def test_learning_says_what_to_lower(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torchhebb.train.eager.learning_step", lambda *_, **__: Failing(ERRORS[1]))
    monkeypatch.setattr("torchhebb.readouts.adam._step", Failing(ERRORS[0]))
    with pytest.raises(UserError, match="memory ran out in learning: lower learning.batch_size"):
        learn_images(network(), IMAGES, Learning())
    with pytest.raises(UserError, match="memory ran out in learning: lower ensemble or learning.batch_size"):
        learn_ensemble([network(0), network(1)], IMAGES, Learning())
    with pytest.raises(UserError, match="memory ran out in the readout: lower readout.batch_size"):
        Readout(epochs=1).fit(torch.rand(50, 8), IMAGES.labels, 10)


def test_the_command_line_ends_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(main.__globals__["COMMANDS"], "list", Failing(ERRORS[1]))
    assert main(["list"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("torchhebb: memory ran out: lower a batch size") and said.count("\n") == 1
    monkeypatch.setitem(main.__globals__["COMMANDS"], "list", Failing(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["list"])


def test_batches_are_sized_from_what_is_free(monkeypatch: pytest.MonkeyPatch):
    model, images = network().eval(), digits(1000)
    widest = 4 * 8 * 64  # bytes of the second block's maps
    monkeypatch.setattr("torchhebb.train.features.free_bytes", lambda _: 16 * 10 * widest)
    assert batch_size_for(model, images, CPU) == 10
    monkeypatch.setattr("torchhebb.train.features.free_bytes", lambda _: 0)
    assert batch_size_for(model, images, CPU) == 1
    monkeypatch.setattr("torchhebb.train.features.free_bytes", lambda _: 1 << 50)
    monkeypatch.setattr("torchhebb.train.features.BATCH_BYTES", 30 * widest)
    assert batch_size_for(model, images, CPU) == 30 and BATCH_BYTES >= 1 << 20


def test_what_is_free_is_the_least_that_is_told(monkeypatch: pytest.MonkeyPatch):
    for system, container, process, expected in (
        (5, 7, 9, 5),
        (5, 3, None, 3),
        (None, None, 2, 2),
        (None, None, None, 4 << 30),
        (5, -1, None, 0),
    ):
        for name, value in (("_system", system), ("_container", container), ("_process", process)):
            monkeypatch.setattr(memory, name, lambda value=value: value)
        assert free_bytes(CPU) == expected


@pytest.mark.parametrize(("version", "limit", "expected"), [(2, "1000", 650), (2, "max", None), (1, "1000", 650)])
def test_what_a_container_leaves(tmp_path: Path, version: int, limit: str, expected: int | None):
    folder = tmp_path if version == 2 else tmp_path / "memory"
    folder.mkdir(exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, content in zip(names, (limit, "400"), strict=True):
        (folder / name).write_text(content + "\n")
    idle = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 3\n{idle} 50\n")
    assert memory._container(tmp_path) == expected
    assert memory._container(tmp_path / "none") is None


PROGRAM = """
import resource
from pathlib import Path
import torch
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock
from torchhebb.train import Learning, features
from torchhebb.train.learn import learn_images
from torchhebb.memory import free_bytes

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
pixels = torch.randint(256, (1500, 1, 16, 16), generator=generator, dtype=torch.uint8)
images = Images(pixels, torch.zeros(len(pixels), dtype=torch.long))
network = Architecture((1, 16, 16), (ConvBlock(32, 3),), feature_pool=2).build()
expected = features.extract_features(network, images, device=torch.device("cpu"))
learn_images(network, images, Learning(epochs=0))  # torch imports much at its first optimizer: not below the limit
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))
assert free_bytes(torch.device("cpu")) <= 64 << 20
sizes = []
network.block1.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
features.batch_size_for = lambda *_: len(images)
found = features.extract_features(network, images, device=torch.device("cpu"))
torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
assert sizes[1] == len(images) and sizes[-1] < len(images), sizes
try:
    learn_images(network, images, Learning(batch_size=len(images)))
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space and /proc")
def test_a_real_allocation_that_fails():
    """1500 maps of 32 x 16 x 16 are 49 MB, and a block holds several; 64 MB are allowed."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "memory ran out in learning: lower learning.batch_size, or the channels of the blocks\n"
