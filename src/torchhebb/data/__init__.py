"""Data sets: load one by name, keep it memory-mapped, and iterate over batches on the device."""

from torchhebb.data.batches import Augment, Batches, as_pixels, crop_and_mirror
from torchhebb.data.images import Data, Images
from torchhebb.data.inputs import Inputs, open_inputs
from torchhebb.data.load import load_data, load_test
from torchhebb.data.preprocessing import Fit, Preprocessing
from torchhebb.data.sources import Source, absolute_name, find_source, from_arrays, is_own, list_data
from torchhebb.data.store import Entry, Store, Writer
from torchhebb.data.stream import Stream, StreamBatches, batches_of, first_images
from torchhebb.data.survey import Survey, survey

__all__ = [
    "Augment",
    "Batches",
    "Data",
    "Entry",
    "Fit",
    "Images",
    "Inputs",
    "Preprocessing",
    "Source",
    "Store",
    "Stream",
    "StreamBatches",
    "Survey",
    "Writer",
    "absolute_name",
    "as_pixels",
    "batches_of",
    "crop_and_mirror",
    "find_source",
    "first_images",
    "from_arrays",
    "is_own",
    "list_data",
    "load_data",
    "load_test",
    "open_inputs",
    "survey",
]
