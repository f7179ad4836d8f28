"""Held-out accuracy of backpropagation through the blocks of a recipe by learning rate, to choose it fairly.

    python benchmarks/choose_supervised.py --recipe softhebb2023-cifar10-depth1-backpropagation --rates 0.001 0.002

Test images have no part in it: the held-out images are training images.  Every rate learns from the same images, with
the views of the recipe's plan.
"""

import time
from dataclasses import dataclass, replace

import torch
from arguments import parse

from torchhebb.data import load_data
from torchhebb.process import tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.supervised import backpropagation_model, fit_supervised


@dataclass(frozen=True)
class Settings:
    """Held-out accuracy of backpropagation by learning rate."""

    recipe: str = "softhebb2023-cifar10-depth1-backpropagation"
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3, 4e-3)
    warmups: tuple[float, ...] = (0.2,)
    epochs: int = 12
    images: int = 10_000
    held_out: int = 5_000
    seed: int = 0


def main(settings: Settings) -> None:
    recipe = get_recipe(settings.recipe)
    data = load_data(recipe.data).holdout(settings.held_out, settings.seed)
    kept = data.train.select(torch.arange(min(settings.images, len(data.train))))
    for warmup in settings.warmups:
        for rate in settings.rates:
            started = time.perf_counter()
            model = backpropagation_model(recipe.architecture, len(data.classes), settings.seed)
            plan = replace(recipe.supervised, epochs=settings.epochs, lr=rate, warmup=warmup)
            fit_supervised(model, kept, plan, seed=settings.seed)
            accuracy = model_accuracy(model, data.test)
            seconds = time.perf_counter() - started
            print(f"rate {rate:g}, warmup {warmup:g}: {accuracy:.2f} % held out, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    tune_process()
    main(parse(Settings))
