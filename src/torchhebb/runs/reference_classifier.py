"""The reference classifier: a small convolutional network, trained on clean images, that judges other images."""

import torch
from torch import Tensor, nn

from torchhebb.nn import load, save
from torchhebb.runs.run import Run
from torchhebb.train import Supervised
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log
from torchhebb.train.supervised import fit_supervised

PLAN = Supervised(epochs=3, batch_size=128, lr=2e-3)


class Judge(nn.Module):
    """Two convolutions with pooling and a linear layer: pixels in [0, 1] (B, C, H, W) -> logits (B, classes)."""

    def __init__(self, channels: int, classes: int, *, seed: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(1024, classes),
        )
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            fan_in = parameter[0].numel()
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=(2 / fan_in) ** 0.5, generator=generator)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        for dim in (2, 3):
            if x.shape[dim] == 1:  # a pool needs two
                x = x.repeat_interleave(2, dim)
        return self.layers(x - 0.5)


def judge(run: Run, seed: int = 0) -> Judge:
    """The reference classifier of a run's data, in eval mode on its device; trained once, kept in RUN/judge/."""
    model = Judge(run.data.in_channels, len(run.data.classes), seed=seed)
    folder = run.folder / "judge"
    path = folder / f"model-{seed}.safetensors"
    if path.exists():
        load(path, into=model)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        fit_supervised(
            model.to(run.device),
            run.data.train,
            PLAN,
            seed=seed,
            checkpoint=Checkpoint(folder, log=Log(folder / "metrics.jsonl")),
            task=f"judge {seed}",
            progress=run.progress,
        )
        save(model, path)
    return model.requires_grad_(False).to(run.device).eval()
