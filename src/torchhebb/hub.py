"""The model card of a trained network for the Hugging Face hub."""

from pathlib import Path
from typing import Any

import torch

from torchhebb.data import Preprocessing
from torchhebb.errors import need
from torchhebb.nn import Network, load
from torchhebb.recipes import recipe_functions
from torchhebb.runs.folder import finished_result, read_config, read_preprocessing
from torchhebb.train import Recipe, Result

__all__ = ["model_card", "run_card"]

TAGS = ("hebbian-learning", "local-learning", "image-classification")


def run_card(folder: Path | str) -> str:
    """The model card of the first seed of a finished run, as Markdown.

    Raises UserError for a folder without a finished run.

    >>> "# mine" in run_card(folder).splitlines()  # the folder of a finished run
    True
    """
    folder = Path(folder)
    recipe, _ = read_config(folder)
    result = finished_result(folder)
    network = load(folder)
    assert isinstance(network, Network)
    usage = f"""
import torchhebb

network = torchhebb.load("{folder.name}").eval()  # the run folder
network.save_pretrained("for-the-hub")  # one file with readout and class names; push_to_hub("OWNER/NAME") uploads it
"""
    return model_card(recipe, result, network, read_preprocessing(folder), usage)


def model_card(recipe: Recipe, result: Result, network: Network, preprocessing: Preprocessing, usage: str) -> str:
    """A card in Markdown with the hub's metadata on top, from what a run knows of itself.

    Args: usage, lines of Python that load the network as `network`.

    >>> from torchhebb.recipes import create_model, get_recipe
    >>> data = {"name": "digits", "fingerprint": "0"}
    >>> result = Result("mine", "accuracy", (), (0,), 1.0, "cpu", "torchhebb train mine", data)
    >>> network = create_model("softhebb2023-digits")
    >>> card = model_card(get_recipe("softhebb2023-digits"), result, network, Preprocessing(1, 8, 8), "network = ...")
    >>> card.splitlines()[0]
    '---'
    """
    documented = recipe_functions().get(recipe.name)
    words = (documented.__doc__ or "").strip().split("\n")[0] if documented else f"Images of {result.data['name']}."
    shape = ", ".join(map(str, preprocessing.shape))
    call = "network.classifier(pixels)  # logits" if network.readout is not None else "network(pixels)  # features"
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    classes = f"Classes: {', '.join(network.classes)}.\n" if network.classes else ""
    return f"""---
{_metadata(recipe, result)}
---

# {recipe.name}

{words}

{_blocks(network)} The blocks learned by local rules from images alone: no labels, and no error signal from above.
{_readout(network)}

## Results

| measure | value | seeds |
|---|---|---|
{chr(10).join(_rows(result))}

Measured on the test images of {result.data["name"]} (fingerprint {result.data["fingerprint"]}) on {result.device};
the run took {result.seconds:,.0f} s.

## Use

```python
{usage.strip()}
pixels = ...  # (B, {shape}) in [0, 1]
{call}
```

Input: {preprocessing.described} The network itself subtracts means and divides by standard deviations.
{classes}
## How it was made

`{result.command}`, commit {result.commit}, {versions}.

## Limits

The features were learned from {result.data["name"]} only, and accuracy was measured only on its test images.
"""


def _metadata(recipe: Recipe, result: Result) -> str:
    """The block of YAML that the hub reads."""
    hub: Any = need("huggingface_hub", "a model card")
    results = [
        hub.EvalResult(
            task_type="image-classification",
            dataset_type=result.data["name"],
            dataset_name=result.data["name"],
            metric_type="accuracy",
            metric_name=measure.name.replace("_", " "),
            metric_value=round(measure.mean, 2),
        )
        for measure in result.measures
        if measure.unit == "%"
    ]
    named = {"model_name": recipe.name, "eval_results": results} if results else {}
    data = hub.ModelCardData(
        license="mit", library_name="torchhebb", tags=[*TAGS], datasets=[result.data["name"]], **named
    )
    return data.to_yaml().strip()


def _rows(result: Result) -> list[str]:
    rows = []
    for measure in result.measures:
        spread = "" if measure.std is None else f" ± {measure.std:.2f}"
        value = f"{measure.mean:.2f}{spread} {measure.unit}".strip()
        rows.append(f"| {measure.name.replace('_', ' ')} | {value} | {len(measure.values)} |")
    return rows


def _blocks(network: Network) -> str:
    assert network.architecture is not None
    blocks = network.architecture.blocks
    words = ", ".join(f"{block.width:,} neurons ({block.label})" for block in blocks)
    features = network.architecture.output_shape().numel()
    return f"{len(blocks)} block{'s' if len(blocks) > 1 else ''}: {words}; {features:,} features."


def _readout(network: Network) -> str:
    if network.readout is None:
        return "There is no readout: the network learned without labels."
    weights = sum(
        tensor.numel() for tensor in network.readout.state_dict().values() if isinstance(tensor, torch.Tensor)
    )
    return f"A readout of {weights:,} numbers was fitted to the frozen features with labels."
