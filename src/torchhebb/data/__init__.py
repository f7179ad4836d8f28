"""Names -> tensors: load a data set once, keep it memory-mapped, batch it on the device."""

from torchhebb.data.batches import Augment, Batches, as_pixels, crop_and_mirror
from torchhebb.data.catalog import list_data, load_data, load_test
from torchhebb.data.images import Data, Images
from torchhebb.data.store import Entry, Store, Writer
from torchhebb.data.stream import Stream, StreamBatches, batches_of, first_images

__all__ = [
    "Augment",
    "Batches",
    "Data",
    "Entry",
    "Images",
    "Store",
    "Stream",
    "StreamBatches",
    "Writer",
    "as_pixels",
    "batches_of",
    "crop_and_mirror",
    "first_images",
    "list_data",
    "load_data",
    "load_test",
]
