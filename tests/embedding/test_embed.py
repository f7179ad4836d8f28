"""Features in memory and in files: the network's own, whatever the source, and resumable to the bit."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import torchhebb
from torchhebb.cli import main
from torchhebb.data import Images, Store, from_arrays, open_inputs
from torchhebb.embedding import embed, open_encoder, shards, write_embeddings
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, Network, load, save
from torchhebb.recipes import create_model, get_recipe
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Readout, Recipe

COUNT = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes and two sizes."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(COUNT):
        path = root / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9 + number % 2, 12, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    recipe = Recipe(
        "tiny",
        f"folder:{folder}",
        Architecture((3, 8, 8), (ConvBlock(4, 3, init_radius=1.0),)),
        readout=Readout(epochs=1),
        baselines=(),
    )
    run_recipe(recipe, TrainOptions(precision="float32", size=8), folder=out, store=Store(out / "store"))
    return out


def expected(run: Path, folder: Path) -> torch.Tensor:
    encoder = open_encoder(run)
    pixels = torch.cat([batch.pixels for batch in open_inputs([folder]).batches(encoder.preprocessing, 4)])
    network = load(run / "model.safetensors").eval()
    with torch.no_grad():
        return network(pixels / 255.0).flatten(1)


def test_the_features_are_those_of_the_network(run: Path, folder: Path):
    wanted = expected(run, folder)
    for images in (folder, f"folder:{folder}", [folder], sorted(folder.rglob("*.png"))):
        found = torchhebb.embed(run, images)
        assert found.dtype == torch.float32 and torch.allclose(found, wanted, atol=1e-5)
    one = embed(run, sorted(folder.rglob("*.png"))[0])
    assert one.shape == (1, wanted.shape[1]) and torch.allclose(one[0], wanted[0], atol=1e-5)


def test_tensors_and_arrays_are_taken_as_they_are(run: Path):
    network = load(run / "model.safetensors").eval()
    assert isinstance(network, Network)
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        wanted = network(pixels / 255.0).flatten(1)
    for images in (
        pixels,
        pixels / 255.0,
        pixels.numpy(),
        Images(pixels, torch.zeros(5, dtype=torch.int64)),
        from_arrays(pixels),
    ):
        for model in (run, network, run / "model.safetensors"):
            assert torch.allclose(embed(model, images, batch_size=2), wanted, atol=1e-5)
    large = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    assert embed(run, large).shape == (2, wanted.shape[1])


def test_what_cannot_be_embedded_is_said(run: Path, tmp_path: Path):
    for target, images, message in (
        (tmp_path, torch.zeros(1, 3, 8, 8), "no such run folder or weights file"),
        (run, torch.full((1, 3, 8, 8), 2.0), r"floats must lie in \[0, 1\], got 2 to 2"),
        (run, 3, "images must be a tensor, an array, Images, or a source, got int"),
        (run, "cifar1", "unknown data set 'cifar1'"),
        (
            torch.nn.Linear(2, 2),
            torch.zeros(1, 3, 8, 8),
            "the network must have an architecture, got Linear",
        ),
    ):
        with pytest.raises(UserError, match=message):
            embed(target, images)
    with pytest.raises(
        UserError, match="no such run folder or weights file: softhebb2023-digit; .*softhebb2023-digits"
    ):
        embed("softhebb2023-digit", torch.zeros(1, 1, 8, 8))
    with pytest.raises(UserError, match="dim needs a run"):
        embed(run / "model.safetensors", torch.zeros(1, 3, 8, 8), dim=2)


def test_the_name_of_a_network_that_ships_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shipped = create_model("softhebb2023-digits", pretrained=True)
    assert torch.allclose(embed("softhebb2023-digits", pixels), shipped(pixels).flatten(1), atol=1e-3)
    monkeypatch.chdir(tmp_path)
    torchhebb.save(create_model("softhebb2023-digits"), "softhebb2023-digits")  # a path goes before a name
    assert not torch.allclose(embed("softhebb2023-digits", pixels), shipped(pixels).flatten(1), atol=1e-3)


# files


def command(run: Path, source: object, out: Path, *flags: str) -> list[str]:
    return ["embed", str(run), str(source), "--out", str(out), *flags]


def test_every_format_holds_the_same_rows(run: Path, folder: Path, tmp_path: Path):
    wanted = expected(run, folder)
    files = [str(path) for path in sorted(folder.rglob("*.png"))]
    labels = [Path(name).parent.name for name in files]
    for ending in ("parquet", "npz", "csv"):
        assert main(command(run, f"folder:{folder}", tmp_path / f"x.{ending}")) == 0
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema.field("embedding").type == "fixed_size_list<element: float>[256]" or (
        table.schema.field("embedding").type.list_size == wanted.shape[1]
    )
    assert table["file"].to_pylist() == files and table["label"].to_pylist() == labels
    assert np.allclose(np.array(table["embedding"].to_pylist(), np.float32), wanted, atol=1e-5)
    with np.load(tmp_path / "x.npz") as kept:
        assert kept["files"].tolist() == files and kept["labels"].tolist() == labels
        assert np.allclose(kept["embeddings"], wanted, atol=1e-5) and kept["embeddings"].dtype == np.float32
        embeddings = kept["embeddings"]
    with open(tmp_path / "x.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["file", "label", "feature0"] and [row[0] for row in rows] == files
    assert np.array_equal(np.array([row[2:] for row in rows], np.float32), embeddings)
    assert not list(tmp_path.glob("*.shards"))


def test_images_without_labels_have_no_such_column(run: Path, folder: Path, tmp_path: Path):
    single = sorted(folder.rglob("*.png"))[0]
    assert main(command(run, single, tmp_path / "x.parquet")) == 0
    assert pq.read_table(tmp_path / "x.parquet").column_names == ["file", "embedding"]
    assert main(command(run, single, tmp_path / "x.npz")) == 0
    with np.load(tmp_path / "x.npz") as kept:
        assert set(kept) == {"embeddings", "files"}


def test_a_stopped_call_goes_on_to_the_same_file(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shards, "SHARD_ROWS", 4)
    encoder, inputs = open_encoder(run), open_inputs([folder])
    whole = write_embeddings(encoder, inputs, tmp_path / "whole.parquet")
    assert (whole.rows, whole.width, whole.skipped) == (COUNT, encoder.width, ())
    seen: list[int] = []
    keep = shards._keep

    def stopping(folder: Path, number: int, *rest: object) -> None:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(number)
        keep(folder, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "_keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(encoder, inputs, tmp_path / "part.parquet")
    assert seen == [0, 1, 2] and not (tmp_path / "part.parquet").exists()
    monkeypatch.setattr(
        shards, "_keep", lambda folder, number, *rest: (seen.append(number), keep(folder, number, *rest))
    )
    write_embeddings(encoder, inputs, tmp_path / "part.parquet")
    assert seen == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "part.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_shards_of_something_else_are_not_mixed_in(run: Path, folder: Path, tmp_path: Path):
    encoder = open_encoder(run)
    shards._planned(encoder, open_inputs([folder]), tmp_path / "x.npz.shards", False)
    with pytest.raises(UserError, match="keeps shards of other images or another network"):
        write_embeddings(encoder, open_inputs([folder, folder]), tmp_path / "x.npz")


def test_a_damaged_shard_is_said_and_made_again(run: Path, folder: Path, tmp_path: Path):
    encoder, inputs = open_encoder(run), open_inputs([folder])
    place = tmp_path / "x.npz.shards"
    shards._planned(encoder, inputs, place, False)
    (place / "shard-000000.npz").write_bytes(b"PK broken")
    with pytest.raises(UserError, match="was damaged .* the same command makes it again"):
        write_embeddings(encoder, inputs, tmp_path / "x.npz")
    assert write_embeddings(encoder, inputs, tmp_path / "x.npz").rows == COUNT


def test_unreadable_images_stop_or_are_listed(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / "images"
    root.mkdir()
    for path in folder.rglob("*.png"):
        (root / path.name).write_bytes(path.read_bytes())
    (root / "05.png").write_text("junk")
    assert main(command(run, f"folder:{root}", tmp_path / "x.npz")) == 2
    assert "cannot read the image" in capsys.readouterr().err
    assert main(command(run, f"folder:{root}", tmp_path / "y.npz", "--skip-unreadable")) == 0
    assert f"left out 1 images that cannot be read: {tmp_path / 'y.npz.skipped.txt'}" in capsys.readouterr().out
    assert (tmp_path / "y.npz.skipped.txt").read_text() == f"{root / '05.png'}\n"
    with np.load(tmp_path / "y.npz") as kept:
        assert len(kept["files"]) == COUNT - 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "x.txt"], "out must end in .parquet, .npz, .csv, got 'x.txt'"),
        ([], "embed needs images and a file"),
        (["--out", "x.npz", "--dim", "0"], "dim must be at least 1, got 0"),
        (["--out", "x.npz", "--device", "tpu"], "device must be"),
    ],
)
def test_a_mistake_is_one_line(
    run: Path, folder: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["embed", str(run), str(folder), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


# principal components


def test_components_are_fitted_on_the_training_features_and_kept(run: Path, folder: Path, tmp_path: Path):
    from torchhebb.runs.run import open_run

    whole = embed(run, folder)
    found = embed(run, folder, dim=3)
    train = embed(run, open_run(run, store=Store(tmp_path)).data.train).double()
    centred = train - train.mean(0)
    _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
    wanted = (whole.double() - train.mean(0)) @ vectors[:3].T / values[:3] * len(train) ** 0.5
    assert torch.allclose(found.double().abs(), wanted.abs(), atol=1e-4)
    kept = (run / "pca-3.safetensors").read_bytes()
    assert torch.equal(embed(run, folder, dim=3), found) and (run / "pca-3.safetensors").read_bytes() == kept
    (run / "pca-3.safetensors").write_bytes(kept[:-5])
    assert torch.equal(embed(run, folder, dim=3), found)


# processes and memory


def test_two_processes_write_the_rows_of_one(run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 4)
    assert main(command(run, folder, tmp_path / "one.parquet", "--dim", "2")) == 0
    code = (
        "import sys; from torchhebb.embedding import shards; shards.SHARD_ROWS = 4\n"
        "from torchhebb.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    (tmp_path / "call.py").write_text(code)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29641"]
    done = subprocess.run(
        [sys.executable, *launch, str(tmp_path / "call.py"),
         *command(run, folder, tmp_path / "two.parquet", "--dim", "2")],
        capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_a_killed_call_goes_on(run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed between any two shards: what was written is kept, and the file is that of an unbroken call."""
    code = (
        "import sys, time; from torchhebb.embedding import shards; shards.SHARD_ROWS = 4\n"
        "keep = shards._keep\n"
        "shards._keep = lambda *a: (keep(*a), time.sleep(0.5))\n"
        "from torchhebb.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    call = [sys.executable, "-c", code, *command(run, folder, tmp_path / "x.parquet")]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = tmp_path / "x.parquet.shards" / "shard-000001.npz"
    until = time.monotonic() + 60
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert first.exists() and not (tmp_path / "x.parquet").exists()
    assert json.loads((tmp_path / "x.parquet.shards" / "plan.json").read_text())["rows"] == COUNT
    calls, keep = [], shards._keep
    monkeypatch.setattr(shards, "SHARD_ROWS", 4)
    monkeypatch.setattr(shards, "_keep", lambda *arguments: (calls.append(arguments), keep(*arguments)))
    assert main(command(run, folder, tmp_path / "x.parquet")) == 0 and 0 < len(calls) <= -(-COUNT // 4) - 2
    assert main(command(run, folder, tmp_path / "y.parquet")) == 0
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


def test_the_function_is_reached_through_the_package():
    assert torchhebb.embed is embed and callable(get_recipe)  # the command line may be imported first
    network = Architecture((1, 8, 8), (ConvBlock(2, 3),)).build()
    assert torchhebb.embed(network, torch.zeros(2, 1, 8, 8)).shape == (2, 2 * 64)


def test_a_weights_file_is_enough(tmp_path: Path, folder: Path):
    save(Architecture((1, 8, 8), (ConvBlock(2, 3),)).build(), tmp_path / "net.safetensors")
    assert main(command(tmp_path / "net.safetensors", folder, tmp_path / "x.npz")) == 0
