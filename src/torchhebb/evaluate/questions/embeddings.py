"""Two-dimensional maps of test images after every block, and measures of how well classes separate."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from torchhebb.bounds import at_least, distinct
from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.embedding_maps import maps_figure
from torchhebb.evaluate.methods.subsample import evenly_spaced_images
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study
from torchhebb.nn import Network
from torchhebb.runs.baselines import COMPARED, BaselineName, baseline, baseline_label
from torchhebb.runs.run import Run
from torchhebb.train.device import autocast
from torchhebb.train.features import batch_size_for

PIXELS = "pixels"
COMPONENTS = 50
MOST = 10_000
"""Images: the measures compare every image with every other."""


@dataclass(frozen=True)
class Embeddings(Study[BaselineName | None]):
    """How well classes separate in pixels and after every block: t-SNE maps, silhouettes and nearest neighbours.

    Pixels and block outputs are reduced to 50 principal components, and these to a map by t-SNE.  The maps of a block
    are first averaged to at most `positions` x `positions`, which bounds the memory.  Measures, with one value per
    seed, where a stage is `pixels` or `<baseline>_<block>`:

        <stage>_neighbours_accuracy   share in % of images whose class is the most frequent one of their `k` nearest
                                      neighbours in the principal components; ties go to the lower class
        <stage>_silhouette            mean silhouette of the classes in the principal components, from -1 to 1
        <stage>_trustworthiness       share of neighbours in the map that are neighbours in the components, 0 to 1

    The figure shows the first seed, with one colour per class.
    Raises UserError for settings out of range, or images of a single class.
    Source: SoftHebb-2023, embeddings of layer outputs (by UMAP there); van der Maaten and Hinton 2008 for t-SNE;
    Rousseeuw 1987 for the silhouette; Venna and Kaski 2001 for trustworthiness.

    Example:
        >>> Embeddings(images=500, perplexity=10.0).question
        'embeddings'
    """

    question: ClassVar[str] = "embeddings"
    quantities: ClassVar[dict[str, Quantity]] = {
        "neighbours_accuracy": Quantity("images whose nearest others are of their class, %", "%"),
        "silhouette": Quantity("silhouette of the classes"),
        "trustworthiness": Quantity("trustworthiness of the map"),
    }

    images: int = 2000
    """Number of test images, evenly spaced over all."""
    baselines: tuple[BaselineName, ...] = field(default=("own", "random"), metadata=distinct() | NOT_IN_CELLS)
    """Networks whose blocks are compared, one row of the figure each."""
    positions: int = field(default=4, metadata=at_least(1))
    """Height and width to which larger maps are averaged."""
    k: int = field(default=10, metadata=at_least(1))
    """Number of nearest neighbours for the accuracy and the trustworthiness."""
    perplexity: float = 30.0
    """Perplexity of t-SNE, about the number of neighbours that it keeps close."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.perplexity < self.images:
            raise UserError(f"perplexity must be positive and below {self.images}, the images, got {self.perplexity:g}")

    def check(self, run: Run) -> None:
        least, most = max(2 * self.k + 2, 10), min(MOST, len(run.data.test))
        if not least <= self.images <= most:
            allowed = f"from {least} (for k = {self.k}) to {most}"
            raise UserError(f"images must be {allowed}, got {self.images}")
        labels = self._images(run).labels
        if not 2 <= len(labels.unique()) < len(labels):
            raise UserError("embeddings need images of at least two classes, and at least two images of one class")

    def variants(self, run: Run) -> dict[str, BaselineName | None]:
        return {PIXELS: None} | {name: name for name in self.baselines}

    def cell(self, run: Run, variant: BaselineName | None, seed: int) -> Cell:
        """All quantities and the `maps`, of the pixels or of every block of a baseline."""
        images = self._images(run)
        if variant is None:
            found = self._embedded(run, seed, PIXELS, images.images.flatten(1) / 255.0, images.labels)
            return found["measures"] | {"maps": {PIXELS: found["map"]}}
        label = f"seed {seed}: {COMPARED[variant]}: block outputs"
        outputs = block_outputs(baseline(run, seed, variant, readout=False), images, run, self.positions, label)
        cell: Cell = {"maps": {}}
        for block, rows in outputs.items():
            found = self._embedded(run, seed, f"{variant}, {block}", rows, images.labels)
            cell |= {f"{block}_{name}": value for name, value in found["measures"].items()}
            cell["maps"][block] = found["map"]
        return cell

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        images = self._images(run)
        yield Note("images", len(images))
        caption = (
            f"{len(images):,} test images, one colour per class: pixels and block outputs, reduced to {COMPONENTS} "
            "principal components and from there to the plane by t-SNE. Below each map, the fraction of images whose "
            f"class is the most frequent one of their {self.k} nearest neighbours in the components."
        )
        pixels = self._maps(cells[PIXELS][0])
        rows = {baseline_label(run, name): pixels | self._maps(cells[name][0]) for name in self.baselines}
        yield Figure("maps", caption, maps_figure(rows, images.labels, run.data.classes))

    def _maps(self, cell: Cell) -> dict[str, tuple[np.ndarray, str]]:
        """Every map of a cell by its title, with the text below it."""
        found = {}
        for stage, points in cell["maps"].items():
            accuracy = cell["neighbours_accuracy" if stage == PIXELS else f"{stage}_neighbours_accuracy"]
            found[stage.replace("block", "block ")] = np.array(points), f"{self.k} nearest: {accuracy:.1f} %"
        return found

    def _images(self, run: Run) -> Images:
        return evenly_spaced_images(run.data.test, self.images)

    def _embedded(self, run: Run, seed: int, words: str, rows: Tensor, labels: Tensor) -> dict[str, Any]:
        run.progress.start(f"seed {seed}: {words}: map", 1, "maps")
        found = embed(rows, labels, seed, k=self.k, perplexity=self.perplexity)
        run.progress.advance(1)
        run.progress.finish()
        return found


def embed(rows: Tensor, labels: Tensor, seed: int, *, k: int, perplexity: float) -> dict[str, Any]:
    """Reduce rows (N, F) to principal components and to the plane, and measure both.

    Returns: `map`, N points of the plane; `measures`, by name.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE, trustworthiness
    from sklearn.metrics import silhouette_score

    x, y = rows.float().cpu().numpy(), labels.cpu().numpy()
    z = PCA(min(COMPONENTS, *x.shape), random_state=seed).fit_transform(x)
    with warnings.catch_warnings():
        # t-SNE divides by the standard deviation of a component, which is 0 if all rows are equal.
        warnings.filterwarnings("ignore", message="invalid value encountered", category=RuntimeWarning)
        plane = TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(z)
    measures = {
        "neighbours_accuracy": neighbours_accuracy(z, y, k),
        "silhouette": float(silhouette_score(z, y)),
        "trustworthiness": float(trustworthiness(z, plane, n_neighbors=k)),
    }
    return {"map": [[float(f"{value:.5g}") for value in point] for point in plane], "measures": measures}


def neighbours_accuracy(z: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share in % of rows of z (N, D) whose label is the most frequent one of their k nearest other rows.

    >>> neighbours_accuracy(np.array([[0.0], [1.0], [5.0], [6.0]]), np.array([0, 0, 1, 0]), 1)
    50.0
    """
    from sklearn.neighbors import NearestNeighbors

    others = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    votes = [np.bincount(row).argmax() for row in labels[others]]
    return 100 * float(np.mean(votes == labels))


def block_outputs(
    network: Network, images: Images, run: Run, positions: int, label: str = "block outputs"
) -> dict[str, Tensor]:
    """The output (N, F) of every block in float32 on the CPU, maps averaged to at most positions x positions."""
    found: dict[str, list[Tensor]] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.dim() == 4:
            side = (min(positions, output.shape[2]), min(positions, output.shape[3]))
            output = nn.functional.adaptive_avg_pool2d(output.float(), side)
        found.setdefault(name, []).append(output.flatten(1).float().cpu())

    blocks = [(name, block) for name, block in network.named_children() if name.startswith("block")]
    handles = [block.register_forward_hook(partial(keep, name)) for name, block in blocks]
    run.progress.start(label, len(images), "images")
    try:
        size = batch_size_for(network, images, run.device)
        found.clear()
        for x in Batches(images.images, size, shuffle=False, device=run.device).epoch(0):
            with torch.no_grad(), autocast(run.precision, run.device):
                network(x)
            run.progress.advance(len(x))
    finally:
        for handle in handles:
            handle.remove()
    run.progress.finish()
    return {name: torch.cat(parts) for name, parts in found.items()}
