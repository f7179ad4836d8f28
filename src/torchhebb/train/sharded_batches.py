"""The part of each batch that a rank learns from."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchhebb.data import Augment, Batches, Images, Stream, StreamBatches, batches_of
from torchhebb.distributed import local_shard, rank, world_size
from torchhebb.errors import UserError


class ShardedBatches:
    """The epochs of `Batches` or `StreamBatches`, of every batch the part that is this rank's.

    If images are in memory, every rank has all of them and takes its slice. Of a stream each rank decodes its own rows;
    the batches then differ from those of a single process.

    Args: as `batches_of` takes them.
    Raises UserError for batches of a stream that are no multiple of the number of ranks, or larger than a pass.
    """

    def __init__(self, images: Images, batch_size: int, *, seed: int, augment: Augment, device: torch.device) -> None:
        ranks = world_size()
        self._batches: Batches | StreamBatches
        self._slices = True
        if ranks > 1 and isinstance(images, Stream):
            most = len(images) // ranks * ranks
            if batch_size % ranks or batch_size > most:
                raise UserError(
                    f"learning.batch_size must be a multiple of the {ranks} processes that share the batches of a "
                    f"stream, up to {most}, got {batch_size}"
                )
            self._batches = StreamBatches(
                images, batch_size // ranks, seed, augment=augment, device=device, rank=rank(), world=ranks
            )
            self._slices = False
        else:
            self._batches = batches_of(images, batch_size, seed=seed, augment=augment, device=device)

    def __len__(self) -> int:
        """Batches per epoch, the same number on every rank."""
        return len(self._batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's part of batches `start`, `start` + 1, ... of epoch `number`, with its labels."""
        for x, labels in self._batches.epoch(number, start):
            yield (local_shard(x), local_shard(labels)) if self._slices else (x, labels)
