from dataclasses import replace

import pytest
import torch

from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, Network, Pool, Tap, WhitenedBlock
from torchhebb.train import patch_features as module
from torchhebb.train.calibrate import calibrate
from torchhebb.train.patch_features import PatchFeatures

BLOCK = WhitenedBlock(40, 5, split=True, threshold=0.5, floor=0.5, pool=Pool("avg", 3, 2))
ARCHITECTURE = Architecture((3, 16, 16), (BLOCK,), taps=(Tap(1, 2),), tap_power=0.5, flip_average=True)


def images(count: int = 60) -> Images:
    pixels = torch.randint(256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Images(pixels, torch.zeros(count, dtype=torch.long))


def network(architecture: Architecture = ARCHITECTURE) -> Network:
    return calibrate(architecture.build(), images(), seed=3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flip_average": False},
        {"tap_power": 1.0},
        {"blocks": (replace(BLOCK, pool=None, threshold=0.0),)},
        {"blocks": (replace(BLOCK, padding=2, kernel_size=4),), "taps": (Tap(1, 3),)},
    ],
)
@pytest.mark.parametrize(("dtype", "close"), [(torch.bfloat16, 0.02), (torch.float32, 1e-5)])
@pytest.mark.parametrize("at_once", [1024, 32])
def test_features_are_the_networks_own_to_the_rounding_of_the_products(
    changes: dict, dtype: torch.dtype, close: float, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_BYTES", at_once)
    net, some = network(replace(ARCHITECTURE, **changes)), images()
    features = PatchFeatures(net, dtype)
    with torch.no_grad():
        expected = net(some.images / 255.0).flatten(1)
    found = torch.empty(len(some), features.width)
    features.fill(found, some)
    assert found.shape == expected.shape
    assert (found - expected).abs().mean() < close * expected.std()
    assert torch.corrcoef(torch.stack([found.float().flatten(), expected.flatten()]))[0, 1] > 0.9995


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": (BLOCK, replace(BLOCK, kernel_size=2, pool=None))},
        {"blocks": (replace(BLOCK, split=False),)},
        {"blocks": (replace(BLOCK, power=2.0),)},
        {"blocks": (replace(BLOCK, pool=Pool("max", 3, 2)),)},
        {"unit_norm": True},
    ],
)
def test_other_networks_are_refused(changes: dict):
    with pytest.raises(UserError, match="architecture must be one whitened block"):
        PatchFeatures(replace(ARCHITECTURE, **changes).build(), torch.float32)
