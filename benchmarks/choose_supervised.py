"""Held-out accuracy of backpropagation through the blocks of a recipe by its settings, to choose them fairly.

    python benchmarks/choose_supervised.py --recipe softhebb2023-cifar10-depth1 --rates 0.001 0.002

Test images have no part in it: the held-out images are training images.  All settings learn from the same images, with
the views of the recipe's plan.
"""

import itertools
import time
from dataclasses import dataclass, replace

import torch
from arguments import parse

from torchhebb.data import load_data
from torchhebb.process import tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.device import Precision
from torchhebb.train.supervised import backpropagation_model, fit_supervised


@dataclass(frozen=True)
class Settings:
    """Held-out accuracy of backpropagation by learning rate, dropout and weight decay."""

    recipe: str = "softhebb2023-cifar10-depth1"
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3, 4e-3)
    warmups: tuple[float, ...] = (0.2,)
    dropouts: tuple[float, ...] = (0.5,)
    decays: tuple[float, ...] = (0.0,)
    epochs: int = 12
    images: int = 10_000
    held_out: int = 5_000
    seed: int = 0
    precision: Precision = "float32"


def main(settings: Settings) -> None:
    recipe = get_recipe(settings.recipe)
    data = load_data(recipe.data).holdout(settings.held_out, settings.seed)
    kept = data.train.select(torch.arange(min(settings.images, len(data.train))))
    choices = itertools.product(settings.warmups, settings.dropouts, settings.decays, settings.rates)
    for warmup, dropout, decay, rate in choices:
        started = time.perf_counter()
        model = backpropagation_model(recipe.architecture, len(data.classes), settings.seed, recipe.supervised.init)
        plan = replace(
            recipe.supervised, epochs=settings.epochs, lr=rate, warmup=warmup, dropout=dropout, weight_decay=decay
        )
        fit_supervised(model, kept, plan, seed=settings.seed, precision=settings.precision)
        accuracy = model_accuracy(model, data.test)
        seconds = time.perf_counter() - started
        print(
            f"rate {rate:g}, warmup {warmup:g}, dropout {dropout:g}, decay {decay:g}: {accuracy:.2f} % held out, "
            f"{seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    tune_process()
    main(parse(Settings))
