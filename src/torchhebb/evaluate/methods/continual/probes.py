"""Accuracies on every task, by readouts of a network's features that are fitted again or kept.

Labels are positions in the order of the tasks: task j has the classes from j C to (j + 1) C - 1, C being the classes
of one task.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from torchhebb.data import Images
from torchhebb.data.tasks import Task, join
from torchhebb.nn import LinearReadout, Network
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts import Ridge
from torchhebb.readouts.base import percent_correct, predict_logits, readout_accuracy
from torchhebb.train.device import Precision, autocast
from torchhebb.train.features import extract_features, fingerprint


def by_position(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The same tasks, with labels that number the classes in the order of the tasks."""
    position = torch.tensor([label for task in tasks for label in task.classes]).argsort()

    def numbered(images: Images) -> Images:
        return Images(images.images, position[images.labels])

    return tuple(replace(task, train=numbered(task.train), test=numbered(task.test)) for task in tasks)


class Probes:
    """The features of all tasks from the current network, and readouts of them.

    Args: tasks, whose labels are positions; plan, that of the readouts.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        plan: Ridge,
        *,
        seed: int,
        precision: Precision = "float32",
        progress: Progress = SILENT,
    ) -> None:
        self.tasks, self.plan, self.seed, self.precision, self.progress = tasks, plan, seed, precision, progress
        self.each = len(tasks[0].classes)
        self._shown = ""
        self._train: list[Tensor] = []
        self._test: list[Tensor] = []
        self._fitted: dict[int, LinearReadout] = {}

    def show(self, network: Network, label: str) -> None:
        """Compute the features of all tasks, unless the network is the one that was shown last."""
        shown = fingerprint(network)
        if shown == self._shown:
            return
        self._shown, self._fitted = shown, {}
        self._train, self._test = [], []  # free the memory before new features are computed
        device = next(network.parameters()).device
        with autocast(self.precision, device):
            for split, parts in (("train", self._train), ("test", self._test)):
                images = [getattr(task, split) for task in self.tasks]
                features = extract_features(
                    network,
                    join(images),
                    device=device,
                    label=f"{label}: {split} features",
                    progress=self.progress,
                )
                parts.extend(features.split([len(part) for part in images]))

    def of_task(self, task: int) -> LinearReadout:
        """The readout among the classes of one task, fitted to its training features."""
        if task not in self._fitted:
            labels = self.tasks[task].train.labels - task * self.each
            self._fitted[task] = self._fit(self._train[task], labels, self.each)
        return self._fitted[task]

    def task_aware(self) -> list[float | None]:
        """Accuracy on every task among its own classes, each by a readout fitted to it."""
        return [
            readout_accuracy(self.of_task(j), test, self.tasks[j].test.labels - j * self.each)
            for j, test in enumerate(self._test)
        ]

    def task_free(self, seen: int) -> list[float | None]:
        """Accuracy on the first `seen` tasks among all their classes, by one readout fitted to all of them."""
        labels = torch.cat([task.train.labels for task in self.tasks[:seen]])
        readout = self._fit(torch.cat(self._train[:seen]), labels, seen * self.each)
        return self._unseen(
            [self._correct(predict_logits(readout, test), j) for j, test in enumerate(self._test[:seen])]
        )

    def kept(self, readout: nn.Module, seen: int) -> dict[str, list[float | None]]:
        """Both accuracies on the first `seen` tasks by a readout (features -> logits of at least their classes)."""
        aware, free = [], []
        for j, test in enumerate(self._test[:seen]):
            logits = predict_logits(readout, test)[:, : seen * self.each]
            free.append(self._correct(logits, j))
            own = torch.full_like(logits, -torch.inf)
            here = slice(j * self.each, (j + 1) * self.each)
            own[:, here] = logits[:, here]
            aware.append(self._correct(own, j))
        return {"task_aware": self._unseen(aware), "task_free": self._unseen(free)}

    def _fit(self, features: Tensor, labels: Tensor, classes: int) -> LinearReadout:
        readout = self.plan.fit(features, labels, classes, seed=self.seed).readout
        assert isinstance(readout, LinearReadout)
        return readout

    def _correct(self, logits: Tensor, task: int) -> float:
        return percent_correct(logits.cpu(), self.tasks[task].test.labels)

    def _unseen(self, row: list[float]) -> list[float | None]:
        """A row of the matrix, with None for tasks that have not arrived."""
        return [*row, *[None] * (len(self.tasks) - len(row))]


def stack(readouts: Sequence[LinearReadout]) -> LinearReadout:
    """Readouts of several tasks as one readout with the logits of all of them."""
    whole = LinearReadout(readouts[0].in_features, sum(readout.classes for readout in readouts))
    whole.to(readouts[0].weight.device)
    whole.weight.copy_(torch.cat([readout.weight for readout in readouts]))
    whole.bias.copy_(torch.cat([readout.bias for readout in readouts]))
    return whole.eval()
