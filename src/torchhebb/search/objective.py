"""The objective of a search: accuracy on held-out training images."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from torchhebb.data import Data, Images
from torchhebb.data.images import stratified_split
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts import Ridge
from torchhebb.readouts.base import readout_accuracy
from torchhebb.train import Recipe
from torchhebb.train.device import Precision
from torchhebb.train.fitting import check_fit
from torchhebb.train.trial import features, fresh_network, judge, learn_from

SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Objective:
    """Held-out accuracy in %, one value a seed, of a recipe that learns from other training images.

    The images are split once, stratified: the held-out ones, on which every trial and seed is evaluated, are what
    `data` has as its test images. The real ones are not in an Objective.
    """

    data: Data
    seeds: int
    readout: Literal["recipe", "ridge"]
    device: torch.device
    precision: Precision

    @classmethod
    def of(
        cls,
        data: Data,
        *,
        held: float | int,
        images: int | None,
        seeds: int,
        readout: Literal["recipe", "ridge"],
        device: torch.device,
        precision: Precision,
    ) -> "Objective":
        """From the training images of a data set: `held` of them (a share or a count) to evaluate on, and `images`
        of the rest, or all, to learn from.  Raises UserError for a part that leaves either side without images."""
        parted = data.holdout(held, SPLIT_SEED)
        train = parted.train
        if images is not None and images < len(train):
            train = train.select(stratified_split(train.labels, images, SPLIT_SEED)[1])
        given = replace(parted, train=train, fingerprint=f"{parted.fingerprint} {len(train)}")
        return cls(given, seeds, readout, device, precision)

    @property
    def fingerprint(self) -> str:
        """What tells these images from others."""
        return self.data.fingerprint

    @property
    def held(self) -> Images:
        """The images on which every trial is evaluated."""
        return self.data.test

    def check(self, recipe: Recipe) -> None:
        """Raise UserError for a recipe that cannot be built, or does not fit the images."""
        check_fit(recipe, self.data)

    def __call__(self, recipe: Recipe, *, task: str = "trial", progress: Progress = SILENT) -> list[float]:
        """Train and evaluate every seed.  Raises UserError for a recipe that cannot be built."""
        self.check(recipe)
        return [self._one(recipe, seed, f"{task}, seed {seed}", progress) for seed in range(self.seeds)]

    def _one(self, recipe: Recipe, seed: int, task: str, progress: Progress) -> float:
        network, data = fresh_network(recipe, seed, self.device), self.data
        learn_from(
            network,
            data,
            recipe.learning,
            seed=seed,
            precision=self.precision,
            task=f"{task}: learning",
            progress=progress,
        )
        if self.readout == "recipe":
            where = {"device": self.device, "precision": self.precision, "progress": progress}
            return judge(network, data, recipe, seed=seed, task=f"{task}: readout", **where)  # type: ignore[arg-type]
        train, held = (features(network, images, self.device, self.precision) for images in (data.train, data.test))
        labels = data.train.labels.to(self.device)
        readout = Ridge().fit(train, labels, len(data.classes), seed=seed).readout
        return readout_accuracy(readout, held, data.test.labels)
