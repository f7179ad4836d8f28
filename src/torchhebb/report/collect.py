"""The data of a report: the files of a run, and the predictions of its first network on the test images."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.nn import HebbConv2d, HebbLinear, Network, PatchWhitening, load
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts.base import predict_logits
from torchhebb.report.answers import Evaluation, read_evaluations
from torchhebb.runs import Run, TrainOptions, compute_options, open_run, read_config
from torchhebb.runs.folder import finished_result, read_classes, read_run_log
from torchhebb.train import Recipe, Result
from torchhebb.train.diagnostics import win_rates

WIN_RATE_BATCHES, WIN_RATE_BATCH = 4, 64


@dataclass(frozen=True, eq=False)
class Answers:
    """The predictions of a network for N test images.

    images (N, C, H, W) uint8; labels, predicted (N,) int64; log_odds (N,) float64, ln p / (1 - p) of the class
    predicted, which still tells confidences apart where p rounds to 1; win_rates: (K,) for each plastic layer.
    """

    images: Tensor
    labels: Tensor
    predicted: Tensor
    log_odds: Tensor
    win_rates: dict[str, Tensor]

    def confusion(self, classes: int) -> Tensor:
        """counts (classes, classes): rows are true classes, columns predicted ones."""
        return torch.bincount(self.labels * classes + self.predicted, minlength=classes**2).view(classes, classes)

    def most_confused(self, count: int) -> Tensor:
        """Indices of the images answered wrongly with the highest confidence, at most `count`, the worst first."""
        wrong = (self.predicted != self.labels).nonzero().flatten()
        return wrong[self.log_odds[wrong].argsort(descending=True, stable=True)][:count]


@dataclass(frozen=True, eq=False)
class Reported:
    """The data of a report page; `answers` is None if the test images are not available: `left_out` says why.

    `network` is that of the first seed, on the CPU.
    """

    folder: Path
    recipe: Recipe
    options: TrainOptions
    result: Result
    classes: tuple[str, ...]
    log: list[dict[str, Any]]
    network: Network
    answers: Answers | None
    left_out: str
    evaluations: tuple[Evaluation, ...] = ()


def read_run(
    run: Path | Run,
    *,
    device: str = "auto",
    data_dir: Path | str | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Reported:
    """Read a run folder and evaluate its first network on the test images; known features come from the store.

    Args: run, a folder, or a run that is open, whose networks, features and data are used as they are; device, data_dir
    (by default what the run was given) and store, with which a folder is opened.
    Raises UserError for a folder that is none, unfinished or damaged.
    """
    opened = run if isinstance(run, Run) else None
    folder = run.folder if isinstance(run, Run) else run
    recipe, options = read_config(folder)
    where = replace(compute_options(options), device=device)
    where = replace(where, data_dir=str(data_dir or options.data_dir or "") or None)
    answers, left_out = None, ""
    try:
        result = finished_result(folder) if opened is None else opened.result
        log, classes = read_run_log(folder), tuple(read_classes(folder))
        if not log:
            raise ValueError("metrics.jsonl is missing or empty")
        labelled = bool(classes)
        needed = ["model.safetensors", *(["readout.safetensors"] if labelled else [])]
        if missing := [name for name in needed if not (folder / name).exists()]:
            raise ValueError(f"{missing[0]} is missing")
        where = replace(where, precision=result.notes["precision"])
        try:
            opened = opened or open_run(folder, where, store=store, progress=progress)
            if len(opened.data.classes) != len(classes):
                raise UserError(f"{opened.data.name} on this machine has other classes than the run")
        except UserError as error:
            opened, left_out = None, str(error)
        network = load(folder) if opened is None else opened.network(0)
        if not isinstance(network, Network):
            raise ValueError("model.safetensors holds no network")
        if not all(isinstance(name, str) for name in classes) or len(classes) != getattr(network.readout, "classes", 0):
            raise ValueError("classes.json does not fit the readout")
    except UserError:
        raise
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{folder} is damaged ({error}): run it again") from error
    if opened is not None and labelled:
        answers = answer(opened)
    elif opened is not None:
        left_out = "it learned without labels, so it has no predictions; torchhebb embed writes its features"
    evaluations = read_evaluations(folder)
    return Reported(folder, recipe, options, result, classes, log, network.cpu(), answers, left_out, evaluations)


@torch.no_grad()
def answer(run: Run) -> Answers:
    """The predictions of the first network of a run for its test images."""
    network, images = run.network(0), run.data.test
    logits = predict_logits(run.readout(0), run.features(0, "test")).double().cpu()
    best, predicted = logits.max(1)
    others = logits.scatter(1, predicted.unsqueeze(1), -torch.inf).logsumexp(1)
    parts = [
        win_rates(network, part.to(run.device) / 255.0)
        for part in images.images[: WIN_RATE_BATCHES * WIN_RATE_BATCH].split(WIN_RATE_BATCH)
    ]
    rates = {name: torch.stack([part[name] for part in parts]).mean(0).cpu() for name in parts[0]}
    return Answers(images.images, images.labels, predicted, best - others, rates)


@torch.no_grad()
def first_layer(network: Network) -> tuple[str, Tensor]:
    """Name and weights of the first layer of neurons, (K, inputs) or (K, C, H, W), through whitening before it."""
    whitened: list[PatchWhitening] = []
    for name, module in network.named_modules():
        if isinstance(module, PatchWhitening):
            whitened.append(module)
        elif isinstance(module, HebbConv2d | HebbLinear | nn.Conv2d | nn.Linear):
            weight = module.weight
            for whitening in reversed(whitened):
                weight = whitening.on_input(weight)
            return name, weight
    raise ValueError("the network has no layer of neurons")
