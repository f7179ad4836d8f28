"""The header of a weights file is a stranger's: it decides neither how much memory is taken nor how loading fails."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, LinearReadout, Network, NeuronLabels, Pool, load, save
from torchhebb.nn.tensors import read_tensors, write_tensors

ARCHITECTURE = Architecture((1, 8, 8), (ConvBlock(4, 3, pool=Pool()), LinearBlock(5)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(ARCHITECTURE.build(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewrite(path: Path, **entries: Any) -> None:
    """The same tensors under another header, with a checksum that is right."""
    tensors, header = read_tensors(path)
    write_tensors(tensors, header | entries, path)


def described(**changes: Any) -> dict[str, Any]:
    block = {"type": "ConvBlock", "channels": 4, "kernel_size": 3}
    return {"type": "Architecture", "input_shape": [1, 8, 8], "blocks": [block], **changes}


HUGE = {"type": "LinearBlock", "features": 2**30}


TOO_LARGE: list[dict[str, Any]] = [
    {"architecture": described(input_shape=[1, 100_000, 100_000])},
    {"architecture": described(input_shape=[1, 2**40, 8])},
    {"architecture": described(blocks=[HUGE, HUGE])},
    {"architecture": described(blocks=[{"type": "ConvBlock", "channels": 2**20, "kernel_size": 1001}])},
    {"architecture": described(blocks=[{"type": "ConvBlock", "channels": 10**30, "kernel_size": 3}])},
    {"architecture": described(), "readout": {"type": "LinearReadout", "in_features": 2**30, "classes": 2**30}},
]


def test_memory_is_not_taken_before_the_shapes_fit(path: Path, tmp_path: Path) -> None:
    paths = [shutil.copy(path, tmp_path / f"{number}.safetensors") for number in range(len(TOO_LARGE))]
    for copy, entries in zip(paths, TOO_LARGE, strict=True):
        rewrite(copy, **entries)
    program = f"""
import torchhebb
for path in {[str(copy) for copy in paths]!r}:
    try:
        torchhebb.load(path)
    except torchhebb.errors.UserError as error:
        print(error)
"""
    limit = 6 << 30  # of addresses; torch itself takes one or two

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, preexec_fn=limited
    )
    said = done.stdout.splitlines()
    assert done.returncode == 0 and len(said) == len(paths), done.stderr[-500:]
    assert all(str(copy) in line for copy, line in zip(paths, said, strict=True))


MALFORMED: list[dict[str, Any]] = [  # type: ignore[var-annotated]
    {"model": value} for value in (None, 3, [], {}, "Portable", "ReadoutModule", "nobody", "os:system", "a b:c")
]
MALFORMED += [{"architecture": value} for value in (3, "x", [], {}, {"type": 5}, {"type": ["Architecture"]})]  # type: ignore[var-annotated]
MALFORMED += [
    {"architecture": described(**{name: value})}
    for name, values in {
        "type": ["ConvBlock", None],
        "input_shape": [None, [], [1, 8], [1, 8, "8"], [0, 8, 8], [-1, 8, 8], [True, 8, 8], {}],
        "blocks": [None, {}, [3], [[]], [{}], [{"type": "Block"}], [{"type": "ConvBlock"}]],
        "mean": ["x", [0.5], [[0.5]]],
        "taps": [3, [3], [{"type": "Tap", "block": 9, "pool": 1}], [{"type": "Tap", "block": 1, "pool": 0}]],
        "feature_pool": [-1, "x"],
        "nobody": [1],
    }.items()
    for value in values  # type: ignore[attr-defined]
]
MALFORMED += [{"readout": value} for value in (3, [], {}, {"type": "LinearReadout"}, {"type": []}, {"type": "Linear"})]  # type: ignore[var-annotated]
MALFORMED += [
    {"readout": {"type": "LinearReadout", "in_features": inputs, "classes": classes}}
    for inputs, classes in ((0, 2), (-5, 2), ("5", 2), (5.0, 2), (True, 2), (5, None), (2**40, 2))
]


@pytest.mark.parametrize("entries", MALFORMED, ids=json.dumps)
def test_a_malformed_header_is_one_line(path: Path, entries: dict[str, Any]) -> None:
    rewrite(path, **entries)
    with pytest.raises(UserError) as caught:
        load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_deeply_nested_header_is_one_line(path: Path) -> None:
    tensors, header = read_tensors(path)
    nested: Any = []
    for _ in range(900):
        nested = [nested]
    write_tensors(tensors, header | {"architecture": nested}, path)
    with pytest.raises(UserError, match="does not describe|damaged"):
        load(path)
    content = json.dumps({"__metadata__": {"torchhebb": "[" * 100_000}}).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(UserError, match="is damaged"):
        load(path)


@pytest.mark.parametrize(
    ("value", "words"), [(torch.nan, "not finite"), (torch.inf, "not finite"), (1j, "complex numbers in")]
)
@pytest.mark.parametrize("into", [True, False])
def test_weights_that_are_no_numbers_are_refused(path: Path, value: complex, words: str, into: bool) -> None:
    tensors, header = read_tensors(path)
    weight = tensors["block1.layer.weight"]
    tensors["block1.layer.weight"] = weight * value if isinstance(value, complex) else weight.fill_(value)
    write_tensors(tensors, header, path)
    with pytest.raises(UserError, match=words):
        load(path, into=ARCHITECTURE.build() if into else None)


def test_tensors_that_the_description_does_not_have(path: Path) -> None:
    tensors, header = read_tensors(path)
    write_tensors(tensors | {"more": torch.ones(2)}, header, path)
    with pytest.raises(UserError, match="does not describe the tensor 'more'"):
        load(path)
    del tensors["block1.layer.weight"]
    write_tensors(tensors, header, path)
    with pytest.raises(UserError, match="lacks the tensor 'block1.layer.weight'"):
        load(path)
    tensors["block1.layer.weight"] = torch.ones(4, 1, 3, 3, dtype=torch.int64)
    write_tensors(tensors, header, path)
    with pytest.raises(UserError, match=r"as torch.float32 and holds torch.int64"):
        load(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    model = ARCHITECTURE.build().attach(LinearReadout(5, 2)).to(dtype)
    save(model, tmp_path / "model")
    back = load(tmp_path / "model")
    assert isinstance(back, Network) and back.readout is not None
    for name, tensor in model.tensors().items():
        assert torch.equal(back.tensors()[name], tensor) and back.tensors()[name].dtype == tensor.dtype
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_a_readout_of_another_network_is_refused(tmp_path: Path) -> None:
    network = ARCHITECTURE.build()
    with pytest.raises(UserError, match="readout must take the 5 features of the network, got 6"):
        network.attach(LinearReadout(6, 2))
    save(network, tmp_path / "model.safetensors")
    save(LinearReadout(6, 2), tmp_path / "readout.safetensors")
    with pytest.raises(UserError, match="readout must take the 5 features"):
        load(tmp_path)
    maps = Architecture((1, 8, 8), (ConvBlock(4, 3, pool=Pool()),)).build()
    maps.attach(NeuronLabels(4, 2)).attach(LinearReadout(64, 2))
    with pytest.raises(UserError, match="the 4 features of the network, got 64"):
        maps.attach(NeuronLabels(64, 2))


class TestWrappers:
    @pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda net: nn.DataParallel(torch.compile(net))])
    def test_around_a_network(self, tmp_path: Path, wrap: Any) -> None:
        network = ARCHITECTURE.build().attach(LinearReadout(5, 2))
        save(network, tmp_path / "plain")
        save(wrap(network), tmp_path / "wrapped")
        assert (tmp_path / "plain").read_bytes() == (tmp_path / "wrapped").read_bytes()
        into = wrap(ARCHITECTURE.build(1))
        load(tmp_path / "plain", into=into)
        assert torch.equal(load(tmp_path / "wrapped").block1.layer.weight, network.block1.layer.weight)

    @pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
    def test_inside_a_network(self, tmp_path: Path, wrap: Any) -> None:
        network = ARCHITECTURE.build()
        save(network, tmp_path / "plain")
        network.block1 = wrap(network.block1)
        save(network, tmp_path / "wrapped")
        assert (tmp_path / "plain").read_bytes() == (tmp_path / "wrapped").read_bytes()


def test_a_module_used_twice(tmp_path: Path) -> None:
    layer = nn.Linear(3, 3)
    save(nn.Sequential(layer, nn.ReLU(), layer), tmp_path / "model")
    other = nn.Linear(3, 3)
    load(tmp_path / "model", into=nn.Sequential(other, nn.ReLU(), other))
    assert torch.equal(layer.weight, other.weight) and torch.equal(layer.bias, other.bias)


def test_a_network_can_be_asked_whether_it_has_a_classifier() -> None:
    network = ARCHITECTURE.build()
    assert not hasattr(network, "classifier") and not hasattr(network, "nobody")
    with pytest.raises(AttributeError, match="the network has no readout: train one and attach it first"):
        _ = network.classifier
    assert hasattr(network.attach(LinearReadout(5, 2)), "classifier")
