"""Methods to load and save models on the Hugging Face hub; its library is imported when they are called."""

from functools import cache
from pathlib import Path
from typing import Any, Self

from torch import nn

from torchhebb.errors import need
from torchhebb.nn.saving import load, save


class OnHub(nn.Module):
    """A model with the methods of `huggingface_hub.PyTorchModelHubMixin`, without a need for the library elsewhere."""

    def save_pretrained(self, folder: str | Path, **settings: Any) -> str | None:
        """Write the model and its card to a folder, as `huggingface_hub.PyTorchModelHubMixin` does."""
        return self._on_hub().save_pretrained(folder, **settings)

    def push_to_hub(self, repo_id: str, **settings: Any) -> str:
        """Upload the model and its card, as `huggingface_hub.PyTorchModelHubMixin` does; returns the commit's URL."""
        return self._on_hub().push_to_hub(repo_id, **settings)

    @classmethod
    def from_pretrained(cls, name: str | Path, **settings: Any) -> Self:
        """The model of a repository of the hub, or of a folder that `save_pretrained` wrote; only safetensors are read.

        Settings are those of `huggingface_hub.PyTorchModelHubMixin`: revision, token, cache_dir, ...; and map_location.
        """
        kind: Any = cls
        return _hub_class(kind).from_pretrained(name, **settings)

    def _on_hub(self) -> Any:
        kind: Any = type(self)
        return _shared(self, _hub_class(kind))


@cache
def _hub_class(kind: Any) -> Any:
    """The class with `PyTorchModelHubMixin`.  Raises UserError where huggingface_hub is not installed."""
    hub = need("huggingface_hub", "the Hugging Face hub")
    mixin: Any = hub.PyTorchModelHubMixin

    class HubModel(mixin, kind, library_name="torchhebb", license="mit", tags=["hebbian-learning"]):  # type: ignore
        def _save_pretrained(self, save_directory: Path) -> None:
            save(_shared(self, kind), Path(save_directory) / "model.safetensors")

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Any:
            folder = Path(model_id)
            if not folder.is_dir():
                names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
                wanted = {name: settings[name] for name in names if name in settings}
                folder = Path(hub.snapshot_download(model_id, allow_patterns="*.safetensors", **wanted))
            return load(folder / "model.safetensors").to(settings.get("map_location", "cpu"))

    return HubModel


def _shared(model: Any, kind: type) -> Any:
    """The same model, sharing all that it holds, as an object of another class."""
    view: Any = object.__new__(kind)
    view.__dict__ = model.__dict__
    return view
