"""One file per question that can be asked of a run; found by name."""

from torchhebb.errors import unknown_name
from torchhebb.evaluate.ablation import Ablation
from torchhebb.evaluate.accuracy import Accuracy
from torchhebb.evaluate.attacks import Attacks
from torchhebb.evaluate.clustering import Clustering
from torchhebb.evaluate.comparison import Comparison
from torchhebb.evaluate.continual import Continual
from torchhebb.evaluate.convergence import Convergence
from torchhebb.evaluate.cross_entropy import CrossEntropy
from torchhebb.evaluate.depth_width import DepthWidth
from torchhebb.evaluate.diagnostics import Diagnostics
from torchhebb.evaluate.embeddings import Embeddings
from torchhebb.evaluate.evaluator import Evaluator, Figure, evaluate
from torchhebb.evaluate.filters import Filters
from torchhebb.evaluate.generation import Generation
from torchhebb.evaluate.label_efficiency import LabelEfficiency
from torchhebb.evaluate.learning_speed import LearningSpeed
from torchhebb.evaluate.low_precision import LowPrecision
from torchhebb.evaluate.noise import Noise
from torchhebb.evaluate.online import Online
from torchhebb.evaluate.orders import Orders
from torchhebb.evaluate.parts import Parts
from torchhebb.evaluate.patches import Patches
from torchhebb.evaluate.per_block import PerBlock
from torchhebb.evaluate.radius import Radius
from torchhebb.evaluate.receptive_fields import ReceptiveFields
from torchhebb.evaluate.reconstruction import Reconstruction
from torchhebb.evaluate.runs import Run, open_run
from torchhebb.evaluate.similarity import Similarity
from torchhebb.evaluate.stopping import Stopping
from torchhebb.evaluate.sweep import BatchSize, InitialRadius, LearningRate
from torchhebb.evaluate.temperature import Temperature
from torchhebb.evaluate.transfer import Transfer

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
    """The questions there are.

    >>> list_evaluators()[:2]
    ['ablation', 'accuracy']
    """
    return [evaluator.question for evaluator in EVALUATORS]


def get_evaluator(question: str) -> type[Evaluator]:
    """The evaluator of a question; raises UserError with the nearest names."""
    for evaluator in EVALUATORS:
        if evaluator.question == question:
            return evaluator
    raise unknown_name("evaluator", question, list_evaluators())
