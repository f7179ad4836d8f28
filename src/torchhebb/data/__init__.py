"""Names -> tensors: load a data set once, keep it memory-mapped, batch it on the device."""

from torchhebb.data.batches import Augment, Batches, as_pixels, crop_and_mirror
from torchhebb.data.catalog import list_data, load_data
from torchhebb.data.images import Data, Images
from torchhebb.data.store import Entry, Store, Writer

__all__ = [
    "Augment",
    "Batches",
    "Data",
    "Entry",
    "Images",
    "Store",
    "Writer",
    "as_pixels",
    "crop_and_mirror",
    "list_data",
    "load_data",
]
