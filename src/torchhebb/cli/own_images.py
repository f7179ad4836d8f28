"""Defaults of `torchhebb train --data folder:PHOTOS` without a recipe."""

from torchhebb.cli.flags import value_after
from torchhebb.data import absolute_name, find_source, survey
from torchhebb.data.sources import FolderSource
from torchhebb.distributed import planned
from torchhebb.errors import UserError
from torchhebb.progress_display import make_progress
from torchhebb.recipes.own_images import NAME, fitting_size, own_images
from torchhebb.runs import TrainOptions
from torchhebb.train import Recipe


def plan_own_images(arguments: list[str]) -> tuple[Recipe, TrainOptions]:
    """The recipe and the options for the images that --data names; rank 0 prints why.

    Raises UserError without --data, or for images that cannot be read.
    """
    data = value_after("--data", arguments)
    if not data:
        raise UserError(f"{NAME} needs images of your own: torchhebb train {NAME} --data folder:PHOTOS")
    if {"-h", "--help"} & set(arguments):
        print(f"# The defaults are those for {data}.")
    source = find_source(absolute_name(data), value_after("--data-dir", arguments))
    skip = "--skip-unreadable" in arguments
    first = planned()[0] == 0
    progress = make_progress()
    try:
        seen = survey(source, skip_unreadable=skip, progress=progress)
    finally:
        progress.close()
    size, fit = value_after("--size", arguments), value_after("--fit", arguments) or "crop"
    if size is not None and not size.isdigit():
        raise UserError(f"--size must be a whole number, got {size!r}")
    framed = seen.preprocessing(int(size), fit) if size else fitting_size(seen, fit)  # type: ignore[arg-type]
    chosen = own_images(source.name, seen, framed)
    if first:
        print(*chosen.reasons, sep="\n")
        if isinstance(source, FolderSource) and source.left_aside:
            counts = ", ".join(
                f"{ending or 'no ending'} {count}" for ending, count in sorted(source.left_aside.items())
            )
            print(f"left aside, since their endings are not those of images: {counts}")
        if seen.skipped:
            print(f"left out, since they cannot be read: {sum(map(len, seen.skipped.values()))} images")
    scaled = size is not None or framed.size != seen.first[1] or seen.other is not None
    return chosen.recipe, TrainOptions(size=framed.width if scaled else None, fit=framed.fit, skip_unreadable=skip)
