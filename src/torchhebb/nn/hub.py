"""Networks on the Hugging Face hub, whose library is imported when it is asked for: it took most of our own import."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchhebb.errors import need

if TYPE_CHECKING:
    from torchhebb.nn.network import Network


def on_hub(network: "Network") -> Any:
    """The same network, sharing all that it holds, with the methods of the hub's mixin."""
    return _shared(network, hub_class())


@cache
def hub_class() -> Any:
    """Network with `PyTorchModelHubMixin`.  Raises UserError where huggingface_hub is not installed."""
    hub = need("huggingface_hub", "the Hugging Face hub")
    mixin: Any = hub.PyTorchModelHubMixin
    from torchhebb.nn.network import Network
    from torchhebb.nn.saving import load, save

    class HubNetwork(mixin, Network, library_name="torchhebb", license="mit", tags=["hebbian-learning"]):  # type: ignore
        def _save_pretrained(self, save_directory: Path) -> None:
            save(_shared(self, Network), Path(save_directory) / "model.safetensors")

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Any:
            folder = Path(model_id)
            if not folder.is_dir():
                names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
                wanted = {name: settings[name] for name in names if name in settings}
                folder = Path(hub.snapshot_download(model_id, allow_patterns="*.safetensors", **wanted))
            return load(folder / "model.safetensors").to(settings.get("map_location", "cpu"))

    return HubNetwork


def _shared(network: Any, kind: type) -> Any:
    view: Any = object.__new__(kind)
    view.__dict__ = network.__dict__
    return view
