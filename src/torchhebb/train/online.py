"""A linear readout that learns together with the blocks, in the same pass over the images."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.distributed import average_gradients
from torchhebb.nn import LinearReadout, Network
from torchhebb.train.recipe import AdamW


class OnlineReadout:
    """Minimises the cross-entropy of W f + b on the features f that the blocks put out while they learn.

    The features are detached: labels shape W and b alone.  AdamW steps, with the fraction of its rate that the blocks'
    own schedule leaves.

    Args: network, on the device to compute on; the weights are drawn from `seed` as torch draws a linear layer's.
    Source: SPHeRe-2025, the readout of its training loop.
    """

    def __init__(self, network: Network, input_shape: tuple[int, ...], classes: int, plan: AdamW, *, seed: int) -> None:
        device = next(network.parameters()).device
        with torch.no_grad():
            width = network.eval()(torch.zeros(1, *input_shape, device=device)).numel()
        generator = torch.Generator().manual_seed(seed)
        self.readout = LinearReadout(width, classes)
        for parameter in self.readout.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5, generator=generator)
        self.readout.to(device)
        self.lr = plan.lr
        self.optimizer = torch.optim.AdamW(self.readout.parameters(), weight_decay=plan.weight_decay, fused=True)

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """One step at `factor` of the full rate, on features (B, ...) and labels (B,); a rank gives its own slice."""
        self.optimizer.param_groups[0]["lr"] = self.lr * factor
        with torch.enable_grad():
            self.readout.requires_grad_(True)
            F.cross_entropy(self.readout(features.detach().float()), labels).backward()
        self.readout.requires_grad_(False)
        average_gradients(self.readout.parameters(), len(features))
        self.optimizer.step()
        self.optimizer.zero_grad()
