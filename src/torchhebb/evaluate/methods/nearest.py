"""How near are the nearest of many images? Found by matrix products, measured exactly."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

ROWS = 10_000  # images that are compared at a time
QUERIES = 500


@torch.no_grad()
def nearest_distances(x: Tensor, images: Tensor, count: int = 1, *, unit: bool = False) -> Tensor:
    """L2 distances to the `count` nearest images, rising.

    Candidates are found by ||x||^2 + ||z||^2 - 2 x z; their distances are then taken of the differences, so an image is
    at distance 0 from itself.  With `unit` both are scaled to unit norm first: the distance squared is 2 - 2 cosine.

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
        found = z.square().sum(1) - 2 * x @ z.mT  # the same for every image but for ||x||^2
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
