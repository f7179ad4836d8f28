"""Training of a recipe: learning, features, readout and baselines, for all seeds."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from torchhebb.data import Data, Source, Store, Stream, absolute_name, is_own, load_data
from torchhebb.distributed import ProcessGroup, no_sync
from torchhebb.errors import UserError
from torchhebb.nn import Network, load, save
from torchhebb.process import threads
from torchhebb.progress import SILENT, Progress
from torchhebb.recipes import get_recipe
from torchhebb.runs.baselines import BASELINES, baseline_accuracy, fit_readout, network_accuracy
from torchhebb.runs.experiment import experiment, updated
from torchhebb.runs.folder import (
    alone_in,
    begun_or_gone,
    data_settings,
    kept_numerics,
    new_run_folder,
    prepare_folder,
)
from torchhebb.runs.networks import built, learning_task, placed
from torchhebb.runs.options import TrainOptions
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.compiled import check_compiler, compiled_steps
from torchhebb.train.device import Precision, find_precision, own_device, warn_if_slow
from torchhebb.train.ensemble import learn_ensemble
from torchhebb.train.event_log import EventLog
from torchhebb.train.fitting import check_fit
from torchhebb.train.learn import learn_images
from torchhebb.train.learned import LayerChange, change_measures, initial_weights, layer_changes, nothing_learned
from torchhebb.train.log import Log
from torchhebb.train.numerics import Numerics, choose_numerics
from torchhebb.train.online import OnlineReadout
from torchhebb.train.recipe import AdamW, NormAdaptive, Recipe
from torchhebb.train.result import Measure, Result, device_name
from torchhebb.train.subset import subset_images, subset_key
from torchhebb.train.wilson import wilson


def run(
    recipe: Recipe | str,
    options: TrainOptions | None = None,
    *,
    folder: Path | str | None = None,
    source: Source | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a recipe, or the recipe of that name, and return its result; `Result.folder` is where it is kept.

    Args: folder, a run folder, which is created or resumed, by default runs/<recipe>-<time>; source, images in place of
    those that the recipe names, such as `from_arrays` makes; progress, by default bars on a terminal, else lines.
    Raises UserError as `run_recipe` does.

    >>> import tempfile
    >>> from dataclasses import replace
    >>> recipe = get_recipe("softhebb2023-digits")
    >>> recipe = replace(recipe, seeds=1, baselines=(), learning=replace(recipe.learning, fraction=0.05))
    >>> recipe = replace(recipe, readout=replace(recipe.readout, epochs=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = run(recipe, folder=f"{folder}/run", progress=SILENT)
    >>> [measure.name for measure in result.measures]
    ['test_accuracy']
    """
    from torchhebb.progress_display import make_progress

    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    shown = make_progress() if progress is None else None
    try:
        where = None if folder is None else Path(folder)
        return run_recipe(recipe, options, folder=where, source=source, progress=progress or shown or SILENT)
    finally:
        if shown is not None:
            shown.close()


def run_recipe(
    recipe: Recipe,
    options: TrainOptions | None = None,
    *,
    folder: Path | None = None,
    source: Source | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
    command: str = "torchhebb.run",
    workers: ProcessGroup = ProcessGroup(),  # noqa: B008  frozen
) -> Result:
    """Run every seed of a recipe in a run folder and write its result there.

    A folder with the same recipe is resumed; finished tasks are not repeated.

    Several workers share the unsupervised phase, each with a slice of every batch.  Rank 0 has the folder, trains the
    readout and tests, while the others wait for the next seed; all of them return its result.

    Args: folder, by default runs/<recipe>-<time> under the current folder; source, images in place of those that the
    recipe names; workers, from `joined`.
    Raises UserError for a device, data set or folder that does not fit, LostWorker where a worker died.

    >>> import tempfile
    >>> from torchhebb.nn import Architecture, ConvBlock
    >>> from torchhebb.readouts import Ridge
    >>> recipe = Recipe("mine", "digits", Architecture((1, 8, 8), (ConvBlock(8, 3),)), readout=Ridge(), baselines=())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_recipe(recipe, folder=Path(folder)).question
    'accuracy'
    """
    options = options or TrainOptions()
    folder = folder or new_run_folder(recipe)
    with begun_or_gone(folder):
        return _run(recipe, options, folder, source, store or Store(), progress, command, workers)


def _run(
    recipe: Recipe,
    options: TrainOptions,
    folder: Path,
    source: Source | None,
    store: Store,
    progress: Progress,
    command: str,
    workers: ProcessGroup,
) -> Result:
    device = own_device(options.device)
    compiling = compiled_steps(recipe, options.compile)
    if options.compile:
        check_compiler(device)
    recipe = replace(recipe, data=absolute_name(recipe.data))
    if source is not None:
        recipe = replace(recipe, data=source.name)
    data = load_data(source or recipe.data, **data_settings(folder, recipe, options), store=store, progress=progress)
    check_fit(recipe, data)
    learning = recipe.learning
    if options.ensemble > 1 and (learning.fraction < 1 or learning.augment.active or isinstance(data.train, Stream)):
        raise UserError(f"ensemble must be 1 for {recipe.name}, whose seeds see images or views of their own")
    if options.ensemble > 1 and not isinstance(recipe.learning.optimizer, NormAdaptive):
        raise UserError(f"ensemble must be 1 for {recipe.name}, whose blocks have no rates of their own")
    if options.ensemble > 1 and workers.world_size > 1:
        raise UserError(f"ensemble must be 1 where several processes share each batch, got {options.ensemble}")
    seeds = range(recipe.seeds)
    with alone_in(folder) if workers.first else nullcontext(), compiling, ExitStack() as stack:
        began, numerics = command, None
        if workers.first:
            with no_sync():
                numerics = _numerics(recipe, options, folder, device, data)
                warn_if_slow(numerics.precision, device)
            began = prepare_folder(folder, recipe, options, data, command, numerics if device.type == "cpu" else None)
        numerics = workers.broadcast(numerics)
        assert numerics is not None
        stack.enter_context(threads(numerics.threads))
        stack.enter_context(numerics.applied())
        computed_by, used = device_name(device), torch.get_num_threads()
        session = Session(recipe, data, folder, device, options, numerics, store, progress, workers)
        accuracies = []
        for group in in_groups(seeds, options.ensemble):
            session.learn_together(group)
            accuracies += [session.run_seed(seed) for seed in group]
        session.checkpoint.log.close()
    if not workers.first:
        return workers.broadcast(None)  # type: ignore[return-value]  # by then rank 0 has a result
    measures = session.measures(accuracies)
    changes = session.changes(0) if is_own(recipe.data) and recipe.learning.epochs else []
    warning = nothing_learned(changes, accuracies[0]) if changes else None
    result = Result(
        recipe=recipe.name,
        question="accuracy",
        measures=measures,
        seeds=tuple(seeds),
        seconds=sum(result["seconds"] for result in session.checkpoint.done.values()),
        device=computed_by,
        command=began,
        data={"name": data.name, "fingerprint": data.fingerprint},
        notes={
            "precision": session.precision,
            **({"chosen": numerics.why} if numerics.was_measured else {}),
            "threads": used,
            **({"wait_policy": policy} if (policy := os.environ.get("OMP_WAIT_POLICY")) else {}),
            **({"resumed_by": command} if command != began else {}),
            **({"ensemble": options.ensemble} if options.ensemble > 1 else {}),
            **({"compiled": True} if options.compile else {}),
            **({"workers": workers.world_size} if workers.world_size > 1 else {}),
            **({"warning": warning} if warning is not None else {}),
        },
    )
    result = replace(result, folder=folder)
    result.write(folder / "result.json")
    return workers.broadcast(result)


def _numerics(recipe: Recipe, options: TrainOptions, folder: Path, device: torch.device, data: Data) -> Numerics:
    """How a run computes: as it began, or for one that begins, what is fastest for its learning and readout here."""
    if (kept := kept_numerics(folder)) is not None:
        return kept
    if (folder / "config.json").exists():  # begun by an earlier version, or on a GPU
        return Numerics(find_precision(options.precision, device))
    network = placed(recipe.architecture.build(0), device)
    read = {"readout": recipe.readout, "classes": len(data.classes)} if data.labelled else {}
    return choose_numerics(network, recipe.learning, options.precision, device, **read)  # type: ignore[arg-type]


_log = logging.getLogger(__name__)


class Session:
    """The state that the tasks of one training share."""

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        folder: Path,
        device: torch.device,
        options: TrainOptions,
        numerics: Numerics,
        store: Store,
        progress: Progress,
        workers: ProcessGroup = ProcessGroup(),  # noqa: B008  frozen
    ) -> None:
        self.workers = workers
        self.recipe, self.data, self.folder, self.device = recipe, data, folder, device
        self.store, self.progress = store, progress
        self.precision: Precision = numerics.precision
        if (first := workers.broadcast(data.fingerprint)) != data.fingerprint:
            raise UserError(f"all ranks need the same images, got {data.name} {data.fingerprint}, rank 0 has {first}")
        path = folder / "metrics.jsonl"
        log = Log(None) if not workers.first else EventLog(path) if options.tensorboard else Log(path)
        self.checkpoint = Checkpoint(
            folder if workers.first else None,
            log=log,
            interval=options.checkpoint_seconds,
            experiment=experiment(recipe),
            update=partial(updated, recipe=recipe),
        )
        self.checkpoint.done = workers.broadcast(self.checkpoint.done)
        if numerics.was_measured and not self.checkpoint.done:
            log.write(kind="numerics", **asdict(numerics))

    def run_seed(self, seed: int) -> dict[str, float]:
        """Train and test one seed: accuracies in percent by name; empty on a rank other than 0."""
        if not self.workers.first:
            self._learn(seed)
            return {}
        network = self.trained(seed)
        with no_sync():
            return self._accuracies(network, seed)

    def _accuracies(self, network: Network, seed: int) -> dict[str, float]:
        if not self.data.labelled:
            return {}
        made = self.seed_folder(seed) / "readout.safetensors"
        read_out = partial(self._read_out, network, seed)
        accuracies = {"test_accuracy": self._once(f"seed {seed}: readout", read_out, made=made)}
        if self.recipe.online:
            task = f"seed {seed}: readout beside the blocks"
            accuracies["online_test_accuracy"] = self._once(task, partial(self._online, network, seed))
        for baseline in self.recipe.baselines:
            work = "" if baseline == "backpropagation" else "readout of "
            task = f"seed {seed}: {work}{BASELINES[baseline].label}"
            measure = partial(baseline_accuracy, self, seed, baseline, self.checkpoint)
            accuracies[f"{baseline}_test_accuracy"] = self._once(task, measure)
        return accuracies

    def learn_together(self, seeds: Sequence[int]) -> None:
        """The unsupervised phase of the seeds that have not learned yet, as an ensemble if there are several."""
        pending = [seed for seed in seeds if learning_task(seed) not in self.checkpoint.done]
        if len(pending) < 2:
            return
        started = time.monotonic()
        images, plan = subset_images(self.data, self.recipe.learning, pending[0])
        networks = learn_ensemble(
            [built(self, seed) for seed in pending],
            images,
            plan,
            seeds=pending,
            precision=self.precision,
            store=self.store,
            key=subset_key(self.data, self.recipe.learning, pending[0], self.precision),
            checkpoint=self.checkpoint,
            task=f"seeds {', '.join(map(str, pending))}: learning",
            tasks=[learning_task(seed) for seed in pending],
            progress=self.progress,
        )
        for seed, network in zip(pending, networks, strict=True):
            save(network, self.seed_folder(seed) / "model.safetensors")
        seconds = (time.monotonic() - started) / len(pending)
        *others, last = (learning_task(seed) for seed in pending)
        # One write for all: after a stop either every member is done, or all are resumed.
        self.checkpoint.done |= {task: {"value": None, "seconds": seconds} for task in others}
        self.checkpoint.finish(last, {"value": None, "seconds": seconds})

    def trained(self, seed: int) -> Network:
        """The network of a seed after its unsupervised phase."""
        self._learn(seed)
        network = load(self.seed_folder(seed) / "model.safetensors")
        assert isinstance(network, Network)
        return placed(network, self.device).eval()

    def _learn(self, seed: int) -> None:
        """The unsupervised phase of a seed, by all workers; rank 0 writes the network."""

        def learn(task: str) -> None:
            self.workers.wait()
            network = built(self, seed)
            online = self._online_readout(network, seed)
            images, plan = subset_images(self.data, self.recipe.learning, seed)
            learn_images(
                network,
                images,
                plan,
                seed=seed,
                precision=self.precision,
                store=self.store,
                key=subset_key(self.data, self.recipe.learning, seed, self.precision),
                online=online,
                checkpoint=self.checkpoint,
                task=task,
                progress=self.progress,
            )
            if not self.workers.first:
                return
            path = self.seed_folder(seed) / "model.safetensors"
            save(network, path)
            if online is not None:
                save(online.readout, path.with_name("online.safetensors"))

        self._once(learning_task(seed), learn, made=self.seed_folder(seed) / "model.safetensors")

    def seed_folder(self, seed: int) -> Path:
        """The folder of a seed's model: the run folder for the first seed, seed-N for the others."""
        return self.folder if seed == 0 else self.folder / f"seed-{seed}"

    def changes(self, seed: int) -> list[LayerChange]:
        """The changes of each layer in the unsupervised phase of a seed."""

        def compare(_: str) -> list[dict[str, Any]]:
            network = self.trained(seed)
            images, plan = subset_images(self.data, self.recipe.learning, seed)
            with no_sync():
                initial = initial_weights(network, images, plan, seed)
            return [asdict(change) for change in layer_changes(network, initial)]

        return [LayerChange(**change) for change in self._once(f"seed {seed}: what was learned", compare)]

    def measures(self, results: list[dict[str, float]]) -> tuple[Measure, ...]:
        """Accuracies, with their intervals over the test images; without labels, how far weights turned, and radii."""
        if not self.data.labelled:
            return change_measures([self.changes(seed) for seed in range(self.recipe.seeds)])
        found = []
        for name in results[0]:
            accuracies = tuple(result[name] for result in results)
            interval = wilson(accuracies, len(self.data.test))
            found.append(Measure(name, "%", accuracies, self.recipe.published_for(name), interval))
        return tuple(found)

    def _once(self, task: str, work: Callable[[str], Any], *, made: Path | None = None) -> Any:
        """Run a task unless it is finished; again if its file is missing."""
        if made is not None and self.workers.first and task in self.checkpoint.done and not made.exists():
            _log.warning("%s is gone: %s is done again", made, task)
            self.checkpoint.repeat(task)
        if task not in self.checkpoint.done:
            started = time.monotonic()
            value = work(task)
            self.checkpoint.finish(task, {"value": value, "seconds": time.monotonic() - started})
        return self.checkpoint.done[task]["value"]

    def _read_out(self, network: Network, seed: int, task: str) -> float:
        network.attach(fit_readout(network, self, seed, self.checkpoint, task))
        assert network.readout is not None
        save(network.readout, self.seed_folder(seed) / "readout.safetensors")
        return network_accuracy(self, network, task)

    def _online_readout(self, network: Network, seed: int) -> OnlineReadout | None:
        plan = self.recipe.learning.optimizer
        if not self.recipe.online or not isinstance(plan, AdamW):
            return None
        shape = self.recipe.architecture.input_shape
        return OnlineReadout(network, shape, len(self.data.classes), plan, seed=seed)

    def _online(self, network: Network, seed: int, task: str) -> float:
        network.attach(load(self.seed_folder(seed) / "online.safetensors").to(self.device))
        return network_accuracy(self, network, task)


def in_groups(seeds: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`size` seeds at a time, in order; the last group may be smaller."""
    for first in range(0, len(seeds), size):
        yield seeds[first : first + size]
