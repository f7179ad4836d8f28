"""A decoder of images from frozen features, and its two protocols of training.

Shapes: B images, C channels, H x W pixels; features (B, K, h, w).
"""

import copy
from collections.abc import Callable
from math import cos, log2, pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.nn import BatchNorm, Network, Standardize
from torchhebb.progress import SILENT, Progress
from torchhebb.train.device import Precision, autocast

SCALE = 1000  # errors are mean squared errors of pixels in [0, 1] times this
BATCH = 250  # the same for all decoders, so that the noise of each image is the same
SCALING_IMAGES = 2000
_TINY = 1e-6  # a channel with a smaller standard deviation is constant


class Decoder(nn.Module):
    """Features (B, K, h, w) -> images (B, C, H, W): transposed 3x3 convolutions of stride 2 with ReLUs between them.

    There is one convolution for each halving of the image; features of the size of the image have one of stride 1.  An
    output that differs in size, such as for 28x28 from 3x3, is resized by bilinear interpolation.

    Args: feature_shape (K, h, w); image_shape (C, H, W); widths, channels between the convolutions: the last ones are
    used, and the first one is repeated if there are more convolutions; seed, that of the weights.
    Raises UserError for features that are not maps, or widths below 1.
    Source: SPHeRe-2025: 1536-512-256-3 from 4x4 to 32x32.

    >>> Decoder((1536, 4, 4), (3, 32, 32))(torch.zeros(2, 1536, 4, 4)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        feature_shape: tuple[int, ...],
        image_shape: tuple[int, int, int],
        *,
        widths: tuple[int, ...] = (512, 256),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(feature_shape) != 3:
            raise UserError(f"features must be maps (channels, height, width) to be decoded, got {feature_shape}")
        if not widths or min(widths) < 1:
            raise UserError(f"widths must be numbers of channels from 1, got {widths}")
        halvings = max(0, round(log2(image_shape[1] / feature_shape[1])))
        between = [widths[max(0, i)] for i in range(len(widths) + 1 - max(1, halvings), len(widths))]
        channels = [feature_shape[0], *between, image_shape[0]]
        stride, more = (2, 1) if halvings else (1, 0)
        self.size = image_shape[1:]
        self.scale = Standardize([0.0] * feature_shape[0], [1.0] * feature_shape[0])
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(c, d, 3, stride, padding=1, output_padding=more)
            for c, d in zip(channels[:-1], channels[1:], strict=True)
        )
        generator = torch.Generator().manual_seed(seed)
        for layer, outputs in zip(self.layers, channels[1:], strict=True):
            bound = (9 * outputs) ** -0.5  # torch's own for this layer
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        z = self.scale(z)
        for number, layer in enumerate(self.layers):
            z = layer(F.relu(z) if number else z)
        return z if z.shape[2:] == self.size else F.interpolate(z, self.size, mode="bilinear", align_corners=False)


def encoder_to(network: Network, depth: int) -> nn.Sequential:
    """The modules of a network up to block `depth`, counted from 1, in evaluation mode.

    Raises UserError for a missing block.
    """
    names = [name for name, _ in network.named_children()]
    if f"block{depth}" not in names:
        raise UserError(f"depths must be from 1 to {sum(n.startswith('block') for n in names)}, got {depth}")
    return nn.Sequential(*list(network.children())[: names.index(f"block{depth}") + 1]).eval()


def by_own_statistics(encoder: nn.Sequential) -> nn.Sequential:
    """A copy whose batch norms use the statistics of their input."""
    encoder = copy.deepcopy(encoder).eval()
    for module in encoder.modules():
        if isinstance(module, BatchNorm | nn.BatchNorm2d):
            module.train()
    return encoder


def fit_one_image(decoder: Decoder, z: Tensor, image: Tensor, *, steps: int, lr: float) -> list[float]:
    """Adam on the mean squared error of one image (1, C, H, W) and its features z (1, K, h, w).

    Returns: the error, times 1000, before the first step and after every step.
    """
    optimizer = torch.optim.Adam(decoder.parameters(), lr=lr)
    errors = []
    for _ in range(steps):
        loss = F.mse_loss(decoder(z), image)
        errors.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        errors.append(F.mse_loss(decoder(z), image))
    return (SCALE * torch.stack(errors)).tolist()


def fit_decoder(
    decoder: Decoder,
    encoder: nn.Module,
    images: Images,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int = 0,
    precision: Precision = "float32",
    label: str = "decoder",
    progress: Progress = SILENT,
) -> Decoder:
    """Adam on the mean squared error between images and their reconstructions from frozen features.

    Every feature channel is first scaled to zero mean and unit variance over training images, so that results do not
    depend on the scale of the features.  The last convolution starts at zero with the mean colour as its bias; the
    rate falls to zero by a half cosine.  Returns the decoder in evaluation mode.
    """
    device = next(decoder.parameters()).device
    _start(decoder, encoder, Batches(images.images, BATCH, seed=seed, device=device), precision)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=lr)
    batches = Batches(images.images, batch_size, seed=seed, device=device)
    steps = epochs * len(batches)
    progress.start(label, epochs * len(images), "images")
    for epoch in range(epochs):
        for batch, x in enumerate(batches.epoch(epoch)):
            share = (epoch * len(batches) + batch) / steps
            optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + cos(pi * share))
            loss = F.mse_loss(decoder(encode(encoder, x, precision)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance(len(x))
    progress.finish()
    optimizer.zero_grad()
    return decoder.eval()


@torch.no_grad()
def image_errors(
    decoder: Callable[[Tensor], Tensor],
    encoder: Callable[[Tensor], Tensor],
    images: Images,
    *,
    std: float = 0.0,
    seed: int = 0,
    precision: Precision = "float32",
    device: torch.device | None = None,
) -> Tensor:
    """The error (N,) of every image, times 1000, with noise of `std` added to the input of the encoder."""
    errors, begin = [], 0
    for x in Batches(images.images, BATCH, shuffle=False, device=device).epoch(0):
        seen = add_noise(x, std, seed, begin)
        errors.append((decoder(encode(encoder, seen, precision)) - x).square().flatten(1).mean(1).cpu())
        begin += len(x)
    return SCALE * torch.cat(errors)


def add_noise(x: Tensor, std: float, seed: int, begin: int = 0) -> Tensor:
    """x + noise of N(0, std^2), not clipped; the draw depends only on the seed and the index of the first image.

    >>> x = torch.zeros(2, 1, 4, 4)
    >>> bool((add_noise(x, 0.1, seed=0) == add_noise(x, 0.1, seed=0)).all()), add_noise(x, 0.0, seed=0) is x
    (True, True)
    """
    if std == 0:
        return x
    generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 + begin)
    return x + std * torch.randn(x.shape, generator=generator).to(x.device)  # the same on every device


@torch.no_grad()
def encode(encoder: Callable[[Tensor], Tensor], x: Tensor, precision: Precision = "float32") -> Tensor:
    """Features in float32."""
    with autocast(precision, x.device):
        return encoder(x).float()


@torch.no_grad()
def _start(decoder: Decoder, encoder: nn.Module, batches: Batches, precision: Precision) -> None:
    """Set the scale of the features by their moments, summed in float64, and the last layer to the mean colour."""
    scale, last = decoder.scale, decoder.layers[-1]
    assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
    total = torch.zeros(2, len(scale.mean), dtype=torch.float64, device=scale.mean.device)
    colour = torch.zeros(len(last.bias), dtype=torch.float64, device=scale.mean.device)
    images = values = 0
    for x in batches.epoch(0):
        z = encode(encoder, x, precision).double()
        total += torch.stack([z.sum((0, 2, 3)), z.square().sum((0, 2, 3))])
        colour += x.double().mean((2, 3)).sum(0)
        images, values = images + len(x), values + z.numel() // z.shape[1]
        if images >= SCALING_IMAGES:
            break
    mean, square = total / values
    std = (square - mean.square()).clamp_min(0).sqrt()
    scale.mean.copy_(mean.view(-1, 1, 1))
    scale.std.copy_(torch.where(std > _TINY, std, 1.0).view(-1, 1, 1))
    last.weight.zero_()
    last.bias.copy_(colour / images)
