"""Distances to the nearest of many images, and which generated images are close to them or copies."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchhebb.evaluate.statistics import percent

ROWS = 10_000  # images that are compared at a time
QUERIES = 500
NEIGHBOURS = 50
LOWEST = 0.05
"""Quantile of the distances of real images below which a distance counts as close."""


@torch.no_grad()
def nearest_distances(x: Tensor, images: Tensor, count: int = 1, *, unit: bool = False) -> Tensor:
    """L2 distances to the `count` nearest images, in increasing order.

    Candidates are found by ||x||^2 + ||z||^2 - 2 x z; their distances are then computed from differences, so that an
    image has distance 0 from itself.  With `unit`, both are scaled to unit norm first: the squared distance is
    2 - 2 cosine.

    Args: x (B, ...), pixels in [0, 1]; images (N, ...) uint8; count from 1 to N.  Returns: (B, count).
    Raises ValueError for another count.

    >>> images = torch.tensor([[0, 0], [255, 0], [0, 255]], dtype=torch.uint8)
    >>> nearest_distances(torch.tensor([[1.0, 0.5]]), images, 2)
    tensor([[0.5000, 1.1180]])
    """
    if not 1 <= count <= len(images):
        raise ValueError(f"count must lie between 1 and the number of images ({len(images)}), got {count}")
    return torch.cat([_distances(rows, images, count, unit) for rows in x.flatten(1).split(QUERIES)])


def _distances(x: Tensor, images: Tensor, count: int, unit: bool) -> Tensor:
    x = normalize(x, dim=1) if unit else x
    squares, places = x.new_empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    for begin in range(0, len(images), ROWS):
        z = _rows(images[begin : begin + ROWS], x, unit)
        found = z.square().sum(1) - 2 * x @ z.mT  # without ||x||^2, which is the same for all images
        here = torch.arange(begin, begin + len(z), device=x.device).expand(len(x), -1)
        squares, places = torch.cat([squares, found], 1), torch.cat([places, here], 1)
        squares, kept = squares.topk(min(count, squares.shape[1]), 1, largest=False)
        places = places.gather(1, kept)
    index = places.to(images.device)
    exact = [torch.linalg.vector_norm(row - _rows(images[i], x, unit), dim=1) for row, i in zip(x, index, strict=True)]
    return torch.stack(exact).sort(1).values


def _rows(images: Tensor, like: Tensor, unit: bool) -> Tensor:
    z = images.to(like.device).flatten(1).to(like.dtype) / 255.0
    return normalize(z, dim=1) if unit else z


@torch.no_grad()
def nearness(
    objects: Mapping[str, Tensor], read_as: Mapping[str, Tensor], images: Tensor, *, reference: str
) -> dict[str, float]:
    """Distances of generated images to training images, compared with those of the real images named `reference`.

    For each name, `<name>_nearest` and `_nearest_cosine` are the median distance and cosine to the nearest image, and
    `_nearest_ratio` is the median ratio of the distance to the nearest and the mean of the nearest 50.  `_close` and
    `_copies` are the shares in % whose distance and ratio are below the 5 % quantile of the reference images that are
    classified as the same class.

    Args: objects (B, C, H, W) in [0, 1]; read_as, the class (B,) that the judge assigns to each; images (N, C, H, W),
    uint8.
    """
    found: dict[str, float] = {}
    measured: dict[str, tuple[Tensor, Tensor]] = {}
    for name, x in objects.items():
        distances = nearest_distances(x, images, min(NEIGHBOURS, len(images)))
        measured[name] = distances[:, 0], distances[:, 0] / distances.mean(1).clamp_min(1e-12)
    classes = 1 + max(int(read.max()) for read in read_as.values())
    limits = [_lowest(values, read_as[reference], classes) for values in measured[reference]]
    for name, x in objects.items():
        (nearest, ratio), read = measured[name], read_as[name]
        angles = nearest_distances(x, images, unit=True)[:, 0]
        found[f"{name}_nearest"] = nearest.median().item()
        found[f"{name}_nearest_cosine"] = (1 - angles.square() / 2).median().item()
        found[f"{name}_nearest_ratio"] = ratio.median().item()
        found[f"{name}_close"] = percent(nearest < limits[0][read])
        found[f"{name}_copies"] = percent(ratio < limits[1][read])
    return found


def _lowest(values: Tensor, read: Tensor, classes: int) -> Tensor:
    """The low quantile of values (B,) for every class; 0 for a class without values."""
    limits = values.new_zeros(classes)
    for name in read.unique():
        limits[name] = values[read == name].quantile(LOWEST)
    return limits


def spread(x: Tensor, classes: Tensor) -> float:
    """Mean L2 distance between two images of the same class; x (B, ...), classes (B,)."""
    means = [
        torch.pdist(x[classes == name].flatten(1)).mean() for name in classes.unique() if (classes == name).sum() > 1
    ]
    return torch.stack(means).mean().item() if means else 0.0
