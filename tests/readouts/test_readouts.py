"""Every readout against an independent reference: scikit-learn, closed forms by hand, exhaustive search."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from tests.evaluate.by_hand import labels_by_hand
from tests.watch import Watch
from torchhebb.data.images import stratified_split
from torchhebb.errors import UserError
from torchhebb.readouts import Labels, Logistic, Neighbors, ReadoutPlan, Ridge, StreamedRidge, WideRidge, base, linear
from torchhebb.readouts.labels import WinCounts
from torchhebb.readouts.projection import Projection
from torchhebb.readouts.standardized import Scaling, Standardized

CLASSES = 4
PLANS = [Ridge(), Ridge(project=12), Logistic(), Logistic(project=12), Neighbors(k=(1, 5)), Labels()]


def clusters(samples: int = 200, width: int = 30, seed: int = 0, noise: float = 1.5) -> tuple[Any, Any]:
    """Overlapping Gaussian classes far from zero mean and unit variance, one feature constant."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(samples) % CLASSES
    x = centres[labels] + noise * torch.randn(samples, width, generator=generator)
    x = x * torch.linspace(0.1, 20, width) + 7
    x[:, 3] = 2.5
    return x, labels


def scaled(x: torch.Tensor) -> np.ndarray:
    z = x.double().numpy()
    std = z.std(0)
    return (z - z.mean(0)) / np.where(std > 1e-6, std, 1)


@pytest.mark.parametrize(("samples", "width"), [(200, 30), (60, 90), (64, 64)])
@pytest.mark.parametrize("strength", [1e-3, 0.3, 20.0])
def test_ridge_equals_sklearn(samples: int, width: int, strength: float) -> None:
    x, labels = clusters(samples, width)
    target = torch.nn.functional.one_hot(labels).double().numpy()
    expected = SklearnRidge(alpha=strength * samples, solver="svd").fit(scaled(x), target)
    readout = Ridge(strengths=(strength,)).fit(x, labels, CLASSES).readout
    np.testing.assert_allclose(readout(x).numpy(), expected.predict(scaled(x)), atol=2e-5)


def test_ridge_by_hand() -> None:
    """One feature: w = <z, y> / (<z, z> + N strength), and the intercept is the mean target."""
    x = torch.tensor([[0.0], [0.0], [4.0], [4.0]])
    labels = torch.tensor([0, 0, 1, 1])
    logits = Ridge(strengths=(0.5,), holdout=0.25).fit(x, labels, 2).readout(torch.tensor([[4.0], [2.0]]))
    slope = 0.5 / (1 + 0.5)
    torch.testing.assert_close(logits, torch.tensor([[0.5 - slope, 0.5 + slope], [0.5, 0.5]]))


@pytest.mark.parametrize(("samples", "width"), [(200, 30), (60, 90)])
def test_ridge_chooses_on_held_out_images(samples: int, width: int) -> None:
    x, labels = clusters(samples, width, noise=3.0)
    plan = Ridge(strengths=(1e-4, 1e-1, 1e2), holdout=0.25)
    kept, held = stratified_split(labels, 0.25, seed=5)
    fit = Standardized(x, kept)
    inputs, outside = torch.cat(list(fit.rows())).numpy(), torch.cat(list(fit.rows(held))).numpy()
    target = torch.nn.functional.one_hot(labels[kept]).double().numpy()
    scores = {}
    for strength in plan.strengths:
        model = SklearnRidge(alpha=strength * len(kept)).fit(inputs, target)
        scores[strength] = 100 * (model.predict(outside).argmax(1) == labels[held].numpy()).mean()
    notes = plan.fit(x, labels, CLASSES, seed=5).notes
    assert notes["held_out_accuracy"] == pytest.approx(max(scores.values()))
    assert scores[notes["strength"]] == pytest.approx(max(scores.values()))


@pytest.mark.parametrize("strength", [1e-2, 1.0])
@pytest.mark.parametrize(("samples", "width"), [(200, 30), (60, 90)])
def test_logistic_equals_sklearn(samples: int, width: int, strength: float) -> None:
    x, labels = clusters(samples, width)
    model = LogisticRegression(C=1 / (strength * samples), tol=1e-8, max_iter=5000).fit(scaled(x), labels.numpy())
    fitted = Logistic(strengths=(strength,)).fit(x, labels, CLASSES)
    ours = torch.softmax(fitted.readout(x), 1).numpy()
    np.testing.assert_allclose(ours, model.predict_proba(scaled(x)), atol=1e-4)
    assert fitted.notes["largest_gradient"] < 1e-5


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_neighbors_equal_sklearn(k: int) -> None:
    x, labels = clusters()
    queries, _ = clusters(seed=1)
    model = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: 1 + (1 - distance) / (3 * k))
    expected = model.fit(x.numpy(), labels.numpy()).predict(queries.numpy())
    readout = Neighbors(k=(k,)).fit(x, labels, CLASSES).readout
    assert (readout(queries).argmax(1).numpy() == expected).all()


def test_neighbors_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters()
    whole = Neighbors(k=(3, 7)).fit(x, labels, CLASSES)
    expected = whole.readout(x)
    monkeypatch.setattr("torchhebb.readouts.neighbors._QUERIES", 7)
    monkeypatch.setattr("torchhebb.readouts.neighbors._REFERENCES", 5)
    parts = Neighbors(k=(3, 7)).fit(x, labels, CLASSES)
    assert parts.notes == whole.notes
    torch.testing.assert_close(parts.readout(x), expected)


def test_neighbors_choose_without_the_held_out_images() -> None:
    """Every image twice: a held-out image that were its own neighbour would always be right at k = 1."""
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(100) % 2
    notes = Neighbors(k=(1,), holdout=0.5).fit(x, labels, 2).notes
    assert notes["held_out_accuracy"] < 80


def test_neighbors_with_too_large_k() -> None:
    x, labels = clusters(40)
    with pytest.raises(UserError, match="k must be at most 36, .* got 50"):
        Neighbors().fit(x, labels, CLASSES)


def test_labels_average_positions_and_break_ties_by_activity() -> None:
    maps = torch.tensor([[[3.0, 1.0], [0.0, 0.0]], [[0.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [5.0, 0.0]]])
    readout = Labels().fit(maps, torch.tensor([0, 1, 2]), 3).readout
    # neuron 0 wins once for class 0 (mean 2) and once for class 1 (mean 2): the lower class of equal sums
    assert readout.labels.tolist() == [0, 2]
    maps[1] *= 2
    assert Labels().fit(maps, torch.tensor([0, 1, 2]), 3).readout.labels.tolist() == [1, 2]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{type(plan).__name__}-{getattr(plan, 'project', None)}")
def test_every_readout_is_deterministic_learns_and_leaves_its_features_alone(plan: ReadoutPlan) -> None:
    x, labels = clusters(400, noise=0.3)
    x = x - 7
    before = x.clone()
    first, second = plan.fit(x, labels, CLASSES, seed=3), plan.fit(x, labels, CLASSES, seed=3)
    logits = first.readout(x)
    assert torch.equal(logits, second.readout(x)) and first.notes == second.notes
    assert torch.equal(x, before)
    assert logits.shape == (400, CLASSES)
    assert base.percent_correct(logits, labels) > (40 if isinstance(plan, Labels) else 95)


@pytest.mark.parametrize("plan", [Ridge(), Logistic(), Neighbors(k=(1, 5))], ids=lambda plan: type(plan).__name__)
def test_bfloat16_features_are_taken(plan: ReadoutPlan) -> None:
    x, labels = clusters(400, noise=0.3)
    half = x.bfloat16()
    torch.testing.assert_close(
        plan.fit(half, labels, CLASSES).readout(half.float()),
        plan.fit(half.float(), labels, CLASSES).readout(half.float()),
    )


def test_neurons_take_the_class_that_they_win_most_often_for_counted_in_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    y, labels = torch.rand(60, 8, 3, generator=generator), torch.randint(4, (60,), generator=generator)
    y[:, 7] = 0.01 * y[:, 7]  # never wins
    counts = WinCounts(8, 4, torch.device("cpu"))
    for part, names in zip(y.split(7), labels.split(7), strict=True):
        counts.add(part, names)
    expected = labels_by_hand(y.mean(2), labels, 4)
    assert counts.readout().labels.tolist() == expected == Labels().fit(y, labels, 4).readout.labels.tolist()
    assert counts.wins.sum() == 60 and counts.wins[:, 7].sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scaling_is_that_of_scikit_learn_and_folds_into_a_readout(dtype: torch.dtype) -> None:
    x, _ = clusters(1500, 7)
    x[:, 2] = 3.0  # constant
    index = torch.randperm(1500, generator=torch.Generator().manual_seed(0))[:1200]
    scaling = Scaling.of(x, index, dtype=dtype)
    expected = torch.from_numpy(StandardScaler().fit(x[index].double().numpy()).transform(x.double().numpy()))
    torch.testing.assert_close(scaling(x.to(dtype, copy=True)).double(), expected, atol=1e-5, rtol=1e-5)
    part = slice(1, 4)
    columns = scaling(x[:, part].to(dtype, copy=True), part).double()
    torch.testing.assert_close(columns, expected[:, part], atol=1e-5, rtol=1e-5)
    weight, bias = torch.randn(3, 7, dtype=dtype), torch.randn(3, dtype=dtype)
    logits = expected @ weight.double().T + bias.double()
    torch.testing.assert_close(scaling.fold(weight, bias)(x), logits.float(), atol=1e-3, rtol=1e-3)


def test_projection_folds_and_keeps_distances() -> None:
    x, labels = clusters(50, 700)
    projection = Projection(x, 600, seed=1)
    projected = projection()
    z = torch.cat(list(Standardized(x).rows())).float()
    ratio = torch.pdist(projected) / torch.pdist(z) * (700 / 600) ** 0.5
    assert (ratio - 1).abs().max() < 0.15
    inner = Ridge().fit(projected, labels, CLASSES).readout
    torch.testing.assert_close(projection.fold(inner)(x), inner(projected), atol=1e-4, rtol=1e-4)
    assert not torch.equal(projected, Projection(x, 600, seed=2)())


@pytest.mark.parametrize(
    "plan",
    [Ridge(), Ridge(project=12), Logistic(), WideRidge(), WideRidge(strengths=(0.1,)), StreamedRidge()],
    ids=repr,
)
def test_every_strength_that_is_solved_counts_in_the_progress(plan: Any) -> None:
    x, labels = clusters()
    watch = Watch()
    plan.fit(x, labels, CLASSES, task="seed 0: readout", progress=watch)
    (solving,) = [task for task in watch.tasks if task.label == "seed 0: readout: solving"]
    assert solving.done == solving.total == len(plan.strengths) and solving.unit == "strengths"
    assert all(task.finished and task.done == task.total for task in watch.tasks)


def test_the_progress_of_a_ridge_starts_before_its_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters()
    watch, eigh = Watch(), torch.linalg.eigh

    def after_the_start(matrix: torch.Tensor) -> Any:
        assert [(task.label, task.done) for task in watch.tasks] == [("readout: solving", 0)]
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", after_the_start)
    Ridge().fit(x, labels, CLASSES, task="readout", progress=watch)
    assert watch.tasks


@pytest.mark.parametrize("plan", [Ridge(), Logistic()], ids=["ridge", "logistic"])
def test_too_wide_features_are_refused_with_the_flag_that_helps(
    plan: ReadoutPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "free_bytes", lambda device: 1 << 30)
    name = type(plan).__name__.lower()
    with pytest.raises(UserError, match=rf"{name} on 50,000 x 24,576 features needs .* GB .*--{name}\.project \d+"):
        plan.check(50_000, 24_576, torch.device("cpu"))


@pytest.mark.parametrize(
    ("plan", "settings"), [(Ridge, {"strengths": (0.0,)}), (Ridge, {"strengths": ()}), (Logistic, {"iterations": 0})]
)
def test_settings_out_of_range(plan: type[ReadoutPlan], settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{[*settings][0]} must"):
        plan(**settings)


def test_projection_out_of_range_and_features_that_diverged() -> None:
    x, labels = clusters()
    with pytest.raises(UserError, match="project must lie from 1 to 29, got 30"):
        Ridge(project=30).fit(x, labels, CLASSES)
    x[5, 5] = torch.nan
    with pytest.raises(UserError, match="features must be finite"):
        Ridge().fit(x, labels, CLASSES)
