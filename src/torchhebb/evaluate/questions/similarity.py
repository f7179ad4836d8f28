"""Which images look alike to a network? Similarities within one batch, from the input to the last block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.functional import structure_loss
from torchhebb.nn import Network, as_local_loss
from torchhebb.runs.baselines import CONTENDERS, ContenderName, check_contenders, contender
from torchhebb.runs.run import Run
from torchhebb.train import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CALIBRATION_IMAGES = 1000

Stages = dict[str, Tensor]
"""`input`, then `<block>_output` and `<block>_projection` from the input up, flattened (B, ...)."""


@dataclass(frozen=True)
class Similarity(Evaluator):
    """Cosine similarities between test images, sorted by class, at the input and after every block.

    Shown are the first images of every class.  The input is what enters the first block; blocks of a local loss also
    show their projection.  The projections of contenders that never learned one are as drawn, their batch norm
    calibrated on training images.  Measures, a value a seed:

        <contender>_<stage>_structure_loss      mean squared difference to the similarities of the input
        <contender>_<block>_projection_local_structure_loss      the same to the block's own input, which it learns by
        <contender>_<stage>_class_separation    mean similarity within classes less the mean between them; no image is
                                                compared with itself

    where a stage is `input`, `<block>_output` or `<block>_projection`.  The figure shows the first seed.
    Raises UserError for settings out of range, or more images of a class than there are.
    Source: SPHeRe-2025, similarity matrices of a batch at each block.
    """

    question: ClassVar[str] = "similarity"

    images_per_class: int = 10
    """Test images of each class."""
    classes: int = 10
    """How many classes, the first ones; 100 classes would not be seen in a picture."""
    contenders: tuple[ContenderName, ...] = ("own", "random")
    """Whose similarities."""

    def run(self, run: Run) -> Iterator[Finding]:
        images = self._images(run)
        x = images.images.to(run.device) / 255.0
        values: dict[tuple[str, str], list[float]] = {}
        grams: dict[str, dict[str, Tensor]] = {}
        for seed in run.seeds:
            for name in self.contenders:
                network = contender(run, seed, name)
                if name != "own":
                    calibrate_projections(network, run.data.train.images[:CALIBRATION_IMAGES].to(run.device) / 255.0)
                stages = stages_of(network, x)
                for quantity, value in _quantities(stages, images.labels.to(run.device)).items():
                    values.setdefault((name, quantity), []).append(value)
                if seed == run.seeds[0]:
                    grams[name] = {stage: cosine_similarity(z).cpu() for stage, z in stages.items()}
        for (who, quantity), found in values.items():
            yield Measure(f"{who}_{quantity}", "", tuple(found))
        yield Note("images", len(images))
        caption = "Cosine similarities between test images sorted by class; lines part the classes."
        yield Figure("matrices", caption, _figure(grams, self.images_per_class))

    def _images(self, run: Run) -> Images:
        """The first test images of each of the first classes, class after class."""
        for setting, least in (("images_per_class", 2), ("classes", 2)):
            if getattr(self, setting) < least:
                raise UserError(f"{setting} must be at least {least}, got {getattr(self, setting)}")
        check_contenders(self.contenders)
        labels, wanted = run.data.test.labels, self.images_per_class
        index = [(labels == label).nonzero()[:wanted, 0] for label in range(min(self.classes, len(run.data.classes)))]
        if (fewest := min(map(len, index))) < wanted:
            raise UserError(f"images_per_class must be at most {fewest} for the test images here, got {wanted}")
        return run.data.test.select(torch.cat(index))


@torch.no_grad()
def stages_of(network: Network, x: Tensor) -> Stages:
    """What a network makes of pixels x (B, C, H, W): its blocks' outputs and, with local losses, their projections."""
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
    """Mean similarity within classes, the diagonal apart, less the mean between classes.

    >>> class_separation(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([0, 0, 1]))
    0.5
    """
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    within = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return (similarity[within].mean() - similarity[~same].mean()).item()


def _quantities(stages: Stages, labels: Tensor) -> dict[str, float]:
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


def _figure(grams: Mapping[str, Mapping[str, Tensor]], per_class: int) -> "Canvas":
    """A row of matrices a contender, all of one colour scale."""
    from matplotlib.figure import Figure as Canvas

    columns = max(map(len, grams.values()))
    lowest = min(gram.min().item() for row in grams.values() for gram in row.values())
    canvas = Canvas(figsize=(1.5 * columns + 0.8, 1.75 * len(grams) + 0.2), layout="constrained")
    grid = canvas.subplots(len(grams), columns, squeeze=False)
    for axes, (name, row) in zip(grid, grams.items(), strict=True):
        for part, (stage, gram) in zip(axes, row.items(), strict=True):
            picture = part.imshow(gram.numpy(), vmin=lowest, vmax=1.0, interpolation="nearest")
            for line in range(per_class, len(gram), per_class):
                part.axhline(line - 0.5, color="black", linewidth=0.4)
                part.axvline(line - 0.5, color="black", linewidth=0.4)
            part.set(xticks=[], yticks=[])
            part.set_title(stage.replace("block", "block ").replace("_", ", "), fontsize=7)
        axes[0].set_ylabel("learned" if name == "own" else CONTENDERS[name], fontsize=8)
    canvas.colorbar(picture, ax=grid, shrink=0.8, label="cosine similarity")
    return canvas
