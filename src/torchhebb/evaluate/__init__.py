"""One file per question that can be asked of a run; found by name."""

from inspect import isabstract

from torchhebb.errors import unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, evaluate
from torchhebb.evaluate.methods.continual import Continual
from torchhebb.evaluate.questions.ablation import Ablation
from torchhebb.evaluate.questions.accuracy import Accuracy
from torchhebb.evaluate.questions.attacks import Attacks
from torchhebb.evaluate.questions.clustering import Clustering
from torchhebb.evaluate.questions.comparison import Comparison
from torchhebb.evaluate.questions.convergence import Convergence
from torchhebb.evaluate.questions.cross_entropy import CrossEntropy
from torchhebb.evaluate.questions.depth_width import DepthWidth
from torchhebb.evaluate.questions.diagnostics import Diagnostics
from torchhebb.evaluate.questions.embeddings import Embeddings
from torchhebb.evaluate.questions.filters import Filters
from torchhebb.evaluate.questions.generation import Generation
from torchhebb.evaluate.questions.label_efficiency import LabelEfficiency
from torchhebb.evaluate.questions.learning_speed import LearningSpeed
from torchhebb.evaluate.questions.low_precision import LowPrecision
from torchhebb.evaluate.questions.noise import Noise
from torchhebb.evaluate.questions.online import Online
from torchhebb.evaluate.questions.orders import Orders
from torchhebb.evaluate.questions.parts import Parts
from torchhebb.evaluate.questions.patches import Patches
from torchhebb.evaluate.questions.per_block import PerBlock
from torchhebb.evaluate.questions.radius import Radius
from torchhebb.evaluate.questions.receptive_fields import ReceptiveFields
from torchhebb.evaluate.questions.reconstruction import Reconstruction
from torchhebb.evaluate.questions.similarity import Similarity
from torchhebb.evaluate.questions.stopping import Stopping
from torchhebb.evaluate.questions.sweep import BatchSize, InitialRadius, LearningRate
from torchhebb.evaluate.questions.temperature import Temperature
from torchhebb.evaluate.questions.transfer import Transfer
from torchhebb.runs.run import Run, open_run

EVALUATORS: tuple[type[Evaluator], ...] = (
    Ablation,
    Accuracy,
    Attacks,
    BatchSize,
    Clustering,
    Comparison,
    Continual,
    Convergence,
    CrossEntropy,
    DepthWidth,
    Diagnostics,
    Embeddings,
    Filters,
    Generation,
    InitialRadius,
    LabelEfficiency,
    LearningRate,
    LearningSpeed,
    LowPrecision,
    Noise,
    Online,
    Orders,
    Parts,
    Patches,
    PerBlock,
    Radius,
    ReceptiveFields,
    Reconstruction,
    Similarity,
    Stopping,
    Temperature,
    Transfer,
)

__all__ = [
    "EVALUATORS",
    "Ablation",
    "Accuracy",
    "Attacks",
    "BatchSize",
    "Clustering",
    "Comparison",
    "Continual",
    "Convergence",
    "CrossEntropy",
    "DepthWidth",
    "Diagnostics",
    "Embeddings",
    "Evaluator",
    "Figure",
    "Filters",
    "Generation",
    "InitialRadius",
    "LabelEfficiency",
    "LearningRate",
    "LearningSpeed",
    "LowPrecision",
    "Noise",
    "Online",
    "Orders",
    "Parts",
    "Patches",
    "PerBlock",
    "Radius",
    "ReceptiveFields",
    "Reconstruction",
    "Run",
    "Similarity",
    "Stopping",
    "Temperature",
    "Transfer",
    "evaluate",
    "get_evaluator",
    "list_evaluators",
    "open_run",
]


def list_evaluators() -> list[str]:
    """The questions of torchhebb; those of a user's own are found by `get_evaluator`.

    >>> list_evaluators()[:2]
    ['ablation', 'accuracy']
    """
    return [evaluator.question for evaluator in EVALUATORS]


def get_evaluator(question: str) -> type[Evaluator]:
    """The evaluator of a question; raises UserError with the nearest names."""
    for evaluator in _evaluators():
        if evaluator.question == question:
            return evaluator
    raise unknown_name("evaluator", question, list_evaluators())


def _evaluators() -> list[type[Evaluator]]:
    """Those of torchhebb, and those that modules of a user's own define."""
    own = _subclasses(Evaluator)  # type: ignore[type-abstract]
    return [*EVALUATORS, *(found for found in own if not found.__module__.startswith("torchhebb."))]


def _subclasses(kind: type[Evaluator]) -> list[type[Evaluator]]:
    children = kind.__subclasses__()
    own = [child for child in children if not isabstract(child)]
    return own + [found for child in children for found in _subclasses(child)]
