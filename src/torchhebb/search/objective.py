"""What a search maximises: accuracy on held-out training images."""

from dataclasses import dataclass
from typing import Literal

import torch

from torchhebb.data import Data, Images
from torchhebb.data.images import stratified_split
from torchhebb.progress import SILENT, Progress
from torchhebb.train import Recipe
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.learn import learn_images
from torchhebb.train.readout import fit_linear, predict_logits
from torchhebb.train.readouts import Ridge
from torchhebb.train.readouts.base import percent_correct
from torchhebb.train.run import check_fit

SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Objective:
    """Held-out accuracy in %, one value a seed, of a recipe that learns from other training images.

    The images are divided once, stratified: `held` is what every trial and seed is judged on.  The test images of the
    data set are not in an Objective.
    """

    train: Images
    held: Images
    classes: int
    fingerprint: str
    seeds: int
    readout: Literal["recipe", "ridge"]
    device: torch.device
    precision: Literal["float32", "bfloat16"]

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
        precision: Literal["float32", "bfloat16"],
    ) -> "Objective":
        """From the training images of a data set: `held` of them (a share or a count) to judge on, of the rest `images`
        to learn from, or all.  Raises UserError for a part that leaves either side without images."""
        parted = data.holdout(held, SPLIT_SEED)
        train = parted.train
        if images is not None and images < len(train):
            train = train.select(stratified_split(train.labels, images, SPLIT_SEED)[1])
        fingerprint = f"{parted.fingerprint} {len(train)}"
        return cls(train, parted.test, len(data.classes), fingerprint, seeds, readout, device, precision)

    def __call__(self, recipe: Recipe, *, task: str = "trial", progress: Progress = SILENT) -> list[float]:
        """Learn, read out and judge with every seed.  Raises UserError for a recipe that cannot be built."""
        check_fit(recipe, Data(recipe.data, self.train, self.held, tuple(map(str, range(self.classes))), ""))
        return [self._one(recipe, seed, f"{task}, seed {seed}", progress) for seed in range(self.seeds)]

    def _one(self, recipe: Recipe, seed: int, task: str, progress: Progress) -> float:
        network = recipe.architecture.build(seed).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learn_images(
            network,
            self.train,
            recipe.learning,
            seed=seed,
            precision=self.precision,
            task=f"{task}: learning",
            progress=progress,
        )
        with torch.no_grad(), autocast(self.precision, self.device):
            features, held = (
                extract_features(network, images, device=self.device) for images in (self.train, self.held)
            )
        labels = self.train.labels.to(self.device)
        if self.readout == "ridge":
            readout = Ridge().fit(features, labels, self.classes, seed=seed).readout
        else:
            plan, label = recipe.readout, f"{task}: readout"
            readout = fit_linear(features, labels, self.classes, plan, seed=seed, task=label, progress=progress)
        return percent_correct(predict_logits(readout, held).cpu(), self.held.labels)
