"""scikit-learn's own checks of the three estimators, and what users do with them."""

import pickle
import pickletools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import shuffle
from sklearn.utils.estimator_checks import estimator_checks_generator

from torchhebb.errors import UserError
from torchhebb.estimators import SoftHebbClassifier, SoftHebbTransformer, SPHeReTransformer

ALL = (SoftHebbTransformer, SPHeReTransformer, SoftHebbClassifier)
TRANSFORMERS = (SoftHebbTransformer, SPHeReTransformer)
X, Y = shuffle(*load_digits(return_X_y=True), random_state=0)  # writers come one after another
FEW, LABELS = X[:300], Y[:300]


def quick(kind: Any, **settings: Any) -> Any:
    return kind(**{"n_neurons": 20, "epochs": 1, "random_state": 0, **settings})


def answers(estimator: Any, data: Any = FEW) -> np.ndarray:
    return estimator.transform(data) if hasattr(estimator, "transform") else estimator.predict_proba(data)


def checks() -> Any:
    for kind in ALL:
        for estimator, check in estimator_checks_generator(kind(), mark="skip"):
            # It skips itself where SCIPY_ARRAY_API is not set, and is for estimators that support other arrays.
            if "array_api" in (name := getattr(check, "func", check).__name__):
                continue
            yield pytest.param(estimator, check, id=f"{kind.__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("way", ["fit", "partial_fit"])
def test_a_pickle_goes_on_exactly_and_holds_no_torch(kind: Any, way: str) -> None:
    estimator = quick(kind)
    more = {"classes": np.arange(10)} if way == "partial_fit" and kind is SoftHebbClassifier else {}
    getattr(estimator, way)(FEW, LABELS, **more)
    content = pickle.dumps(estimator)
    names = {str(argument) for code, argument, _ in pickletools.genops(content) if code.name != "BINBYTES"}
    assert not any(name.startswith("torch") and not name.startswith("torchhebb.estimators") for name in names)
    twin = pickle.loads(content)
    assert np.array_equal(answers(twin), answers(estimator))
    for one in (estimator, twin):
        one.partial_fit(X[300:500], Y[300:500])
    assert np.array_equal(answers(twin), answers(estimator))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("way", ["fit", "partial_fit"])
def test_the_random_state_decides(kind: Any, way: str) -> None:
    more = {"classes": np.arange(10)} if way == "partial_fit" and kind is SoftHebbClassifier else {}
    one, same, other = (getattr(quick(kind, random_state=seed), way)(FEW, LABELS, **more) for seed in (0, 0, 1))
    assert np.array_equal(answers(one), answers(same))
    assert not np.allclose(answers(one), answers(other))


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_one_call_of_partial_fit_is_as_good_as_several(kind: Any) -> None:
    whole, parts = quick(kind, batch_size=20), quick(kind, batch_size=20)
    whole.partial_fit(X[:200]).partial_fit(X[200:400])
    parts.partial_fit(X[:200]).partial_fit(X[200:300]).partial_fit(X[300:400])
    assert np.array_equal(answers(whole), answers(parts))


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_learned_features_are_better_than_random_ones(kind: Any) -> None:
    def score(epochs: int) -> float:
        features = kind(n_neurons=40, epochs=epochs, random_state=0).fit(X[:1200])
        readout = LogisticRegression(max_iter=2000).fit(features.transform(X[:1200]), Y[:1200])
        return readout.score(features.transform(X[1200:]), Y[1200:])

    assert score(10) > score(0) + 0.01


def test_the_classifier_by_fit_and_by_partial_fit() -> None:
    assert SoftHebbClassifier(random_state=0).fit(X[:1200], Y[:1200]).score(X[1200:], Y[1200:]) > 0.95
    online = SoftHebbClassifier(random_state=0)
    for _ in range(3):
        online.partial_fit(X[:1200], Y[:1200], classes=np.arange(10))
    assert online.score(X[1200:], Y[1200:]) > 0.93
    assert np.allclose(online.predict_proba(X).sum(1), 1)


@pytest.mark.parametrize("kind", ALL)
def test_images_flat_or_not_as_arrays_frames_or_tensors_of_any_float_type(kind: Any) -> None:
    estimator = quick(kind, image_shape=(1, 8, 8)).fit(FEW, LABELS)
    assert estimator.network_.architecture.input_shape == (1, 8, 8)
    expected = answers(estimator)
    assert expected.dtype == np.float64
    kept = X[:300].reshape(-1, 1, 8, 8)
    assert np.array_equal(answers(estimator, kept), expected)
    assert np.array_equal(answers(estimator, torch.tensor(kept)), expected)
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.uint8):  # small whole numbers: exact in all
        found = answers(estimator, torch.tensor(FEW).to(dtype))
        assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-3)
    with pytest.raises(ValueError, match="image_shape must be"):
        quick(kind, image_shape=(3, 8, 8)).fit(FEW, LABELS)


def test_names_and_frames() -> None:
    frame = pd.DataFrame(FEW, columns=[f"pixel{i}" for i in range(64)])
    estimator = quick(SoftHebbTransformer).set_output(transform="pandas")
    out = estimator.fit_transform(frame)
    assert list(out.columns) == [f"softhebbtransformer{i}" for i in range(20)]
    assert list(estimator.get_feature_names_out()) == list(out.columns)
    assert list(estimator.feature_names_in_) == list(frame.columns)


def test_pipeline_grid_search_and_cross_validation() -> None:
    pipeline = make_pipeline(quick(SoftHebbTransformer), LogisticRegression(max_iter=2000))
    search = GridSearchCV(clone(pipeline), {"softhebbtransformer__n_neurons": [5, 30]}, cv=2).fit(FEW, LABELS)
    assert search.best_params_ == {"softhebbtransformer__n_neurons": 30}
    assert cross_val_score(SoftHebbClassifier(random_state=0), FEW, LABELS, cv=2).mean() > 0.85


@pytest.mark.parametrize("kind", ALL)
def test_a_last_batch_of_one_sample(kind: Any) -> None:
    estimator = quick(kind, batch_size=20).fit(X[:41], Y[:41])
    estimator.partial_fit(X[:41], Y[:41])
    assert np.isfinite(answers(estimator)).all()


def test_single_samples_pass_where_nothing_is_compared() -> None:
    quick(SoftHebbTransformer).partial_fit(FEW).partial_fit(FEW[:1])
    with pytest.raises(ValueError, match="minimum of 2"):
        quick(SPHeReTransformer).partial_fit(FEW).partial_fit(FEW[:1])


def test_classes_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match="classes must be given"):
        quick(SoftHebbClassifier).partial_fit(FEW, LABELS)
    with pytest.raises(UserError, match=r"y must be among the classes \[0, 1\]"):
        quick(SoftHebbClassifier).partial_fit(FEW, LABELS, classes=[0, 1])
    begun = quick(SoftHebbClassifier).partial_fit(FEW, LABELS, classes=np.arange(10))
    with pytest.raises(UserError, match="classes must stay"):
        begun.partial_fit(FEW, LABELS, classes=[0, 1])
