"""How do images lie to each other after every block? Maps of test images, beside pixels and random features."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.embedding_maps import maps_figure
from torchhebb.evaluate.methods.subsample import evenly_spaced_images
from torchhebb.nn import Network
from torchhebb.runs.baselines import CONTENDERS, ContenderName, check_contenders, contender, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.device import autocast
from torchhebb.train.features import batch_size_for

COMPONENTS = 50
MOST = 10_000
"""Images: the measures compare every image with every other."""


@dataclass(frozen=True)
class Embeddings(Evaluator):
    """Pixels and the output of every block, brought to 50 principal components, and from there to a map by t-SNE.

    Maps of a block are averaged to at most `positions` x `positions` before, which bounds the memory.  Measures, a
    value a seed, where a stage is `pixels` or `<contender>_<block>`:

        <stage>_neighbours_accuracy   share in % of images whose class is that of most of their `k` nearest others, in
                                      the principal components; of equal votes the lower class wins
        <stage>_silhouette            mean silhouette of the classes there, from -1 to 1
        <stage>_trustworthiness       how many of the neighbours in the map are neighbours there, from 0 to 1

    The figure shows the first seed, a colour a class.
    Raises UserError for settings out of range, or images of a single class.
    Source: SoftHebb-2023, embeddings of layer outputs (by UMAP there); van der Maaten and Hinton 2008 for t-SNE;
    Rousseeuw 1987 for the silhouette; Venna and Kaski 2001 for trustworthiness.
    """

    question: ClassVar[str] = "embeddings"

    images: int = 2000
    """Test images, evenly spread over all."""
    contenders: tuple[ContenderName, ...] = ("own", "random")
    """Whose blocks, a row each."""
    positions: int = 4
    """Height and width to which larger maps are averaged."""
    k: int = 10
    """Nearest neighbours that vote, and among which the map is judged."""
    perplexity: float = 30.0
    """About how many neighbours t-SNE keeps together."""

    def run(self, run: Run) -> Iterator[Finding]:
        images = self._images(run)
        values: dict[tuple[str, str], list[float]] = {}
        maps: dict[str, dict[str, tuple[np.ndarray, str]]] = {}
        for seed in run.seeds:
            pixels = self._embedded(run, seed, "pixels", "pixels", lambda: images.images.flatten(1) / 255.0, images)
            for name in self.contenders:
                row = {"pixels": pixels, **self._row(run, seed, name, images)}
                for stage, found in row.items():
                    if stage != "pixels" or name == self.contenders[0]:
                        head = stage if stage == "pixels" else f"{name}_{stage}"
                        for quantity, value in found["measures"].items():
                            values.setdefault((head, quantity), []).append(value)
                    if seed == run.seeds[0]:
                        words = f"{self.k} nearest: {found['measures']['neighbours_accuracy']:.1f} %"
                        title = stage.replace("block", "block ")
                        maps.setdefault(name, {})[title] = np.array(found["map"]), words
        for (stage, quantity), numbers in values.items():
            yield Measure(f"{stage}_{quantity}", "%" if quantity.endswith("accuracy") else "", tuple(numbers))
        yield Note("images", len(images))
        caption = (
            f"{len(images):,} test images, a colour a class: pixels and block outputs, brought to {COMPONENTS} "
            "principal components and from there to the plane by t-SNE. Below each map, the share of images whose "
            f"class is that of most of their {self.k} nearest others among the components."
        )
        labelled = {contender_label(run, name): row for name, row in maps.items()}  # type: ignore[arg-type]
        yield Figure("maps", caption, maps_figure(labelled, images.labels, run.data.classes))

    def _row(self, run: Run, seed: int, name: ContenderName, images: Images) -> dict[str, dict[str, Any]]:
        """What is found of every block of a contender; its network runs once, and only for what is not kept yet."""
        network = contender(run, seed, name)
        label = f"seed {seed}: {CONTENDERS[name]}: block outputs"
        outputs = cache(lambda: block_outputs(network, images, run, self.positions, label))
        blocks = [block for block, _ in network.named_children() if block.startswith("block")]
        return {
            block: self._embedded(run, seed, name, block, lambda b=block: outputs()[b], images)  # type: ignore[misc]
            for block in blocks
        }

    def _images(self, run: Run) -> Images:
        for setting in ("positions", "k"):
            if getattr(self, setting) < 1:
                raise UserError(f"{setting} must be at least 1, got {getattr(self, setting)}")
        check_contenders(self.contenders)
        least, most = max(2 * self.k + 2, 10), min(MOST, len(run.data.test))
        if not least <= self.images <= most:
            allowed = f"from {least} (for k = {self.k}) to {most}"
            raise UserError(f"images must be {allowed}, got {self.images}")
        if not 0 < self.perplexity < self.images:
            raise UserError(f"perplexity must be positive and below {self.images}, the images, got {self.perplexity:g}")
        images = evenly_spaced_images(run.data.test, self.images)
        if not 2 <= len(images.labels.unique()) < len(images):
            raise UserError("embeddings need images of two classes at least, and two of one class")
        return images

    def _embedded(
        self, run: Run, seed: int, name: str, stage: str, rows: Callable[[], Tensor], images: Images
    ) -> dict[str, Any]:
        """The measures and the map of one stage, kept with the run."""

        def work() -> dict[str, Any]:
            x = rows()  # reports its own progress
            run.progress.start(f"seed {seed}: {name}, {stage}: map", 1, "maps")
            found = embed(x, images.labels, seed, k=self.k, perplexity=self.perplexity)
            run.progress.advance(1)
            run.progress.finish()
            return found

        settings = {"images": len(images), "positions": self.positions, "k": self.k, "perplexity": self.perplexity}
        key = {"contender": name, "stage": stage, "precision": run.precision, **settings}
        return run.once(work, question=self.question, seed=seed, **key)


def embed(rows: Tensor, labels: Tensor, seed: int, *, k: int, perplexity: float) -> dict[str, Any]:
    """Rows (N, F) -> principal components -> the plane, with what is measured on the way.

    Returns: `map`, N points of the plane; `measures`, by name.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE, trustworthiness
    from sklearn.metrics import silhouette_score

    x, y = rows.float().cpu().numpy(), labels.cpu().numpy()
    z = PCA(min(COMPONENTS, *x.shape), random_state=seed).fit_transform(x)
    with warnings.catch_warnings():
        # The start of t-SNE divides by the spread of a component, which is nothing where all rows are equal.
        warnings.filterwarnings("ignore", message="invalid value encountered", category=RuntimeWarning)
        plane = TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(z)
    measures = {
        "neighbours_accuracy": neighbours_accuracy(z, y, k),
        "silhouette": float(silhouette_score(z, y)),
        "trustworthiness": float(trustworthiness(z, plane, n_neighbors=k)),
    }
    return {"map": [[float(f"{value:.5g}") for value in point] for point in plane], "measures": measures}


def neighbours_accuracy(z: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share in % of rows of z (N, D) whose label is that of most of the k nearest other rows.

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
