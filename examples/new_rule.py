"""A new learning rule in thirty lines: the strongest tenth of the neurons learn, all others rest."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from torchhebb import get_recipe, run
from torchhebb.readouts import Ridge
from torchhebb.rules import Rule
from torchhebb.train import Learning


@dataclass(frozen=True)
class StrongestTenth(Rule):
    """y = 1 for the neurons whose u is among the largest tenth, 0 elsewhere; decay <S, w>, as decay None says."""

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        strongest = u.topk(max(1, u.shape[1] // 10), dim=1).indices
        return torch.zeros_like(u).scatter_(1, strongest, 1.0), None


def main(folder: Path = Path("runs/example-new-rule")) -> float:
    recipe = get_recipe("softhebb2023-digits")  # here with one pass over the images, and a readout in closed form
    blocks = tuple(replace(block, rule=StrongestTenth()) for block in recipe.architecture.blocks)
    architecture = replace(recipe.architecture, blocks=blocks)
    recipe = replace(recipe, architecture=architecture, learning=Learning(), readout=Ridge(), seeds=1)
    result = run(recipe, folder=folder)
    for measure in result.measures:
        print(f"{measure.name}: {measure.mean:.2f} {measure.unit}")
    return result.measure("test_accuracy").mean


if __name__ == "__main__":
    main()
