"""Selection of the images that the unsupervised phase learns from."""

from dataclasses import replace

import torch

from torchhebb.data import Data, Images, Stream
from torchhebb.errors import UserError
from torchhebb.train.recipe import Learning


def subset_images(data: Data, plan: Learning, seed: int) -> tuple[Images, Learning]:
    """The images that `plan.images` and `plan.fraction` name, and the plan for them, which names no others.

    A fraction of images in memory is one random subset for all passes; a stream gives another part in every pass.
    Raises UserError for a data set without an unlabelled part, or an order that a stream cannot have.

    >>> from torchhebb.data import load_data
    >>> images, plan = subset_images(load_data("digits"), Learning(fraction=0.1), 0)
    >>> len(images), plan.fraction
    (135, 1.0)
    """
    check_subset(data, plan)
    images: Images | None = data.train if plan.images == "train" else data.unlabelled
    assert images is not None
    if plan.fraction < 1:
        count = subset_size(data, plan)
        if isinstance(images, Stream):
            images = images.part(plan.fraction)
        else:
            drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
            images = images.select(drawn[:count].sort().values)
    return images, replace(plan, images="train", fraction=1.0)


def subset_size(data: Data, plan: Learning) -> int:
    """How many images each pass of the plan has."""
    images: Images | None = data.train if plan.images == "train" else data.unlabelled
    return max(1, round(plan.fraction * len(images))) if images is not None else 0


def subset_key(data: Data, plan: Learning, seed: int, precision: str) -> str:
    """What tells these images in this precision from others in the store."""
    part = "" if plan.images == "train" else f" {plan.images}"
    part += "" if plan.fraction == 1 else f" {plan.fraction} by {seed}"
    return f"{data.fingerprint}{part} in {precision}"


def check_subset(data: Data, plan: Learning) -> None:
    """Raise UserError if the data have no such images, or cannot be learned from in that order."""
    if plan.images == "unlabelled" and data.unlabelled is None:
        raise UserError(f"learning.images must be train: {data.name} has no unlabelled images here")
    if plan.order == "greedy" and plan.epochs > 1 and isinstance(data.train, Stream):
        raise UserError(f"learning.order must be joint or pipeline: {data.name} is streamed, and greedy keeps inputs")
