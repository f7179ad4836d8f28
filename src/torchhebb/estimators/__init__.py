"""scikit-learn estimators: features learned without labels, and a classifier on top of them."""

from torchhebb.estimators.classifier import SoftHebbClassifier
from torchhebb.estimators.softhebb import SoftHebbTransformer
from torchhebb.estimators.sphere import SPHeReTransformer

__all__ = ["SPHeReTransformer", "SoftHebbClassifier", "SoftHebbTransformer"]
