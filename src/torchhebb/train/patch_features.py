"""Fast features of one whitened block on a CPU: maps are pooled while they are computed."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Images, as_pixels
from torchhebb.errors import UserError
from torchhebb.nn import HebbConv2d, Network, PatchWhitening, Triangle
from torchhebb.progress import SILENT, Progress

_BYTES = 1024  # of the maps at one position, computed at once: those of an image then fit a second-level cache
_IMAGES = 10


class PatchFeatures:
    """The features of a network of one whitened block, computed neurons by neurons in bfloat16 or float32.

    They are the network's own to the rounding of its products, which in bfloat16 keep 8 bits: relu(u - m - d),
    relu(m - u - d), averaged to the grid of its tap, raised to its power, the mean over an image and its mirror image
    where it says so.  The mean m of a patch's pre-activations over the neurons and their deviation d are linear and
    quadratic in the patch, so they are known before any neuron is: with the mean taken off all weights, u - m - d is
    one product, and the other side is -(u - m - d) - 2 d.  Averages over windows, one after the other, are one matrix.

    Args: network, built from an Architecture of square images, on the CPU; dtype of the products:
    `train.device.product_dtype` knows which is faster.
    Raises UserError for a network of another kind.
    """

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        architecture, block = network.architecture, dict(network.get_submodule("block1").named_children())
        whiten, layer, triangle = (block.get(name) for name in ("whiten", "layer", "activation"))
        pool = block.get("pool", nn.Identity())
        if (
            architecture is None
            or [name for name, _ in network.named_children()] != ["block1"]
            or not isinstance(whiten, PatchWhitening)
            or not isinstance(layer, HebbConv2d)
            or not isinstance(triangle, Triangle)
            or not isinstance(pool, nn.Identity | nn.AvgPool2d)
            or ("project" in block, triangle.split, triangle.power, [*network.taps]) != (False, True, 1.0, ["block1"])
        ):
            raise UserError("architecture must be one whitened block with split, power 1 and a tap, on raw pixels")
        self.whiten, self.threshold = whiten, triangle.threshold
        self.power, self.flip = network.tap_power, network.flip_average
        weight = layer.weight.detach().flatten(1).T.float()  # (D, K)
        weight = weight - weight.mean(1, keepdim=True)
        self.spread = weight @ weight.T / weight.shape[1]  # q^T spread q is the variance over the neurons
        self.weight = torch.cat([weight, -torch.ones(1, weight.shape[1])]).to(dtype)
        side = architecture.input_shape[1] + 2 * whiten.padding - whiten.kernel_size + 1
        cells = pool(torch.eye(side * side).view(-1, 1, side, side))
        cells = F.adaptive_avg_pool2d(cells, network.taps["block1"])
        self.cells = cells.flatten(1).T.contiguous().to(dtype)
        self.dtype = dtype
        self.neurons = weight.shape[1]
        self.width = 2 * self.neurons * len(self.cells)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Features (B, width) of pixels (B, C, H, W), in the order of the network's."""
        views = (x, x.flip(-1)) if self.flip else (x,)
        total = x.new_zeros(len(x), len(self.cells), 2 * self.neurons)
        for view in views:
            q = self.whiten(view).flatten(2).transpose(1, 2).contiguous()
            least = ((q @ self.spread) * q).sum(2, keepdim=True).clamp_min(0).sqrt() * self.threshold
            rounded = least.to(self.dtype)
            patches, twice = torch.cat([q.to(self.dtype), rounded], 2), -2 * rounded
            for sample, of_sample, below in zip(total, patches, twice, strict=True):
                sample += self._pooled(of_sample, below).float().clamp_min_(0).pow_(self.power)
        return (total / len(views)).transpose(1, 2).flatten(1)

    def _pooled(self, patches: Tensor, twice: Tensor) -> Tensor:
        """Maps of one image, averaged to the cells: (cells, 2 neurons)."""
        out = torch.empty(len(self.cells), 2, self.neurons, dtype=self.dtype)
        at_once = _BYTES // self.dtype.itemsize
        for start in range(0, self.neurons, at_once):
            some = slice(start, start + at_once)
            above = patches @ self.weight[:, some]
            below = torch.sub(twice, above).relu_()
            out[:, 0, some] = self.cells @ above.relu_()
            out[:, 1, some] = self.cells @ below
        return out.flatten(1)

    def fill(self, out: Tensor, images: Images, *, label: str = "features", progress: Progress = SILENT) -> None:
        """Write the features of images into `out` (N, width); averages of a unit's activity lose little in float16."""
        progress.start(label, len(images), "images")
        for start in range(0, len(images), _IMAGES):
            some = slice(start, start + _IMAGES)
            out[some] = self(as_pixels(images.images[some]))
            progress.advance(len(out[some]))
        progress.finish()
