"""Convolutions with fewer multiplications: Winograd's minimal filtering, for outputs and for statistics.

| symbol | meaning |
|---|---|
| m, r, a | side of a tile of outputs, of the kernel, and of the tile of inputs that it needs: a = m + r - 1 |
| A, G, B | transforms of outputs (a, m), of kernels (a, r), and of inputs (a, a) |
| V | transformed input tiles: (a^2, tiles, channels) |

In one dimension the m outputs y of a filter g over the a inputs d are y = A^T [(G g) . (B^T d)]: a multiplications
instead of m r.  A and G evaluate polynomials at a - 1 points and infinity, B interpolates (Cook and Toom).  Two
dimensions nest one in the other: (m r)^2 multiplications become a^2, 4 times fewer for m = 4, r = 3.  Sums over
channels are matrix products, one for each of the a^2 points.  What is trilinear serves the statistic as well:
S = G^T [(A y A^T) . V] G, summed over tiles.

Source: Winograd 1980; Lavin and Gray 2016, who have the sums over channels as matrix products.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.ops.products import batched

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # powers of two, few of them large: what rounds least (see the tests)
SLICE_BYTES = 4 << 20  # of what is transformed at a time: it stays in cache until it is used, and memory stays small


@dataclass(frozen=True)
class WinogradTiles:
    """The tiles of a batch of images, transformed: what an output and a statistic have in common."""

    values: Tensor  # (a^2, B rows columns, channels)
    tile: int
    kernel_size: int
    batch: int
    grid: tuple[int, int]  # rows and columns of tiles of an image
    size: tuple[int, int]  # of the output


def winograd_matrices(tile: int, kernel_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """A^T (m, a), G (a, r) and B^T (a, a) with y = A^T [(G g) . (B^T d)], y_i = sum over k of g_k d_(i + k); float64.

    Row i of G and column i of A^T hold powers of point p_i, G's divided by the product of p_i - p_j; row i of B^T has
    the coefficients of the product of x - p_j, over all j but i.  The last ones belong to infinity.

    Raises ValueError unless both sizes are positive and need no more points than POINTS has.

    >>> winograd_matrices(2, 3)[2]
    tensor([[-1.,  0.,  1.,  0.],
            [ 0.,  1.,  1.,  0.],
            [ 0., -1.,  1.,  0.],
            [ 0., -1.,  0.,  1.]], dtype=torch.float64)
    """
    finite = tile + kernel_size - 2
    if min(tile, kernel_size) < 1 or finite > len(POINTS):
        raise ValueError(
            f"tile and kernel_size must be positive and at most {len(POINTS) + 2} together, "
            f"got {tile} and {kernel_size}"
        )
    points = POINTS[:finite]
    output, kernel, image = (torch.zeros(finite + 1, n, dtype=torch.float64) for n in (tile, kernel_size, finite + 1))
    for i, point in enumerate(points):
        others = points[:i] + points[i + 1 :]
        output[i] = torch.tensor([point**k for k in range(tile)])
        scale = math.prod(point - other for other in others)
        kernel[i] = torch.tensor([point**k / scale for k in range(kernel_size)], dtype=torch.float64)
        image[i, :finite] = torch.tensor(_product(others))
    output[-1, -1] = kernel[-1, -1] = 1
    image[-1] = torch.tensor(_product(points))
    return output.mT, kernel, image


def winograd_tiles(x: Tensor, kernel_size: int, tile: int) -> WinogradTiles:
    """Cut x into the overlapping tiles that outputs of tile x tile need, and transform them.

    Args: x (B, C, H, W), already padded; channels-last x is not copied first.
    Raises ValueError if the kernel does not fit x, and as `winograd_matrices` does.
    """
    batch, channels, height, width = x.shape
    size = height - kernel_size + 1, width - kernel_size + 1
    if min(size) < 1:
        raise ValueError(f"kernel_size must fit x of {height} x {width}, got {kernel_size}")
    rows, columns = -(-size[0] // tile), -(-size[1] // tile)
    side = tile + kernel_size - 1
    beyond = (0, 0, 0, columns * tile - size[1], 0, rows * tile - size[0])
    x = x.permute(0, 2, 3, 1)
    x = F.pad(x, beyond) if any(beyond) else x.contiguous()
    b, h, w, c = x.stride()
    cut = x.as_strided((side, side, batch, rows, columns, channels), (h, w, b, h * tile, w * tile, c))
    values = _squares(tile, kernel_size, x.dtype, x.device)[2] @ cut.reshape(side**2, -1)
    return WinogradTiles(values.view(side**2, -1, channels), tile, kernel_size, batch, (rows, columns), size)


def winograd_conv2d(tiles: WinogradTiles, weight: Tensor) -> Tensor:
    """u = w * x of the tiles of x; as F.conv2d gives it, up to rounding.

    In float32 the error, relative to the norm of u, is below 3e-6 for tiles of 2 and 2e-5 for tiles of 4.

    Args: weight (out, C, r, r).  Returns: (B, out, H', W'), channels-last.

    >>> x, weight = torch.randn(1, 2, 6, 6).double(), torch.randn(3, 2, 3, 3).double()
    >>> torch.allclose(winograd_conv2d(winograd_tiles(x, 3, 4), weight), F.conv2d(x, weight))
    True
    """
    values, tile = tiles.values, tiles.tile
    points, _, channels = values.shape
    output, kernel, _ = _squares(tile, tiles.kernel_size, values.dtype, values.device)
    rows, columns = tiles.grid
    u = torch.empty(tiles.batch, rows, tile, columns, tile, len(weight), dtype=values.dtype, device=values.device)
    flat = weight.permute(0, 2, 3, 1).flatten(1, 2)
    for part in _slices(len(weight), values):
        products = batched(values, torch.matmul(kernel, flat[part]).permute(1, 2, 0))
        cut = (output @ products.view(points, -1)).view(tile, tile, tiles.batch, rows, columns, -1)
        u[..., part] = cut.permute(2, 3, 0, 4, 1, 5)
    u = u.view(tiles.batch, rows * tile, columns * tile, -1)
    return u[:, : tiles.size[0], : tiles.size[1]].permute(0, 3, 1, 2)


def winograd_statistic(tiles: WinogradTiles, y: Tensor, scale: float = 1.0) -> Tensor:
    """S_kcij = scale * sum over samples and positions p of y_k(p) x_c(p + (i, j)): `conv2d_statistic` times scale.

    Args: y (B, out, H', W').  Returns: S (out, C, r, r), channels-last.
    """
    values, tile, side = tiles.values, tiles.tile, tiles.kernel_size
    points, _, channels = values.shape
    rows, columns = tiles.grid
    output, kernel, _ = _squares(tile, side, values.dtype, values.device)
    y = y.permute(0, 2, 3, 1)
    beyond = (0, 0, 0, columns * tile - tiles.size[1], 0, rows * tile - tiles.size[0])
    y = F.pad(y, beyond) if any(beyond) else y
    cut = y.reshape(tiles.batch, rows, tile, columns, tile, -1).permute(2, 4, 0, 1, 3, 5)
    transform = scale * output.mT
    statistic = torch.empty(y.shape[-1], side**2, channels, dtype=values.dtype, device=values.device)
    for part in _slices(y.shape[-1], values):
        transformed = (transform @ cut[..., part].reshape(tile**2, -1)).view(points, values.shape[1], -1)
        products = batched(transformed.mT, values)
        torch.matmul(kernel.mT, products.transpose(0, 1), out=statistic[part])
    return statistic.view(-1, side, side, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def _squares(tile: int, kernel_size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of both dimensions at once, as Kronecker squares."""
    matrices = winograd_matrices(tile, kernel_size)
    return tuple(torch.kron(matrix, matrix).to(device, dtype) for matrix in matrices)  # type: ignore[return-value]


def _slices(neurons: int, values: Tensor) -> list[slice]:
    """Neurons to compute at once: their weights, outputs and statistics take about SLICE_BYTES transformed."""
    points, tiles, channels = values.shape
    size = SLICE_BYTES // (points * (tiles + channels) * values.element_size())
    size = max(64, size // 64 * 64)
    return [slice(begin, min(begin + size, neurons)) for begin in range(0, neurons, size)]


def _product(roots: tuple[float, ...]) -> list[float]:
    """Coefficients of the product of x - root, the constant first."""
    coefficients = [1.0]
    for root in roots:
        coefficients = [a - root * b for a, b in zip([0.0, *coefficients], [*coefficients, 0.0], strict=True)]
    return coefficients
