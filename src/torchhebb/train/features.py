"""Frozen features: computed once in evaluation mode and cached for every epoch of every readout."""

import hashlib
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.config import to_json
from torchhebb.data import Data, Images, Store, as_pixels
from torchhebb.memory import adaptive_chunks, free_bytes, out_of_memory_as_user_error
from torchhebb.nn import Network
from torchhebb.progress import SILENT, Progress
from torchhebb.train.device import Precision, autocast

BATCH_BYTES = 1 << 24  # of the widest map of a batch: small enough to stay in cache on a CPU, large enough for a GPU
MAPS = 16  # the maps of the widest size, with patches and temporaries, that a batch may need at once


@out_of_memory_as_user_error("the features", "the size of the network, or the number of images")
@torch.no_grad()
def extract_features(
    network: nn.Module,
    images: Images,
    *,
    device: torch.device,
    label: str = "features",
    store: Store | None = None,
    key: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Flattened features (N, F) of all images, in order: float32, or bfloat16 if float32 would fill half the memory.

    With a store and a key they are kept on disk, memory-mapped, and only computed if they are not there yet.  If
    memory runs out, smaller batches are used.  Raises UserError if it does not suffice for one image.
    """
    training = network.training
    network.eval()
    width = network(images.images[:1].to(device) / 255.0).numel()
    dtype = torch.float32 if len(images) * width * 4 <= free_bytes(device) / 2 else torch.bfloat16

    def fill(out: Tensor) -> None:
        def some(begin: int, end: int) -> None:
            out[begin:end] = network(as_pixels(images.images[begin:end].to(device))).flatten(1).to(out.dtype)
            progress.advance(end - begin)

        progress.start(label, len(images), "images")
        adaptive_chunks(some, len(images), batch_size_for(network, images, device), what=label)
        progress.finish()

    try:
        if store is None or key is None:
            features = torch.empty(len(images), width, dtype=dtype, device=device)
            fill(features)
            return features
        full_key = {"kind": "features", "dtype": str(dtype), **key}
        entry = store.get(full_key, lambda writer: fill(writer.array("features", (len(images), width), dtype)))
        return entry["features"].to(device)
    finally:
        network.train(training)


def stored_features(
    network: Network,
    data: Data,
    split: Literal["train", "test"],
    *,
    device: torch.device,
    precision: Precision,
    store: Store,
    label: str = "features",
    model: str | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Features of a split of a data set, from the store where the same network has given them already.

    Args: model, the `fingerprint` of the network where it is known.
    """
    key = {
        "model": fingerprint(network) if model is None else model,
        "architecture": to_json(network.architecture),
        "data": data.fingerprint,
        "split": split,
        "precision": precision,
    }
    images = data.train if split == "train" else data.test
    with autocast(precision, device):
        return extract_features(network, images, device=device, label=label, store=store, key=key, progress=progress)


@torch.no_grad()
def frozen_inputs(
    below: nn.Sequential, images: Images, label: str, store: Store | None, key: str, progress: Progress = SILENT
) -> Tensor:
    """The inputs (N, C, H, W) of a block that learns after frozen ones: the outputs of `below` in eval mode.

    Args: below, on the device to compute on; key, the fingerprint of the images, for the store.
    """
    device = next(below.parameters()).device
    shape = below.eval()(images.images[:1].to(device) / 255.0).shape[1:]
    entry = {"kind": "greedy inputs", "model": fingerprint(below), "modules": str(below), "data": key}
    features = extract_features(
        below, images, device=device, label=label, store=store, key=entry if store else None, progress=progress
    )
    return features.unflatten(1, shape)


def batch_size_for(network: nn.Module, images: Images, device: torch.device) -> int:
    """How many images keep the widest map of the network within BATCH_BYTES (64 times that on a GPU), and all that a
    batch holds within the free memory."""
    widest = images.images[0].numel()

    def measure(_module: Any, _x: Any, out: Tensor) -> None:
        nonlocal widest
        widest = max(widest, out[0].numel())

    handles = [module.register_forward_hook(measure) for module in network.modules()]
    network(images.images[:1].to(device) / 255.0)
    for handle in handles:
        handle.remove()
    budget = min(BATCH_BYTES * (64 if device.type == "cuda" else 1), free_bytes(device) // MAPS)
    return max(1, min(len(images), budget // (4 * widest)))


def fingerprint(network: nn.Module) -> str:
    """A short hash of everything learned: weights and running statistics."""
    digest = hashlib.blake2b(digest_size=12)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
