"""The command line: one module for each command, which parses arguments, calls the library and prints."""

import io
import os
import platform
import sys
from collections.abc import Callable

import torch

from torchhebb import __version__
from torchhebb.cli import card, embed, evaluate, explore, export, listing, predict, report, reproduce, search, train
from torchhebb.cli.flags import DEFAULT_RECIPE
from torchhebb.cli.imports import import_named
from torchhebb.errors import UserError, printable, unknown_name
from torchhebb.memory import out_of_memory
from torchhebb.process import tune_process
from torchhebb.recipes import list_papers

USAGE = """usage: torchhebb COMMAND ...

  train [RECIPE]        train a recipe, its readout, and test it (default: {default});
                        with --data folder:PHOTOS and no recipe, your own images
  evaluate WHAT RUN     evaluate a run, or a recipe that is trained first; without WHAT, list the questions
  reproduce PAPER       the experiments of a paper that fit into a time limit: {papers}
  search [RECIPE]       search for better settings of a recipe on held-out training images
  report RUN...         one page about finished runs, with their figures
  predict RUN IMAGE...  classes of image files by a trained run
  embed RUN SOURCE      features of images, written to one file
  explore RUN SOURCE    a page with a map of images, neighbours, near-duplicates and outliers
  export RUN            the network as a file of ONNX or torch.export, which works without torchhebb
  card RUN              the model card of a run, for the Hugging Face hub
  list                  recipes, or with --data and --store the data sets and the contents of the store

torchhebb COMMAND --help lists the flags of a command, torchhebb --version prints versions.  --import MODULE, with every
command, first imports your module, so that its rules, blocks, readouts and questions can be used."""

_LONGEST = 800
LOWER = "a batch size or the size of the ensemble, or use --device cpu; finished work is kept, see --resume"

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train.run,
    "evaluate": evaluate.run,
    "reproduce": reproduce.run,
    "search": search.run,
    "report": report.run,
    "predict": predict.run,
    "embed": embed.run,
    "explore": explore.run,
    "export": export.run,
    "card": card.run,
    "list": listing.run,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; exit code 0, 2 for a mistake or a disk that fails, 130 for Ctrl-C, 141 for a closed pipe."""
    tune_process()
    _print_any_name()
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _run(import_named(arguments))
        sys.stdout.flush()  # here, where a full disk or a closed pipe can still be said
        return code
    except UserError as error:
        _say(str(error))
        return 2
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        print(f"torchhebb: memory ran out: lower {LOWER}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Who read the output has gone; without this the interpreter would complain once more when it ends.
        _drop_output()
        return 141
    except OSError as error:
        about = "" if error.filename is None else f"{error.filename}: "
        _say(f"{about}{error.strerror or error}")
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return 2
    except KeyboardInterrupt:
        print("torchhebb: stopped", file=sys.stderr)
        return 130


def _say(message: str) -> None:
    """One line for the terminal, without its middle if it is too long."""
    line = printable(message)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print(f"torchhebb: {line}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        print(f"torchhebb {__version__}, torch {torch.__version__}, python {platform.python_version()}")
        return 0
    if arguments[0] not in COMMANDS:
        raise unknown_name("command", arguments[0], COMMANDS)
    return COMMANDS[arguments[0]](arguments[1:])


def _print_any_name() -> None:
    """Escape what the terminal's encoding lacks, and bytes of paths that are no text, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage() -> str:
    return USAGE.format(default=DEFAULT_RECIPE, papers=", ".join(list_papers()))
