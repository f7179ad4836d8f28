"""Memory and resumption of `torchhebb embed`: many made images, an unbroken call, one that is killed, two processes.

    python benchmarks/bench_embed.py --images 100000

Prints rows, seconds and the peak of resident memory of every call, and whether all files are the same bytes.
"""

import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from arguments import parse
from PIL import Image

from torchhebb.nn import Architecture, ConvBlock, Pool, save

_ROWS = 1000
CALL = "import sys; from torchhebb.cli import main; sys.exit(main(sys.argv[1:]))"
LIMITED = (
    "import resource, sys\n"
    "from torchhebb.cli import main\n"
    "code = main(sys.argv[1:])\n"
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    "sys.exit(code)"
)


@dataclass(frozen=True)
class Settings:
    """Embed made images, unbroken, killed and resumed, and by two processes."""

    images: int = 100_000
    size: int = 16
    channels: int = 32
    """Of the network's one block; features are 8 x 8 maps of it."""
    kill_after: float = 0.5
    """The share of an unbroken call's time after which the second is killed."""


def main(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_images(root / "images.parquet", settings)
        block = ConvBlock(settings.channels, 5, pool=Pool("max", 2, 2))
        save(Architecture((3, settings.size, settings.size), (block,)).build(), root / "network.safetensors")
        started = time.monotonic()
        done = subprocess.run(command(root, "whole", LIMITED), capture_output=True, text=True, check=True)
        seconds = time.monotonic() - started
        peak = int(done.stdout.rsplit("peak ", 1)[1]) / 1024
        print(f"unbroken: {settings.images:,} images, {seconds:.0f} s, peak {peak:,.0f} MB")
        process = subprocess.Popen(command(root, "killed", CALL), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(settings.kill_after * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = len(list((root / "killed.parquet.shards").glob("shard-*.npz")))
        started = time.monotonic()
        subprocess.run(command(root, "killed", CALL), check=True, stdout=subprocess.DEVNULL)
        print(f"killed with {kept} shards kept, then {time.monotonic() - started:.0f} s; {same(root, 'killed')}")
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "torchhebb"]
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        started = time.monotonic()
        subprocess.run([*launch, *arguments(root, "two")], check=True, stdout=subprocess.DEVNULL, env=environment)
        print(f"two processes: {time.monotonic() - started:.0f} s; {same(root, 'two')}")
        print(f"peak of any child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:,.0f} MB")


def make_images(path: Path, settings: Settings) -> None:
    """Noise as PNG, `_ROWS` to a row group, so that none of this is in memory at once."""
    random, schema = np.random.default_rng(0), pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, settings.images, _ROWS):
            count = min(_ROWS, settings.images - start)
            arrays = random.integers(0, 256, (count, settings.size, settings.size, 3), dtype=np.uint8)
            writer.write_table(pa.table({"image": [png(array) for array in arrays]}, schema=schema))


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def arguments(root: Path, name: str) -> list[str]:
    source = f"parquet:{root / 'images.parquet'}"
    return ["embed", str(root / "network.safetensors"), source, "--out", str(root / f"{name}.parquet")]


def command(root: Path, name: str, code: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments(root, name)]


def same(root: Path, name: str) -> str:
    """Whether a file is that of the unbroken call, to the byte."""
    with open(root / "whole.parquet", "rb") as one, open(root / f"{name}.parquet", "rb") as other:
        while (part := one.read(1 << 24)) == other.read(1 << 24):
            if not part:
                return "the same file"
    return "ANOTHER FILE"


if __name__ == "__main__":
    main(parse(Settings))
