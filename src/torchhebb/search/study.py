"""A search that can be resumed and shared by processes: one folder with one optuna study and a lock."""

import json
import os
import statistics
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from torchhebb.bounds import SIZE, Checked, at_least, between
from torchhebb.config import from_json, to_json
from torchhebb.errors import NotImportedError, UserError
from torchhebb.fields import read_field
from torchhebb.files import json_line, read_bytes, read_json, write_atomically, write_json
from torchhebb.progress import SILENT, Progress
from torchhebb.runs.reproduce import parse_duration
from torchhebb.search.objective import Objective
from torchhebb.search.space import Dimension, apply, default_space, parse_space
from torchhebb.train import Recipe

SAMPLER_SEEDS = 1_000_003
_MOST_FAILED = 50
"""Trials in a row that cannot be built, after which a search gives up."""


@dataclass(frozen=True)
class Search(Checked):
    """Search for better settings of a recipe on held-out training images; the test images are not used.

    The first trial is the recipe as it is, so that the best one can be compared with it.
    """

    space: tuple[str, ...] = ()
    """FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=a,b,c; by default rates, temperatures and powers of the blocks."""
    trials: int | None = field(default=None, metadata=SIZE)
    """Total number of trials in the folder, including those of other processes and earlier calls."""
    budget: str | None = None
    """Time limit of this call, such as 90s, 30m or 2h; 30m if neither this nor --trials is given."""
    search_seeds: int = field(default=1, metadata=SIZE)
    """Seeds for each trial; the result is their mean."""
    judge: Literal["recipe", "ridge"] = "recipe"
    """The readout: the recipe's own, or ridge regression in closed form, which is faster."""
    images: int | None = field(default=None, metadata=SIZE)
    """Learn from this many of the training images that are not held out; by default from all."""
    held_out: float = field(default=0.1, metadata=between(0, 1))
    """The fraction of the training images that is held out to compare trials."""
    sampler_seed: int = field(default=0, metadata=at_least(0))
    """Seed of the search: one process with the same seed tries the same settings."""

    @property
    def seconds(self) -> float:
        """The time limit of a call in seconds; infinite if only a number of trials is given."""
        return parse_duration(self.budget or "30m") if self.budget or self.trials is None else float("inf")


@dataclass(frozen=True)
class Trial:
    """One trial: held-out accuracies in % by seed, or why there are none."""

    number: int
    fields: dict[str, Any]
    accuracies: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)


@dataclass(frozen=True)
class Found:
    """The contents of a search folder: finished trials, the best first, failed ones, number of held-out images."""

    recipe: Recipe
    trials: tuple[Trial, ...]
    failed: tuple[Trial, ...]
    held_images: int

    @property
    def best(self) -> Recipe:
        """The recipe with the fields of the best trial."""
        return apply(self.recipe, self.trials[0].fields)


def search(
    settings: Search, recipe: Recipe, objective: Objective, folder: Path, *, progress: Progress = SILENT
) -> Found:
    """Try settings until the budget is spent or the folder holds enough trials; several processes may share a folder.

    A search also ends after 50 successive trials that cannot be built. No trial is started that would exceed the
    budget, estimated by the mean time of earlier trials. A stopped search can be resumed; its unfinished trial is
    dropped.  The folder holds trials.jsonl with a line for each finished trial, best.json, and optuna's journal.

    Args: objective, made for the data of the recipe.
    Raises UserError for a folder that holds another search, or one in which no trial could be finished.
    """
    space = parse_space(settings.space, recipe) or default_space(recipe)
    study = _Study(settings, recipe, objective, folder, space)
    deadline = time.monotonic() + settings.seconds
    durations: list[float] = []
    failed = 0
    while time.monotonic() + (statistics.fmean(durations) if durations else 0.0) <= deadline:
        if (begun := study.begin()) is None:
            break
        number, fields = begun
        started, accuracies, error = time.monotonic(), [], None
        try:
            accuracies = objective(apply(recipe, fields), task=f"trial {number}", progress=progress)
        except UserError as reason:  # settings that do not go together
            error = str(reason)
        except BaseException:
            study.end(Trial(number, fields, error="interrupted"))
            raise
        durations.append(time.monotonic() - started)
        study.end(Trial(number, fields, tuple(accuracies), durations[-1], error))
        failed = 0 if accuracies else failed + 1
        if failed == _MOST_FAILED:
            break
    return study.found()


class _Study:
    """Optuna behind a lock of the folder, so that one process at a time uses it and trials have consecutive numbers."""

    def __init__(
        self, settings: Search, recipe: Recipe, objective: Objective, folder: Path, space: tuple[Dimension, ...]
    ) -> None:
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError:
            raise UserError("torchhebb search needs optuna: pip install 'torchhebb[search]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.settings, self.recipe, self.space = optuna, settings, recipe, space
        self.folder, self.held_images = folder, len(objective.held)
        self.working: FileLock | None = None
        identity = {
            "recipe": to_json(recipe),
            "space": [str(dimension) for dimension in space],
            "images": objective.fingerprint,
            "seeds": objective.seeds,
            "judge": objective.readout,
            "precision": objective.precision,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._identify(identity)
                journal = folder / "journal.log"
                _mend(journal)
                storage = JournalStorage(JournalFileBackend(str(journal), FileLock(folder / ".journal.lock")))  # type: ignore[arg-type]
                self.study = optuna.create_study(
                    storage=storage, study_name="search", direction="maximize", load_if_exists=True
                )
                _seal(journal)
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder") from error

    def begin(self) -> tuple[int, dict[str, Any]] | None:
        """The number and the fields of the next trial, or None where all trials of the folder are done or begun."""
        with self._alone():
            self._give_up_abandoned()
            trials = self.study.get_trials(deepcopy=False)
            state = self.optuna.trial.TrialState
            counted = sum(trial.state in (state.COMPLETE, state.RUNNING) for trial in trials)
            failed = sum("error" in trial.user_attrs and trial.state == state.FAIL for trial in trials)
            wanted = self.settings.trials
            if wanted is not None and (counted >= wanted or failed > 10 * wanted):
                self._write()  # a process may have been killed after it told optuna
                return None
            own = {dimension.field: read_field(self.recipe, dimension.field) for dimension in self.space}
            if not any(map(self._counts, trials)) and all(
                own[dimension.field] in dimension for dimension in self.space
            ):
                self.study.enqueue_trial(own)  # again where the first trial was given up before it was finished
            # A seed for every trial: a resumed process must not sample the same settings again.
            seed = (self.settings.sampler_seed * SAMPLER_SEEDS + len(trials)) % 2**32
            self.study.sampler = self.optuna.samplers.TPESampler(seed=seed)
            trial = self.study.ask()
            fields = {dimension.field: dimension.suggest(trial) for dimension in self.space}
            self.working = self._lock_of(trial.number)
            self.working.acquire(timeout=0)
            _seal(self.folder / "journal.log")
            return trial.number, fields

    def end(self, trial: Trial) -> None:
        """Keep a trial of this process."""
        assert self.working is not None
        with self._alone():
            known = self.optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[trial.number]._trial_id)
            known.set_user_attr("seconds", trial.seconds)
            if trial.error is None:
                known.set_user_attr("accuracies", list(trial.accuracies))
                self.study.tell(trial.number, trial.mean)
            else:
                if trial.error != "interrupted":
                    known.set_user_attr("error", trial.error)
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
            self.working.release()
            Path(self.working.lock_file).unlink(missing_ok=True)
            _seal(self.folder / "journal.log")
            self._write()

    def found(self) -> Found:
        """All finished trials; raises UserError if there are none."""
        trials, failed = self._trials()
        if not trials:
            reason = f"; the last one: {failed[-1].error}" if failed else ""
            raise UserError(f"no trial in {self.folder} is finished yet{reason}")
        return Found(self.recipe, tuple(trials), tuple(failed), self.held_images)

    def _trials(self) -> tuple[list[Trial], list[Trial]]:
        finished, failed = [], []
        for trial in self.study.get_trials(deepcopy=False):
            notes = trial.user_attrs
            if trial.state == self.optuna.trial.TrialState.COMPLETE:
                accuracies = tuple(notes["accuracies"])
                finished.append(Trial(trial.number, trial.params, accuracies, notes["seconds"]))
            elif "error" in notes:
                failed.append(Trial(trial.number, trial.params, (), notes["seconds"], notes["error"]))
        return sorted(finished, key=lambda trial: (-trial.mean, trial.number)), failed

    def _counts(self, trial: Any) -> bool:
        """Whether a trial is waiting, under way, finished, or cannot be built, and not one that was given up."""
        return trial.state != self.optuna.trial.TrialState.FAIL or "error" in trial.user_attrs

    def _write(self) -> None:
        finished, failed = self._trials()
        lines = [{**vars(trial), "accuracies": list(trial.accuracies)} for trial in [*finished, *failed]]
        lines.sort(key=lambda line: line["number"])
        write_atomically(self.folder / "trials.jsonl", "".join(json_line(line) for line in lines))
        if finished:
            found = Found(self.recipe, tuple(finished), tuple(failed), self.held_images)
            best = {
                "recipe": to_json(found.best),
                "held_out_accuracies": list(finished[0].accuracies),
                "held_out_images": self.held_images,
                "trials": len(finished),
            }
            write_json(self.folder / "best.json", best)

    def _give_up_abandoned(self) -> None:
        """Trials of processes that were killed: the system has let go of their locks."""
        for trial in self.study.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState.RUNNING,)):
            lock = self._lock_of(trial.number)
            with suppress(Timeout):
                lock.acquire(timeout=0)
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
                lock.release()
                Path(lock.lock_file).unlink(missing_ok=True)

    def _lock_of(self, number: int) -> FileLock:
        return FileLock(self.folder / f".trial-{number}.lock")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with FileLock(self.folder / ".lock"):
            yield

    def _identify(self, identity: Mapping[str, Any]) -> None:
        path = self.folder / "search.json"
        if not path.exists():
            write_json(path, dict(identity))
            return
        try:
            known = read_json(path)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): search in another folder with --out") from None
        if other := [name for name, value in identity.items() if known.get(name) != value]:
            raise UserError(
                f"{self.folder} holds a search with another {' and '.join(other)}: give the same flags or another --out"
            )


def read_best(path: Path) -> Recipe:
    """The recipe of a best.json, or of the search folder that holds one; raises UserError for anything else."""
    path = path / "best.json" if path.is_dir() else path
    try:
        return from_json(Recipe, read_json(path)["recipe"])
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except NotImportedError as error:
        raise NotImportedError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no best.json of a search ({error})") from None


def _mend(journal: Path) -> None:
    """Cut off the part of a line that a process left which was killed while it wrote.

    Raises UserError where the journal is not what `_seal` saw, with whole lines after it.
    """
    seal = _seal_of(journal)
    if not (journal.exists() or seal.exists()):
        return
    try:
        content = read_bytes(journal)
        sealed = read_json(seal) if seal.exists() else {"bytes": 0, "crc32": 0}  # version 0.2 sealed none
        if zlib.crc32(content[: sealed["bytes"]]) != sealed["crc32"] or len(content) < sealed["bytes"]:
            raise ValueError("its checksum does not match")
        whole = content.rfind(b"\n") + 1
        for line in content[sealed["bytes"] : whole].splitlines():
            json.loads(line)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{journal} is damaged ({reason}); trials.jsonl and best.json keep what was found: "
            "search in another folder with --out"
        ) from None
    if whole < len(content):
        os.truncate(journal, whole)


def _seal(journal: Path) -> None:
    """Keep the length and the checksum of a journal; optuna's own lines have none.  The caller holds the lock."""
    content = journal.read_bytes()
    write_json(_seal_of(journal), {"bytes": len(content), "crc32": zlib.crc32(content)})


def _seal_of(journal: Path) -> Path:
    return journal.with_suffix(".json")
