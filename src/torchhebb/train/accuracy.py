"""Test accuracy of a model, computed in batches."""

import torch
from torch import Tensor, nn

from torchhebb.data import Images, Stream, as_pixels, batches_of
from torchhebb.memory import adaptive_chunks
from torchhebb.train.device import Precision, autocast


@torch.no_grad()
def model_accuracy(
    model: nn.Module,
    images: Images,
    *,
    readout: nn.Module | None = None,
    device: torch.device | None = None,
    precision: Precision = "float32",
    batch_size: int = 250,
) -> float:
    """Accuracy in percent, without keeping features; smaller batches are used if memory is short.

    Args: model, pixels in [0, 1] -> logits, or with a readout pixels -> features; it is put in eval mode; device, by
    default that of the model's parameters; precision, that the model computes in; a readout computes in float32.
    """
    device = device or next(model.parameters()).device
    right = torch.zeros((), dtype=torch.long, device=device)
    model.eval()

    def count(x: Tensor, labels: Tensor) -> None:
        with autocast(precision, x.device):
            output = model(x)
        logits = output if readout is None else readout(output.flatten(1).float())
        right.add_((logits.argmax(1) == labels).sum())

    def some(begin: int, end: int) -> None:
        count(as_pixels(images.images[begin:end].to(device)), images.labels[begin:end].to(device))

    if isinstance(images, Stream):
        for x, labels in batches_of(images, batch_size, shuffle=False, device=device).epoch(0):
            count(x, labels)
    else:
        adaptive_chunks(some, len(images), batch_size, what="the test")
    return 100.0 * int(right) / len(images)
