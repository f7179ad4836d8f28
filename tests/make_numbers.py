"""Writes tests/numbers/ anew: python -m tests.make_numbers [NAME...]"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from tests.small_runs import QUESTIONS, RECIPES, Runs
from tests.test_numbers import FOLDER, numbers


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        wanted = {f"train-{name}": (lambda name=name: numbers(runs.train(name))) for name in RECIPES}
        wanted |= {asked.name: (lambda asked=asked: numbers(runs.ask(asked), asked.timed)) for asked in QUESTIONS}
        for name in names or wanted:
            (FOLDER / f"{name}.json").write_text(json.dumps(wanted[name](), indent=1) + "\n", encoding="utf-8")
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
