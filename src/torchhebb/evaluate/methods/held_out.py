"""Learning again and again, judged on held-out training images: the ground on which settings may be chosen."""

from dataclasses import dataclass, field, replace

from torchhebb.data import Images
from torchhebb.evaluate.evaluator import Evaluator
from torchhebb.evaluate.methods.probe import Probe, at_least_one
from torchhebb.evaluate.methods.resize import draw
from torchhebb.nn import Network
from torchhebb.runs.networks import learn_run
from torchhebb.runs.run import Run
from torchhebb.train import Learning, Recipe
from torchhebb.train.learn import calibrate


@dataclass(frozen=True)
class HeldOut(Evaluator):
    """A question that trains networks and compares them on held-out training images; test images are not touched.

    Batch norm is calibrated after each training, so that networks differ in their weights alone.
    """

    passes: int | None = None
    """Passes over the images; None is as many as the recipe says."""
    images: int | None = None
    """How many images are learned from, drawn once from those not held out; None is all of them."""
    holdout: float = 0.1
    """Share of the training images that is held out."""
    probe: Probe = field(default_factory=Probe)
    """The readout, fitted to training images that are not held out."""

    def check(self, run: Run) -> None:
        """Raise UserError for a setting out of range."""
        at_least_one(passes=self.passes, images=self.images)
        self.probe.check()
        run.data.holdout(self.holdout)

    def images_of(self, run: Run, seed: int) -> Images:
        """What the networks of a seed learn from."""
        return draw(run.data.holdout(self.holdout, seed).train, self.images)

    def plan_of(self, recipe: Recipe) -> Learning:
        """How they learn."""
        return recipe.learning if self.passes is None else replace(recipe.learning, epochs=self.passes)

    def learned_accuracy(self, network: Network, run: Run, seed: int, recipe: Recipe, task: str) -> float:
        """Train a network by the plan of a recipe; returns its accuracy in % on the held-out images."""
        images = self.images_of(run, seed)
        learn_run(network, run, seed, images=images, plan=self.plan_of(recipe), task=f"{task}: learning")
        calibrate(network, images, seed=seed, learned=True)
        return self.score(network, run, seed, task)

    def score(self, network: Network, run: Run, seed: int, task: str) -> float:
        """Accuracy in % on the held-out images of the probe."""
        data = run.data.holdout(self.holdout, seed)
        return self.probe.score(network, data.train, data.test, run, seed, task)
