"""A stream gives every row once, in an order of its seed, decoded ahead by a bounded number, and can be taken up."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tests.data import made
from torchhebb.data import Augment, Batches, Images, Store, Stream, StreamBatches, batches_of, load_data
from torchhebb.data import stream as module
from torchhebb.data.batches import crop_boxes, resized_crop
from torchhebb.errors import UserError

CLASSES, EACH = 6, 20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    folder = made.imagenet(tmp_path_factory.mktemp("imagenet"), CLASSES, EACH)
    train = load_data("imagenet", data_dir=folder, size=16, store=Store(folder / "store")).train
    assert isinstance(train, Stream)
    return Stream(train.rows, train.preprocessing, buffer=10, workers=2)


def seen(batches: StreamBatches, number: int = 0, start: int = 0) -> list[tuple[int, int]]:
    """(class, number in it) of every image, in order, from its pixels; its label is checked on the way."""
    found = []
    for x, labels in batches.epoch(number, start):
        pixels = (x * 255).round().int()
        assert pixels[:, 0, 5, 5].tolist() == labels.tolist()
        found += list(zip(labels.tolist(), pixels[:, 1, 5, 5].tolist(), strict=True))
    return found


EVERY = [(label, number) for label in range(CLASSES) for number in range(EACH)]


def test_an_epoch_gives_every_image_once(source: Stream):
    batches = StreamBatches(source, 7)
    found = seen(batches)
    assert sorted(found) == EVERY and found != EVERY
    assert len(batches) == 18 and [len(x) for x, _ in batches.epoch(0)] == [7] * 17 + [1]


def test_shards_sorted_by_class_come_mixed(source: Stream):
    """The loader of the paper's code never saw the last classes; here all come, and soon."""
    found = seen(StreamBatches(source, 10))
    assert Counter(label for label, _ in found) == dict.fromkeys(range(CLASSES), EACH)
    assert len({label for label, _ in found[:30]}) == CLASSES


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_has_its_part_of_every_class(source: Stream, share: float):
    part = source.part(share)
    found = seen(StreamBatches(part, 4))
    assert len(found) == len(set(found)) == len(part) == round(share * len(EVERY))
    assert {label for label, _ in found} == set(range(CLASSES))


def test_the_order_follows_from_seed_and_epoch(source: Stream):
    def order(seed: int, number: int) -> tuple[Any, ...]:
        return tuple(seen(StreamBatches(source, 16, seed=seed), number))

    assert order(0, 0) == order(0, 0)
    assert len({order(seed, number) for seed in range(2) for number in range(2)}) == 4
    assert tuple(seen(StreamBatches(source, 16, shuffle=False))) == tuple(EVERY)


@pytest.mark.parametrize("start", [0, 3, 11, 12])
def test_a_start_gives_the_tail(source: Stream, start: int):
    batches = StreamBatches(source.part(0.9), 9, seed=3, augment=Augment(2, True, crop_area=0.3))
    whole, tail = list(batches.epoch(1)), list(batches.epoch(1, start))
    assert len(whole) == len(batches) and len(tail) == len(whole) - min(start, len(whole))
    for (x, y), (other, labels) in zip(whole[start:], tail, strict=True):
        assert torch.equal(x, other) and torch.equal(y, labels)


@pytest.mark.parametrize("world", [2, 5])
def test_processes_share_the_rows(source: Stream, world: int):
    """2 divides the 12 shards: whole shards go to each; 5 does not: each takes every fifth row."""
    parts = [seen(StreamBatches(source, 8, rank=rank, world=world)) for rank in range(world)]
    assert sorted(sum(parts, [])) == EVERY
    assert len({len(part) for part in parts}) == 1


def test_memory_is_bounded(source: Stream, monkeypatch: pytest.MonkeyPatch):
    """However many rows there are, no more are decoded than the workers may be ahead of the batch."""
    decoded = 0

    def counting(*arguments: Any) -> Any:
        nonlocal decoded
        decoded += 1
        return read(*arguments)

    read = module.read_pixels
    monkeypatch.setattr(module, "read_pixels", counting)
    batch_size = 5
    for given, _ in enumerate(StreamBatches(source, batch_size).epoch(0), 1):
        assert decoded <= given * batch_size + 2 * source.workers + 1


def test_a_damaged_file_is_one_line(tmp_path: Path):
    folder = made.imagenet(tmp_path)
    data = load_data("imagenet", data_dir=folder, size=16, store=Store(tmp_path / "store"))
    (folder / "imagenet" / "data" / "train-00003-of-00012.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="cannot stream .*imagenet/data"):
        list(batches_of(data.train, 8).epoch(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be from 1 to 120"),
        ({"batch_size": 121}, "batch_size must be from 1 to 120"),
        ({"batch_size": 3, "rank": 2, "world": 2}, "rank must be from 0 to 1"),
    ],
)
def test_what_cannot_be_batched_is_named(source: Stream, arguments: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        StreamBatches(source, **arguments)
    with pytest.raises(UserError, match="start must be from 0 to 12"):
        StreamBatches(source, 10).epoch(0, 13)


def test_a_half_read_stream_lets_python_exit(tmp_path: Path):
    folder = made.imagenet(tmp_path)
    program = (
        "from torchhebb.data import Store, batches_of, load_data\n"
        f"data = load_data('imagenet', data_dir={str(folder)!r}, size=16, store=Store({str(tmp_path / 'store')!r}))\n"
        "next(batches_of(data.train, 3).epoch(0))\n"
        "print('read')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_the_pause_after_a_pass_is_made_once_at_exit(source: Stream, monkeypatch: pytest.MonkeyPatch):
    import datasets

    registered: list[tuple[Any, ...]] = []
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 30)
    monkeypatch.setattr("atexit.register", lambda *call: registered.append(call))
    for number in range(2):
        list(StreamBatches(source, 4, seed=0).epoch(number))
    assert registered == [(time.sleep, 30)]


def test_images_at_hand_and_streamed_have_one_interface(source: Stream):
    images = Images(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), torch.arange(6))
    assert isinstance(batches_of(images, 2), Batches) and isinstance(batches_of(source, 2), StreamBatches)
    assert torch.is_tensor(next(batches_of(images, 2, labelled=False).epoch(0)))
    assert torch.is_tensor(next(iter(batches_of(source, 2, labelled=False).epoch(0))))


# random resized crops


def test_boxes_lie_inside_and_cover_their_share():
    boxes = crop_boxes(30, 50, 0.2, 4000, torch.Generator().manual_seed(0))
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all() and (boxes[:, 2] <= 50.001).all() and (boxes[:, 3] <= 30.001).all()
    fits = (wide < 49.9) & (high < 29.9)
    share, ratio = (wide * high / 1500)[fits], (wide / high)[fits]
    assert share.min() >= 0.199 and ratio.min() > 0.74 and ratio.max() < 1.34
    assert 0.25 < share.mean() < 0.6 and abs(ratio.log().mean()) < 0.05


def test_a_resized_crop_is_pils():
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(256, (5, 1, 12, 12), generator=generator).to(torch.uint8)
    boxes = crop_boxes(12, 12, 0.3, 5, generator)
    out = resized_crop(x, boxes)
    for image, box, got in zip(x, boxes, out, strict=True):
        scaled = Pillow.fromarray(image[0].numpy()).resize(
            (12, 12), Pillow.Resampling.BILINEAR, box=tuple(box.tolist())
        )
        expected = torch.from_numpy(np.array(scaled)).int()
        # At its border PIL also weighs pixels outside of the box; inside both are one.
        assert (got[0, 2:-2, 2:-2].int() - expected[2:-2, 2:-2]).abs().max() <= 2


def test_the_whole_box_changes_nothing():
    x = torch.randint(256, (3, 3, 7, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(resized_crop(x, torch.tensor([[0.0, 0.0, 5.0, 7.0]]).expand(3, 4)), x)


def test_views_of_a_stream_come_from_the_whole_image(tmp_path: Path):
    """A box may reach what the square in the middle leaves out."""
    wide = made.colour(0, 0, 64, 16)
    wide[:, :20, 0] = 200
    path = tmp_path / "imagenet" / "data"
    made.write(path / "train-00000-of-00001.parquet", [wide] * 40, [0] * 40, 2)
    made.write(path / "validation-00000-of-00001.parquet", [wide], [0], 2)
    train = load_data("imagenet", data_dir=tmp_path, size=16, store=Store(tmp_path / "store")).train
    plain = next(batches_of(train, 40, labelled=False).epoch(0))
    views = next(batches_of(train, 40, labelled=False, augment=Augment(crop_area=0.1)).epoch(0))
    assert plain[:, 0].max() == 0
    assert (views[:, 0].amax((1, 2)) > 0.5).any() and len({tuple(x.flatten().tolist()) for x in views}) > 20
