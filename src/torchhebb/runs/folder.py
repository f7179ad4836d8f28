"""The run folder: its configuration, and a lock against a second process."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from torchhebb.config import from_json, to_json
from torchhebb.data import Data, Fit, Preprocessing, absolute_name, is_own
from torchhebb.errors import NotImportedError, UserError
from torchhebb.files import read_json, write_atomically, write_json
from torchhebb.nn.saving import read_class_names, write_class_names
from torchhebb.nn.tensors import read_tensors
from torchhebb.runs.options import TrainOptions
from torchhebb.train.log import read_log
from torchhebb.train.numerics import Numerics
from torchhebb.train.recipe import Recipe
from torchhebb.train.result import Result, read_result

_log = logging.getLogger(__name__)


def new_run_folder(recipe: Recipe) -> Path:
    """A new folder runs/<recipe>-<time> under the current one, numbered where that is taken.

    >>> import contextlib, tempfile
    >>> from torchhebb.recipes import get_recipe
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    ...     str(new_run_folder(get_recipe("softhebb2023-digits")))
    'runs/softhebb2023-digits-...'
    """
    stem = Path("runs") / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = stem, 1
    while True:
        try:
            folder.mkdir(parents=True)  # at once, so that of two runs in the same second each has its own
            return folder
        except FileExistsError:
            number += 1
            folder = stem.with_name(f"{stem.name}-{number}")
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder with --out") from error


@contextmanager
def begun_or_gone(folder: Path) -> Iterator[None]:
    """A context that removes the empty folder if an error occurs before the run has its configuration."""
    try:
        yield
    except BaseException:
        if not (folder / "config.json").exists():
            with suppress(OSError):  # it holds something, or is not there
                (folder / ".lock").unlink(missing_ok=True)
                folder.rmdir()
                if folder.parent.name == "runs":
                    folder.parent.rmdir()
        raise


def finished_result(folder: Path) -> Result:
    """The result of a finished run.  Raises UserError where there is none, or it is damaged."""
    if not (folder / "result.json").exists():
        raise UserError(f"{folder} is not finished: continue with torchhebb train --resume {folder}")
    return read_result(folder / "result.json")


def same_training(known: Recipe, recipe: Recipe) -> bool:
    """Whether a run of `known` can go on as one of `recipe`: with more seeds, other baselines, another plan for those.

    `supervised` may differ where `known` has not been trained by it.
    """
    plan = recipe.supervised if "backpropagation" not in known.baselines else known.supervised
    return replace(known, seeds=recipe.seeds, baselines=recipe.baselines, supervised=plan) == recipe


def prepare_folder(
    folder: Path, recipe: Recipe, options: TrainOptions, data: Data, command: str, numerics: Numerics | None = None
) -> str:
    """Make the run folder with its config.json and classes.json, or check that it holds the same recipe.

    A folder with fewer seeds is extended: its results are kept, and only the missing seeds are run.
    Other baselines replace those it had; what was computed for them is also kept.  The caller holds the lock.

    Args: numerics, how a new run computes; a folder keeps what it has.
    Returns the command that started the run.
    """
    began = command
    if (folder / "config.json").exists():
        known, before = read_config(folder)
        same = same_training(known, recipe) and (before.precision, before.compile) == (
            options.precision,
            options.compile,
        )
        if not same or recipe.seeds < known.seeds:
            raise UserError(f"{folder} holds another experiment ({known.name}): resume without changed flags")
        _check_same_data(folder, data)
        for leftover in folder.rglob(".*.safetensors.*"):  # of a process that was killed while it wrote
            with suppress(OSError):
                leftover.unlink()
        began, numerics = _config(folder).get("command") or command, kept_numerics(folder)
        if recipe == known:
            return began
    write_class_names(folder / "classes.json", data.classes)
    if data.skipped:
        write_atomically(folder / "skipped.json", json.dumps(data.skipped, indent=1) + "\n")
    _write_config(folder, recipe, options, data, began, numerics)
    return began


def _check_same_data(folder: Path, data: Data) -> None:
    """Raise UserError that says what changed, unless these are the images with which the run started."""
    written = _config(folder).get("data")
    if written is None:  # runs of version 0.1 kept none
        return
    try:
        kept = from_json(_Described, {"type": "_Described", **written})
    except (TypeError, UserError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}): start the run again") from None
    now = _described(data)
    if kept == now:
        return
    if kept.classes != now.classes:
        gone, new = (sorted({*one} - {*other}) for one, other in _pairs(kept.classes, now.classes))
        changes = [f"{word} {', '.join(names)}" for word, names in (("without", gone), ("with", new)) if names]
        what = f"its classes are now {' and '.join(changes) or 'in another order'}"
    elif kept.images != now.images:
        what = f"it had {sum(kept.images):,} images and has {sum(now.images):,}"
    else:
        what = "its images or labels are different"
    raise UserError(f"{data.name} changed since {folder} began: {what}; choose another folder")


def _pairs(one: Any, other: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return (one, other), (other, one)


@dataclass(frozen=True)
class _Described:
    """The data of a run, as its config.json keeps them; images are numbers of training and test images."""

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    images: tuple[int, int]


def _described(data: Data) -> _Described:
    counts = (len(data.train), len(data.test) if data.labelled else 0)
    return _Described(data.name, data.fingerprint, tuple(data.classes), counts)


def _write_config(
    folder: Path, recipe: Recipe, options: TrainOptions, data: Data, command: str, numerics: Numerics | None
) -> None:
    """Renamed into place: a folder with a config.json is a run that can be resumed."""
    config = {"recipe": recipe, "options": options, "preprocessing": data.preprocessing}
    kept = {"data": asdict(_described(data))} | ({} if numerics is None else {"numerics": asdict(numerics)})
    known = {name: to_json(value) for name, value in config.items()}
    write_json(folder / "config.json", known | kept | {"command": command})


def kept_numerics(folder: Path) -> Numerics | None:
    """How a run on a CPU computes; None for one on a GPU, of an earlier version, or that is not there yet."""
    if not (folder / "config.json").exists() or (kept := _config(folder).get("numerics")) is None:
        return None
    try:
        return Numerics(**{"convolutions": {}, "layers": {}} | kept)
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}): start the run again") from None


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a run folder against a second process; the system releases the lock of a process that was killed."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder") from error
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is using {folder}: wait for it, or choose another folder") from None
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; make it writable, then --resume") from error
    try:
        yield
    finally:
        lock.release()


def read_config(folder: Path) -> tuple[Recipe, TrainOptions]:
    """The recipe and options of a run folder; raises UserError if it is none or its config.json is damaged.

    >>> recipe, options = read_config(folder)  # the folder of a run
    >>> recipe.name, options.device
    ('mine', 'auto')
    """
    path = folder / "config.json"
    try:
        config = read_json(path)
        recipe = from_json(Recipe, config["recipe"])
        return replace(recipe, data=absolute_name(recipe.data)), from_json(TrainOptions, config["options"])
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is not a run folder: it has no config.json") from None
    except NotImportedError as error:
        raise NotImportedError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): start the run again") from None


def read_preprocessing(folder: Path) -> Preprocessing:
    """The preprocessing of a run's images, for use with other images; raises UserError if there is no such run.

    A run of an earlier version stored none: it squashed a user's own images, and cropped those of the catalogue.
    """
    recipe, _ = read_config(folder)
    kept = _kept_preprocessing(folder)
    return kept or Preprocessing(*recipe.architecture.input_shape, fit=_earlier_fit(recipe))


def data_settings(folder: Path, recipe: Recipe, options: TrainOptions) -> dict[str, Any]:
    """The preprocessing for `load_data`: that of the run folder, or that of the options if the folder has none."""
    settings: dict[str, Any] = {"data_dir": options.data_dir, "skip_unreadable": options.skip_unreadable}
    if not (folder / "config.json").exists():
        return {**settings, "size": options.size, "fit": options.fit}
    if (kept := _kept_preprocessing(folder)) is not None:
        return {**settings, "preprocessing": kept}
    return {**settings, "size": options.size, "fit": _earlier_fit(recipe)}


def _kept_preprocessing(folder: Path) -> Preprocessing | None:
    kept = _config(folder).get("preprocessing")
    return None if kept is None else from_json(Preprocessing, kept)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): start the run again") from None


def _earlier_fit(recipe: Recipe) -> Fit:
    return "squash" if is_own(recipe.data) else "crop"


def read_run_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a warning says where its end is missing, as the last checkpoint tells."""
    path, checkpoint = folder / "metrics.jsonl", folder / "checkpoint.safetensors"
    lines = read_log(path)
    with suppress(UserError, OSError):  # of a damaged checkpoint whoever resumes is told
        expected = read_tensors(checkpoint)[1].get("log_offset", 0)
        if path.exists() and (lost := expected - path.stat().st_size) > 0:
            _log.warning("%s has lost the last %d bytes of its lines", path, lost)
    return lines


def read_classes(folder: Path) -> list[str]:
    """The names of a run's classes, in the order of its logits; raises UserError if the run has none."""
    try:
        return read_class_names(folder / "classes.json")
    except FileNotFoundError:
        raise UserError(f"{folder} has no classes.json: it is not a run folder, or damaged") from None
