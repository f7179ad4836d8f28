"""A finished run: its networks, their frozen features and its data, each loaded once."""

import copy
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.data import Data, Source, Store, load_data, load_test
from torchhebb.data.images import fingerprint as fingerprint_of_images
from torchhebb.errors import UserError
from torchhebb.files import read_json, write_json
from torchhebb.nn import Network, load
from torchhebb.ops.products import has_onednn
from torchhebb.process import threads
from torchhebb.progress import SILENT, Progress
from torchhebb.runs.folder import (
    data_settings,
    finished_result,
    kept_numerics,
    read_config,
    read_preprocessing,
    read_run_log,
)
from torchhebb.runs.networks import frozen_features, placed
from torchhebb.runs.options import ComputeOptions
from torchhebb.train import Recipe, Result
from torchhebb.train.device import Precision, find_device, find_precision, warn_if_slow
from torchhebb.train.features import fingerprint
from torchhebb.train.fitting import check_fit
from torchhebb.train.numerics import Numerics

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run with all its seeds, on the device on which it is evaluated.

    >>> run = open_run(folder)  # the folder of a finished run
    >>> run.seeds, len(run.data.test)
    ((0,), 449)
    """

    folder: Path
    recipe: Recipe
    result: Result
    data: Data
    device: torch.device
    numerics: Numerics
    store: Store
    progress: Progress
    data_dir: str | None = None
    """Folder of the data sets, for questions that need others than the run's own."""
    compile: bool = False
    """Whether blocks that learn for a question use compiled kernels."""
    loaded: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What was read or computed already: networks, their fingerprints, features."""

    @property
    def seeds(self) -> Sequence[int]:
        return self.result.seeds

    @property
    def precision(self) -> Precision:
        return self.numerics.precision

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within it, in all threads, computation is as in the run itself: its products, convolutions and threads.

        There are no more threads than torch takes by itself, and as many as OMP_NUM_THREADS says, where it says so.
        """
        own = self.numerics.threads
        count = None if own is None or "OMP_NUM_THREADS" in os.environ else min(own, torch.get_num_threads())
        with threads(count), self.numerics.applied():
            yield

    def network(self, seed: int) -> Network:
        """The frozen network of a seed on the device, its readout attached; a copy that the caller may change."""
        network = self._network(seed)
        twin = copy.deepcopy(network)
        return twin if network.readout is None else twin.attach(copy.deepcopy(network.readout), self.data.classes)

    def readout(self, seed: int) -> nn.Module:
        """The readout that was trained with the run."""
        readout = self._network(seed).readout
        assert readout is not None
        return readout

    def features(self, seed: int, split: Literal["train", "test"]) -> Tensor:
        """Frozen features (N, F) of a split, the same as for the run's own readout."""
        return self._once(("features", seed, split, self.data.fingerprint), lambda: self._features(seed, split))

    @torch.no_grad()
    def feature_shape(self, seed: int) -> tuple[int, ...]:
        """The shape of one sample's features before they are flattened: (channels, positions...)."""
        x = self.data.test.images[:1].to(self.device) / 255.0
        return tuple(self._network(seed)(x).shape[1:])

    def with_test_data(self, name: str) -> "Run":
        """The run with the test images of another data set of the same classes.

        Raises UserError for other classes or images that do not fit.
        """
        return self._once(("beside", name), lambda: self._beside(name))

    def _beside(self, name: str) -> "Run":
        framed = read_preprocessing(self.folder)
        images, classes = load_test(
            name, data_dir=self.data_dir, preprocessing=framed, store=self.store, progress=self.progress
        )
        if len(classes) != len(self.data.classes):
            raise UserError(
                f"test_data must have the {len(self.data.classes)} classes of {self.data.name}, "
                f"{name} has {len(classes)}"
            )
        if (shape := tuple(images.images.shape[1:])) != self.recipe.architecture.input_shape:
            raise UserError(f"{self.recipe.name} takes {self.recipe.architecture.input_shape}, {name} has {shape}")
        data = replace(self.data, name=name, test=images, fingerprint=fingerprint_of_images([images]))
        return replace(self, data=data)

    def cached(self, work: Callable[[], Any], **key: Any) -> Any:
        """A part of a result, as JSON can hold it: computed at the first call with this key and kept in RUN/pieces/.

        A long question that was stopped continues after its finished parts.
        Args: key, everything that the part depends on, such as the question, a seed, a setting.
        """
        path = self._piece(key)
        with suppress(FileNotFoundError, ValueError, KeyError):  # a damaged piece is computed again
            return read_json(path)["value"]
        write_json(path, {"key": key, "value": work()}, strict=False)
        return read_json(path)["value"]  # as the next call will read it

    def has_cached(self, **key: Any) -> bool:
        """Whether `cached` has kept the part of this key."""
        return self._piece(key).exists()

    def _piece(self, key: dict[str, Any]) -> Path:
        name = blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
        return self.folder / "pieces" / f"{name}.json"

    def log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_run_log(self.folder)

    def _network(self, seed: int) -> Network:
        """The network of a seed that this run caches and that must not be changed."""
        return self._once(("network", seed), lambda: self._load(seed))

    def _load(self, seed: int) -> Network:
        folder = self.folder if seed == 0 else self.folder / f"seed-{seed}"
        network = load(folder)
        if not isinstance(network, Network) or (network.readout is None and self.data.labelled):
            raise UserError(f"{folder} holds no network with a readout: continue with torchhebb train --resume")
        if network.architecture != self.recipe.architecture:
            raise UserError(f"the network in {folder} is not that of {self.folder / 'config.json'}: files of two runs")
        return placed(network, self.device).eval()

    def _features(self, seed: int, split: Literal["train", "test"]) -> Tensor:
        network = self._network(seed)
        model = self._once(("fingerprint", seed), lambda: fingerprint(network))
        return frozen_features(network, self, split, f"seed {seed}: {split} features", model=model)

    def _once(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        if key not in self.loaded:
            self.loaded[key] = work()
        return self.loaded[key]


def open_run(
    folder: Path,
    options: ComputeOptions | None = None,
    *,
    seeds: int | None = None,
    source: Source | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Open a finished run; `options` (by default its own) set the device and the folder of the data sets.

    Args: seeds, how many of its seeds, the first ones, by default all; source, its images if they were given in
    memory.
    Raises UserError for a folder without a finished run or with fewer seeds, or data that are no longer what it was
    trained on.

    >>> run = open_run(folder)  # the folder of a finished run
    >>> run.recipe.name, run.network(0)(torch.rand(1, 1, 8, 8)).shape
    ('mine', torch.Size([1, 8, 8, 8]))
    """
    recipe, own = read_config(folder)
    options, store = options or own, store or Store()
    result = finished_result(folder)
    if seeds is not None:
        if not 1 <= seeds <= len(result.seeds):
            raise UserError(f"seeds must be from 1 to {len(result.seeds)}, as many as {folder} has, got {seeds}")
        measures = tuple(replace(measure, values=measure.values[:seeds]) for measure in result.measures)
        result = replace(result, seeds=result.seeds[:seeds], measures=measures)
    data_dir = options.data_dir or own.data_dir
    settings = data_settings(folder, recipe, replace(own, data_dir=data_dir))
    data = load_data(source or recipe.data, **settings, store=store, progress=progress)
    check_fit(recipe, data)
    if data.fingerprint != result.data.get("fingerprint"):
        raise UserError(f"{data.name} on this machine has other images than those on which {folder} was trained")
    device = find_device(options.device)
    numerics = kept_numerics(folder) if device.type == "cpu" else None
    if numerics is None or options.precision not in ("auto", numerics.precision):
        numerics = Numerics(find_precision(options.precision, device))
    if numerics.products == "onednn" and not has_onednn():
        _LOG.warning("%s was computed by products of oneDNN, which this torch has not: they are torch's here", folder)
        numerics = replace(numerics, products="torch")
    warn_if_slow(numerics.precision, device)
    return Run(folder, recipe, result, data, device, numerics, store, progress, data_dir, options.compile)
