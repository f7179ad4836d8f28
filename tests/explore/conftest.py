"""A folder of pictures with duplicates and an outlier, and a network to look at it with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchhebb.nn import Architecture, Tap, WhitenedBlock, init_from_data, save
from torchhebb.nn.network import Network

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of two classes, one of them named by HTML; 00 has a near-duplicate, and one is black."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(46):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        array = np.asarray(Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC))
        path = root / ("plain", HOSTILE.replace("/", ""))[number % 2] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(path)
    with Image.open(root / "plain" / "00.png") as first:
        first.save(root / "plain" / "copy.jpg", quality=95)
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(root / "plain" / "black.png")
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    import torch

    from torchhebb.data import Preprocessing, open_inputs

    pixels = torch.cat([batch.pixels for batch in open_inputs([pictures]).batches(Preprocessing(3, 16, 16), 16)])
    network = Architecture((3, 16, 16), (WhitenedBlock(16, 3, remove_mean=False),), taps=(Tap(1, 2),)).build()
    assert isinstance(network, Network)
    init_from_data(network.train(), pixels / 255.0, torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save(network.eval(), path)
    return path
