"""The shape of a question that trains networks again and compares them on held-out training images."""

from dataclasses import dataclass, field

from torchhebb.bounds import at_least, between
from torchhebb.data import Images
from torchhebb.evaluate.evaluator import Note
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.study import Study, Variant
from torchhebb.nn import Network
from torchhebb.runs.networks import learn_run, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Learning, Recipe
from torchhebb.train.calibrate import calibrate
from torchhebb.train.recipe import shortened


@dataclass(frozen=True)
class HeldOut(Study[Variant]):
    """A question that trains networks and compares them on held-out training images.

    Test images are not used, so that settings may be chosen by the result.  Batch norm is calibrated after each
    training, so that networks differ only in their weights.
    """

    passes: int | None = field(default=None, metadata=at_least(1))
    """Passes over the images; None takes the recipe's."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of images that are learned from, drawn once from those not held out; None takes all."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the training images that is held out."""
    probe: Probe = field(default_factory=Probe)
    """Settings of the readout, which is fitted to training images that are not held out."""

    def check(self, run: Run) -> None:
        self.probe.check(run, run.data.holdout(self.holdout).train)

    def images_of(self, run: Run, seed: int) -> Images:
        """The images that the networks of a seed learn from."""
        return subsample(run.data.holdout(self.holdout, seed).train, self.images)

    def plan_of(self, recipe: Recipe) -> Learning:
        """The learning plan of a recipe, with the passes of the settings."""
        return shortened(recipe.learning, self.passes)

    def learned_accuracy(self, network: Network, run: Run, seed: int, recipe: Recipe, task: str) -> float:
        """Train a network by the plan of a recipe; returns its accuracy in % on the held-out images."""
        images = self.images_of(run, seed)
        learn_run(network, run, seed, images=images, plan=self.plan_of(recipe), task=f"{task}: learning")
        calibrate(network, images, seed=seed, learned=True)
        return self.score(network, run, seed, task)

    def random_accuracy(self, run: Run, seed: int) -> float:
        """Accuracy in % of the weights as drawn by the recipe."""
        return self.score(untrained(run, seed, self.images_of(run, seed)), run, seed, f"seed {seed}: random weights")

    def score(self, network: Network, run: Run, seed: int, task: str) -> float:
        """Accuracy in % on the held-out images of the probe."""
        data = run.data.holdout(self.holdout, seed)
        return self.probe.score(network, data.train, data.test, run, seed, task)

    def held_out_images(self, run: Run) -> Note:
        """The number of held-out images, as a note."""
        return Note("held_out_images", len(run.data.holdout(self.holdout).test))
