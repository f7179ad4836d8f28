"""Writes tests/numbers/ anew: python -m tests.make_numbers [NAME...]"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.kept_numbers import FOLDER, numbers, weights, write
from tests.small_runs import QUESTIONS, RECIPES, Runs


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    asked = {asked.name: asked for asked in QUESTIONS}
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))

        def found(name: str) -> dict[str, Any]:
            if name in asked:
                return numbers(runs.ask(asked[name]), asked[name].unheld)
            recipe = name.removeprefix("train-")
            return numbers(runs.train(recipe)) | {"weights": weights(Path(folder) / recipe)}

        for name in names or [*(f"train-{recipe}" for recipe in RECIPES), *asked]:
            write(found(name), FOLDER / f"{name}.json")
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
