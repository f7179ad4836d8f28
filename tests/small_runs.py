"""Small runs of every family, and settings with which every question answers about them in seconds.

`tests/test_numbers.py` keeps what they give; this is the one place that names the classes behind it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.tiny import tiny_recipe
from torchhebb.data import Store
from torchhebb.evaluate import Run, evaluate, get_evaluator, open_run
from torchhebb.evaluate.probe import Probe
from torchhebb.nn import Architecture, LinearBlock, Pool, SPHeReConvBlock, Tap, WhitenedBlock
from torchhebb.readouts import Logistic, Ridge, WideRidge
from torchhebb.recipes import get_recipe
from torchhebb.rules import SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Recipe, Result, Supervised
from torchhebb.train.recipe import AdamW

SHORT = Readout(epochs=2, batch_size=200)
POSTERIOR = LinearBlock(
    20,
    SoftHebb(60.0, anti_hebbian=False),
    normalize=False,
    init="uniform",
    init_radius=3.0,
    lr=0.1,
    lr_power=0.2,
    activation="soft_wta",
    output_inverse_temperature=60.0,
)


def conv() -> Recipe:
    """Two convolutional blocks and every baseline, two seeds."""
    return tiny_recipe(
        seeds=2,
        published=97.0,
        learning=Learning(batch_size=50),
        readout=SHORT,
        supervised=Supervised(epochs=1, batch_size=64),
        baselines=("random", "uncalibrated", "raw", "backpropagation"),
    )


def shallow() -> Recipe:
    """The first of these blocks alone."""
    whole = conv()
    architecture = replace(whole.architecture, blocks=whole.architecture.blocks[:1])
    return replace(whole, name="shallow", architecture=architecture, baselines=("random",))


def layer() -> Recipe:
    """One layer whose posterior is read out, as in SoftHebb-2022, two seeds."""
    recipe = get_recipe("softhebb2022-digits")
    return replace(
        recipe,
        architecture=replace(recipe.architecture, blocks=(POSTERIOR,)),
        learning=Learning(batch_size=16),
        readout=replace(recipe.readout, epochs=3),
        supervised=Supervised(epochs=1, batch_size=32),
        baselines=(),
        seeds=2,
    )


def local() -> Recipe:
    """Two blocks of local losses, as in SPHeRe-2025, two seeds."""
    blocks = (
        SPHeReConvBlock(4, projection=16, pool=Pool("max", 2, 2)),
        SPHeReConvBlock(8, projection=16, residual=True),
    )
    learning = Learning(50, 1, optimizer=AdamW(1e-2), schedule="cosine")
    readout = Readout(epochs=2, batch_size=200, dropout=0.0, standardize=True, init_scale=0.0)
    architecture = Architecture((1, 8, 8), blocks, feature_pool=2)
    return Recipe("local", "digits", architecture, learning, readout, baselines=("random",), seeds=2)


def whitened() -> Recipe:
    """Two whitened blocks in greedy order, both read, mirror images averaged, under a ridge; one seed."""
    blocks = (
        WhitenedBlock(16, 3, floor=0.5, pool=Pool("avg", 3, 1)),
        WhitenedBlock(14, 2, project=6, components=20, remove_mean=False),
    )
    architecture = Architecture((1, 8, 8), blocks, taps=(Tap(1, 3), Tap(2, 2)), tap_power=0.5, flip_average=True)
    learning = Learning(order="greedy", schedule="linear", samples=300, fraction=0.5)
    return tiny_recipe(
        name="whitened", architecture=architecture, learning=learning, readout=WideRidge(), baselines=("random",)
    )


def patches() -> Recipe:
    """One block of whitened patches that nothing has learned, both sides of the mean, under a ridge; one seed."""
    block = WhitenedBlock(16, 3, floor=0.5, pool=Pool("avg", 3, 1), split=True, threshold=0.5)
    architecture = Architecture((1, 8, 8), (block,), taps=(Tap(1, 3),), tap_power=0.5, flip_average=True)
    learning = Learning(epochs=0, samples=300)
    return tiny_recipe(name="patches", architecture=architecture, learning=learning, readout=WideRidge(), baselines=())


RECIPES = {recipe.__name__: recipe for recipe in (conv, shallow, layer, local, whitened, patches)}

HELD_OUT: dict[str, Any] = {"passes": 1, "images": 200, "holdout": 0.3, "probe": Probe(pool=1)}
PROBE = Probe(pool=1, images=300)


@dataclass(frozen=True)
class Asked:
    """A question, the run that it is put to, and its settings."""

    question: str
    run: str
    settings: dict[str, Any] = field(default_factory=dict)
    unheld: tuple[str, ...] = ()
    """Parts of the names of measures and curves whose values are not kept: times, and what amplifies rounding."""

    @property
    def name(self) -> str:
        return f"{self.question}-{self.run}"


QUESTIONS = (
    Asked("ablation", "local", {"projections": (8,), "channel_factors": (0.5,), "slopes": (0.0,), "depths": (1, 2),
                                "learning_images": 200, "ridge": Ridge(strengths=(0.1,))}),
    Asked("accuracy", "conv", {"logistic": Logistic(iterations=10)}),
    Asked("accuracy", "whitened", {"readouts": ("trained", "ridge")}),
    Asked("accuracy", "local", {"readouts": ("trained", "neighbors")}),
    Asked("attacks", "layer", {"images": 20, "baselines": ("own", "backpropagation"), "linf": (0.1,), "l2": (1.0,),
                               "softness": (0.3,), "steps": 3, "restarts": 2, "queries": 10, "examples": 2}),
    Asked("baselines", "conv", {"baselines": ("own", "random", "backpropagation")}),
    Asked("batch_size", "shallow", {"values": (20, 100), **HELD_OUT}),
    Asked("clustering", "layer", {"iterations": 5}),
    Asked("comparison", "conv"),
    Asked("continual", "shallow", {"learning_epochs": 1, "supervised_epochs": 1, "ewc_images": 10,
                                   "replay_images": 40}),
    Asked("convergence", "layer", {"passes": (1,), "samples": (100, 600), "levels": (50.0,), "readout_epochs": 2}),
    Asked("cross_entropy", "layer", {"readout_epochs": 2, "points": 4, "images": 100}),
    Asked("depth_width", "conv"),
    Asked("diagnostics", "conv", {"bins": 5}),
    Asked(  # t-SNE follows the last bits of its input, and these the place of an array in memory
        "embeddings",
        "conv",
        {"images": 40, "k": 3, "perplexity": 5.0, "positions": 2, "baselines": ("own",)},
        unheld=("trustworthiness", "silhouette"),
    ),
    Asked("filters", "conv", {"baselines": ("own", "hard"), "columns": 3}),
    Asked("generation", "layer", {"pairs": ((3, 8), (4, 9)), "examples": 4, "steps": 3, "references": 100}),
    Asked("initial_radius", "shallow", {"values": (0.5, 3.0), **HELD_OUT}),
    Asked("label_efficiency", "shallow", {"labels": (5, 60), "draws": 2, "probe": PROBE}),
    Asked("learning_rate", "shallow", {"values": (1.0, 5.0), **HELD_OUT}),
    Asked("learning_speed", "shallow", {"shares": (0.3, 1.0), "passes": 1, "images": 200, "probe": PROBE}),
    Asked("low_precision", "conv", {"bits": (4,)}),
    Asked("noise", "conv", {"baselines": ("own", "backpropagation"), "measured": (0.5,), "images": 60}),
    Asked(  # a label that one neuron wins more or less, by the last bits of its updates, moves what a class forgets
        "online",
        "layer",
        {"samples": 120, "readout_epochs": 2, "updates": 3, "warmup": 1},
        unheld=("_update_", "labels_by_class_forgetting"),
    ),
    Asked("orders", "conv", {"images": 200, "timed_batches": 1}, unheld=("seconds", "chain_")),
    Asked("parts", "whitened", {"parts": ("whole", "random", "one_view"), "neurons": 12, "learned_from": 200,
                                "images": 250, "held_out": 300}),
    Asked("patches", "shallow", {"neurons": 3, "patches": 4, "measured": 8, "learned": False}),
    Asked("per_block", "conv", {"factors": (0.1,), **HELD_OUT}),
    Asked("radius", "shallow", {"factors": (2.0,), "points": 3, "passes": 1, "images": 200, "probe": PROBE}),
    Asked("receptive_fields", "shallow", {"neurons": 3, "steps": 3, "learned": False}),
    Asked("reconstruction", "conv", {"baselines": ("own", "random"), "examples": 2, "lr": 2e-2, "widths": (8,),
                                     "steps": 5, "epochs": 1, "train_images": 100, "test_images": 40,
                                     "batch_size": 20}),
    Asked("similarity", "conv", {"images_per_class": 2, "baselines": ("own", "random")}),
    Asked("stopping", "shallow", {"tolerances": (0.5, 0.1), "looks": 4, **HELD_OUT}),
    Asked("temperature", "shallow", {"inverse_temperatures": (0.5, 20.0), "anti_hebbian": (False, True),
                                     "holdout": 0.5, "readout_epochs": 1}),
    Asked("transfer", "conv", {"sources": ("digits",), "targets": ("digits",), "learning_images": 100,
                               "train_images": 200, "test_images": 50}),
    Asked("width", "patches", {"learners": ("random", "soft"), "neurons": (16, 32), "group": 8, "images": 300,
                               "held_out": 200, "learned_from": 100, "test": True}),
)  # fmt: skip


class Runs:
    """The small runs in a folder, each trained when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(folder / "store")
        self.results: dict[str, Result] = {}

    def train(self, name: str) -> Result:
        """The result of a run by name."""
        if name not in self.results:
            options = TrainOptions(device="cpu", precision="float32")
            self.results[name] = run_recipe(RECIPES[name](), options, folder=self.folder / name, store=self.store)
        return self.results[name]

    def open(self, name: str) -> Run:
        """A run by name, trained before."""
        self.train(name)
        return open_run(self.folder / name, store=self.store)

    def ask(self, asked: Asked) -> Result:
        """What a question finds with its settings."""
        run, settings = self.open(asked.run), dict(asked.settings)
        if asked.question == "depth_width":
            self.train("shallow")
            settings["others"] = (str(self.folder / "shallow"),)
        if asked.question == "comparison":  # which is about CIFAR-10 alone, and reads results, not images
            run = replace(run, recipe=replace(run.recipe, data="cifar10"))
        return evaluate(get_evaluator(asked.question)(**settings), run)
