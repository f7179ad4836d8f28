"""Frozen features: what the network gives in evaluation mode, computed once."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import digits, equal, network, state
from tests.watch import Stop, stop_after
from torchhebb import learn
from torchhebb.data import Data, Store, load_data
from torchhebb.nn import Network
from torchhebb.train.features import BATCH_BYTES, batch_size_for, extract_features, fingerprint, stored_features

CPU = torch.device("cpu")
IMAGES = digits(90)


def learned(seed: int = 0) -> Network:
    model = network(seed)
    learn(model, IMAGES.images / 255.0)
    return model


def small_data() -> Data:
    whole = load_data("digits")
    return Data("digits", IMAGES, whole.test.select(torch.arange(40)), whole.classes, "a fingerprint")


class Counter:
    """Counts the images that a network is given."""

    def __init__(self, model: Network) -> None:
        self.images = 0
        model.block1.register_forward_hook(self)

    def __call__(self, _module: Any, inputs: tuple[torch.Tensor, ...], _out: Any) -> None:
        self.images += len(inputs[0])


def stored(model: Network, store: Store, split: Any = "train", precision: Any = "float32") -> torch.Tensor:
    return stored_features(model, small_data(), split, device=CPU, precision=precision, store=store)


def test_they_are_what_the_network_gives_in_eval_mode(tmp_path: Path):
    model = learned()
    kept, fresh = stored(model, Store(tmp_path)), extract_features(model, IMAGES, device=CPU)
    assert torch.equal(kept, fresh) and kept.dtype == torch.float32
    torch.testing.assert_close(kept, model.eval()(IMAGES.images / 255.0).flatten(1))


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool):
    model = learned().train(training)
    before = state(model)
    extract_features(model, IMAGES, device=CPU)
    assert model.training is training and equal(before, state(model))


def test_they_are_computed_once(tmp_path: Path):
    model = learned()
    counter = Counter(model)
    first = stored(model, Store(tmp_path))
    assert counter.images >= len(IMAGES)
    counter.images = 0
    assert torch.equal(stored(model, Store(tmp_path)), first)
    assert counter.images <= 1, "one image tells the width, no more"
    assert torch.equal(stored(learned(), Store(tmp_path)), first)
    assert len(Store(tmp_path).entries()) == 1, "an equal network is the same key"


def test_another_network_split_or_precision_is_another_entry(tmp_path: Path):
    store = Store(tmp_path)
    train = stored(learned(), store)
    assert not torch.equal(stored(learned(1), store), train)
    assert len(stored(learned(), store, "test")) == 40
    half = stored(learned(), store, precision="bfloat16")
    torch.testing.assert_close(half.float(), train, rtol=0.1, atol=0.1 * train.abs().max().item())
    assert len(store.entries()) == 4


def test_a_damaged_entry_is_made_again(tmp_path: Path):
    store, model = Store(tmp_path), learned()
    first = stored(model, store).clone()
    (entry,) = store.entries()
    path = entry.path / "features"
    content = path.read_bytes()
    for damaged in (content[:-4], content[:100] + b"\xff" + content[101:], b""):
        path.write_bytes(damaged)
        assert torch.equal(stored(model, Store(tmp_path)), first)


def test_a_stopped_computation_leaves_no_entry(tmp_path: Path):
    model, store = learned(), Store(tmp_path)
    with pytest.raises(Stop):
        extract_features(model, IMAGES, device=CPU, store=store, key={"a": 1}, progress=stop_after(1))
    assert not store.entries() and model.training
    assert torch.equal(extract_features(model, IMAGES, device=CPU, store=store, key={"a": 1}), stored(model, store))


def test_they_shrink_where_memory_is_short(monkeypatch: pytest.MonkeyPatch):
    full = extract_features(learned(), IMAGES, device=CPU)
    monkeypatch.setattr("torchhebb.train.features.free_bytes", lambda _: 2 * full.numel() * 4 - 1)
    half = extract_features(learned(), IMAGES, device=CPU)
    assert half.dtype == torch.bfloat16 and torch.equal(half, full.to(torch.bfloat16))


def test_the_batch_fits_the_bytes_allowed():
    model = network().eval()
    size = batch_size_for(model, digits(1000), CPU)
    widest = 4 * 10 * 10  # no map of the tiny network is larger than its padded first one
    assert 1 <= size <= 1000 and size * widest >= min(1000 * widest, BATCH_BYTES // 8)
    assert batch_size_for(model, digits(3), CPU) <= 3
    assert not any(module._forward_hooks for module in model.modules())


def test_the_fingerprint_is_of_everything_learned():
    one = learned()
    assert fingerprint(one) == fingerprint(learned())
    assert fingerprint(one) == fingerprint(learned().to(memory_format=torch.channels_last))
    one.block1.norm.running_var += 1e-3
    assert fingerprint(one) != fingerprint(learned())
    other = learned()
    other.block2.layer.weight[0, 0, 0, 0] += 1e-3
    assert len({fingerprint(one), fingerprint(learned()), fingerprint(other)}) == 3
