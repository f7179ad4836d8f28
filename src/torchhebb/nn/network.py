"""The network that users hold: blocks in a row, and the readout attached to them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.errors import UserError
from torchhebb.nn.hub import hub_class, on_hub

if TYPE_CHECKING:
    from torchhebb.nn.architecture import Architecture


class Network(nn.Sequential):
    """Blocks in a row: pixels in [0, 1] -> features.

    `attach(readout)` adds what was trained on its frozen features; `classifier` is then pixels -> logits.
    The readout stands beside the blocks, not among them, so features stay what they were.

    With `taps`, features are the maps of the blocks it names, each averaged to its size and flattened, concatenated
    and raised to the power `tap_power`.  With `flip_average`, they are the mean of the features of an image and of its
    mirror image, and so the same for both.

    Args: blocks, modules or named modules; taps, name of a block -> height and width of its maps.
    """

    architecture: "Architecture | None"
    readout: nn.Module | None

    def __init__(
        self,
        blocks: Iterable[nn.Module] | Mapping[str, nn.Module],
        *,
        taps: Mapping[str, int] | None = None,
        tap_power: float = 1.0,
        flip_average: bool = False,
    ) -> None:
        super().__init__()
        self.taps, self.tap_power, self.flip_average = dict(taps or {}), tap_power, flip_average
        named = blocks.items() if isinstance(blocks, Mapping) else ((str(i), b) for i, b in enumerate(blocks))
        for name, block in named:
            self.add_module(name, block)
        self.architecture = None
        object.__setattr__(self, "readout", None)

    def forward(self, x: Tensor) -> Tensor:
        if not self.flip_average:
            return self._features(x)
        return (self._features(x) + self._features(x.flip(-1))) / 2

    def _features(self, x: Tensor) -> Tensor:
        if not self.taps:
            return super().forward(x)
        parts = []
        for name, block in self.named_children():
            x = block(x)
            if name in self.taps:
                parts.append(F.adaptive_avg_pool2d(x, self.taps[name]).flatten(1))
        features = torch.cat(parts, 1)
        return features if self.tap_power == 1.0 else features.pow(self.tap_power)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights of every layer again, in order."""
        for child in self.children():
            _reset(child, generator)

    def learning_groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer, one a block and one for its log priors, with the architecture's rates.

        Raises ValueError for a network that was not built from an Architecture, UserError for one with a block that
        has no rate of its own.
        """
        if self.architecture is None:
            raise ValueError("the network has no architecture, so no learning rates: build it by Architecture.build()")
        groups: list[dict[str, Any]] = []
        for number, block in enumerate(self.architecture.blocks, 1):
            try:
                groups += block.parameter_groups(self.get_submodule(f"block{number}"))
            except UserError as error:
                raise UserError(f"block{number}: {error}") from None
        return groups

    def attach(self, readout: nn.Module) -> "Network":
        """Take over a trained readout (features -> logits)."""
        object.__setattr__(self, "readout", readout)
        return self

    @property
    def classifier(self) -> nn.Sequential:
        """Pixels -> logits.  Raises ValueError while no readout is attached."""
        if self.readout is None:
            raise ValueError("the network has no readout: train one and attach it first")
        classifier = nn.Sequential(self, self.readout)
        classifier.training = self.training  # not .train(), which would wake blocks that were frozen by .eval()
        return classifier

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Network":
        if self.readout is not None:
            self.readout._apply(fn)
        return super()._apply(fn, recurse)

    def save_pretrained(self, folder: str | Path, **settings: Any) -> str | None:
        """Write the model and its card to a folder, as `huggingface_hub.PyTorchModelHubMixin` does."""
        return on_hub(self).save_pretrained(folder, **settings)

    def push_to_hub(self, repo_id: str, **settings: Any) -> str:
        """Upload the model and its card, as `huggingface_hub.PyTorchModelHubMixin` does; returns the commit's URL."""
        return on_hub(self).push_to_hub(repo_id, **settings)

    @classmethod
    def from_pretrained(cls, name: str | Path, **settings: Any) -> "Network":
        """The model of a repository of the hub, or of a folder that `save_pretrained` wrote; only safetensors are read.

        Settings are those of `huggingface_hub.PyTorchModelHubMixin`: revision, token, cache_dir, ...; and map_location.
        """
        return hub_class().from_pretrained(name, **settings)


def _reset(module: nn.Module, generator: torch.Generator | None) -> None:
    """A module that draws its own weights answers for all that it holds."""
    if hasattr(module, "reset_parameters"):
        module.reset_parameters(generator)  # type: ignore[operator]
    else:
        for child in module.children():
            _reset(child, generator)
