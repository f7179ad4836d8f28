"""Cosine similarities between test images, from the input to the last block."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchhebb.bounds import at_least, distinct
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.matrices import similarity_maps
from torchhebb.evaluate.study import Cell, Quantity, Study
from torchhebb.functional import structure_loss
from torchhebb.nn import Network, as_local_loss
from torchhebb.runs.baselines import COMPARED, BaselineName, baseline
from torchhebb.runs.run import Run

CALIBRATION_IMAGES = 1000

Stages = dict[str, Tensor]
"""`input`, `<block>_output` and `<block>_projection`, from the input up, flattened to (B, ...)."""


@dataclass(frozen=True)
class Similarity(Study[BaselineName]):
    """Cosine similarities between test images, sorted by class, at the input and after every block.

    The images are the first ones of every class.  The input is that of the first block; blocks with a local loss also
    have a projection.  For baselines that do not learn a projection, it has random weights and a batch norm that is
    calibrated on training images.  Measures, with one value per seed:

        <baseline>_<stage>_structure_loss      mean squared difference from the similarities of the input
        <baseline>_<block>_projection_local_structure_loss      the same from the block's own input, as in its loss
        <baseline>_<stage>_class_separation    mean similarity within classes minus the mean between classes, without
                                                the similarity of an image with itself

    A stage is `input`, `<block>_output` or `<block>_projection`.  The figure shows the first seed.
    Raises UserError for settings out of range, or more images of a class than there are.
    Source: SPHeRe-2025, similarity matrices of a batch at each block.

    Example:
        >>> Similarity(images_per_class=5).question
        'similarity'
    """

    question: ClassVar[str] = "similarity"
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {
        "structure_loss": Quantity("difference to the similarities of the input"),
        "local_structure_loss": Quantity("difference to the similarities of the block's input"),
        "class_separation": Quantity("similarity within classes less that between them"),
    }

    images_per_class: int = field(default=10, metadata=at_least(2))
    """Number of test images of each class."""
    classes: int = field(default=10, metadata=at_least(2))
    """Number of classes, the first ones; a figure of 100 classes would not be legible."""
    baselines: tuple[BaselineName, ...] = field(default=("own", "random"), metadata=distinct())
    """Networks to compare."""

    def check(self, run: Run) -> None:
        if len(run.data.classes) < 2:
            raise UserError(f"similarity needs two classes at least, {run.data.name} has {len(run.data.classes)}")
        if (fewest := min(map(len, self._index(run)))) < self.images_per_class:
            raise UserError(
                f"images_per_class must be at most {fewest} for the test images here, got {self.images_per_class}"
            )

    def variants(self, run: Run) -> dict[str, BaselineName]:
        return {name: name for name in self.baselines}

    def cell(self, run: Run, variant: BaselineName, seed: int) -> Cell:
        labels = run.data.test.labels[torch.cat(self._index(run))].to(run.device)
        return quantities_of(self._stages(run, variant, seed), labels)

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        index = self._index(run)
        yield Note("images", sum(map(len, index)))
        rows = {}
        for name in self.baselines:
            stages = self._stages(run, name, run.seeds[0])
            grams = {_words(stage): cosine_similarity(z).cpu() for stage, z in stages.items()}
            rows["learned" if name == "own" else COMPARED[name]] = grams
        caption = "Cosine similarities between test images sorted by class; lines separate the classes."
        yield Figure("matrices", caption, similarity_maps(rows, self.images_per_class))

    def _index(self, run: Run) -> list[Tensor]:
        """The first test images of each of the first classes, class after class."""
        labels, classes = run.data.test.labels, min(self.classes, len(run.data.classes))
        return [(labels == label).nonzero()[: self.images_per_class, 0] for label in range(classes)]

    def _stages(self, run: Run, name: BaselineName, seed: int) -> Stages:
        """The stages of a baseline for these images."""
        network = baseline(run, seed, name, readout=False)
        if name != "own":
            calibrate_projections(network, run.data.train.images[:CALIBRATION_IMAGES].to(run.device) / 255.0)
        images = run.data.test.images[torch.cat(self._index(run))]
        return stages_of(network, images.to(run.device) / 255.0)


@torch.no_grad()
def stages_of(network: Network, x: Tensor) -> Stages:
    """The outputs of all blocks for pixels x (B, C, H, W) and, for blocks with a local loss, their projections."""
    stages: Stages = {}
    for name, module in network.named_children():
        if name.startswith("block"):
            stages.setdefault("input", x.flatten(1))
            if (local := as_local_loss(module)) is not None:
                stages[f"{name}_projection"] = local.auxiliary(local.body(x)).flatten(1)
            x = module(x)
            stages[f"{name}_output"] = x.flatten(1)
        else:
            x = module(x)
    return stages


def calibrate_projections(network: Network, x: Tensor) -> None:
    """Set the running statistics of the projections' batch norms to those of x; the blocks' own stay as they are."""
    blocks = [block for block in map(as_local_loss, network.children()) if block is not None]
    norms = [norm for block in blocks for norm in block.auxiliary.modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    stages_of(network, x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum


def cosine_similarity(z: Tensor) -> Tensor:
    """K (B, B): cosines between the rows of z (B, D).

    >>> cosine_similarity(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows = normalize(z, dim=1)
    return rows @ rows.mT


def class_separation(similarity: Tensor, labels: Tensor) -> float:
    """Mean similarity within classes, without the diagonal, minus the mean between classes.

    >>> class_separation(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([0, 0, 1]))
    0.5
    """
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    within = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return (similarity[within].mean() - similarity[~same].mean()).item()


def quantities_of(stages: Stages, labels: Tensor) -> dict[str, float]:
    """Losses and separations of every stage, by the names of their measures."""
    found: dict[str, float] = {}
    own_input = stages["input"]
    for stage, z in stages.items():
        if stage != "input":
            found[f"{stage}_structure_loss"] = structure_loss(stages["input"], z).item()
        if stage.endswith("_projection"):
            found[f"{stage}_local_structure_loss"] = structure_loss(own_input, z).item()
        if stage.endswith("_output"):
            own_input = z
        found[f"{stage}_class_separation"] = class_separation(cosine_similarity(z), labels)
    return found


def _words(stage: str) -> str:
    """The title of a stage.

    >>> _words("block1_projection")
    'block 1, projection'
    """
    return stage.replace("block", "block ").replace("_", ", ")
