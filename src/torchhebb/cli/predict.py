"""torchhebb predict: classes of image files."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from torchhebb.bounds import SIZE, Checked
from torchhebb.cli.flags import parse
from torchhebb.errors import UserError


@dataclass(frozen=True)
class PredictFlags(Checked):
    """The class of each image file by a trained run."""

    run: tyro.conf.Positional[Path]
    """A run folder."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """Image files, folders of them, or sources such as parquet:PATH; they are preprocessed as in training."""
    top: int = field(default=1, metadata=SIZE)
    """How many classes to show for each image, the likeliest first."""


def run(arguments: list[str]) -> int:
    """torchhebb predict RUN IMAGE... [--top N]"""
    from torchhebb.runs.predict import predict_files
    from torchhebb.terminal import print_predictions

    flags = parse(PredictFlags, arguments, "torchhebb predict")
    if not flags.images:
        raise UserError("predict needs image files: torchhebb predict RUN IMAGE...")
    print_predictions(predict_files(flags.run, flags.images, top=flags.top))
    return 0
