from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.readouts.test_wide import problem
from tests.reference.dual import centred, ridge_logits, standardised_products
from torchhebb.errors import UserError
from torchhebb.readouts import StreamedRidge, WideRidge, dual, iterative, products, streamed
from torchhebb.readouts.dual import DualRidge, dual_ridge
from torchhebb.readouts.iterative import iterative_ridges
from torchhebb.readouts.products import Centred, Exponential, SampleProducts, Scaled, Tiled


def whole(tiled: Tiled) -> torch.Tensor:
    """The whole matrix (samples, fitted) of tiles."""
    out = torch.full((tiled.rows[-1].stop, tiled.fitted), torch.nan)
    for i, j in tiled.places():
        tile = tiled.tile(i, j)
        out[tiled.rows[i], tiled.rows[j]] = tile
        if i < len(tiled.columns):
            out[tiled.rows[j], tiled.rows[i]] = tile.T
    return out


def summed(x: torch.Tensor, *counts: int, int8: bool = True) -> SampleProducts:
    found = SampleProducts(*counts, int8=int8)
    found.add(x)
    return found


@pytest.fixture(params=[2048, 7])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(products, "TILE", request.param)
    monkeypatch.setattr(products, "COLUMNS", 50)
    monkeypatch.setattr(products, "SUMMED", 120)
    monkeypatch.setattr(streamed, "SUMMED", 120)
    return request.param


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("counts", [(30,), (30, 11), (23, 8, 19), (14, 0, 5)])
def test_products_are_those_of_the_definition(counts: tuple[int, ...], int8: bool, tile: int):
    x, _ = problem(sum(counts), 131)
    x[:, 3] = 2.5
    fitted = sum(counts[:2])
    expected = standardised_products(x, fitted, int8=int8)
    found = summed(x, *counts, int8=int8)
    torch.testing.assert_close(whole(found).double(), expected[:, :fitted], rtol=1e-4, atol=2e-2 if int8 else 1e-3)
    expected = centred(expected, fitted)[:, :fitted]
    torch.testing.assert_close(whole(Centred(found)).double(), expected, rtol=1e-4, atol=2e-2 if int8 else 1e-3)
    curved = whole(Exponential(Scaled(Centred(found), 0.01), 0.3)).double()
    torch.testing.assert_close(curved, (0.003 * expected).exp() - 1, rtol=1e-3, atol=1e-3)


@given(samples=st.integers(20, 60), width=st.integers(1, 200), seed=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_rounding_leaves_the_matrix_positive_semi_definite(samples: int, width: int, seed: int):
    x, _ = problem(samples, width, seed)
    for matrix in (whole(summed(x, samples)), whole(Exponential(summed(x, samples), 1e-3))):
        values = torch.linalg.eigvalsh(matrix.double())
        assert values.min() > -1e-5 * values.max()


def test_the_order_of_neurons_and_their_blocks_change_nothing(tile: int):
    x, _ = problem(50, 120)
    one = summed(x, 30, 12, 8)
    other = SampleProducts(30, 12, 8)
    for part in x[:, torch.randperm(120, generator=torch.Generator().manual_seed(0))].split(37, 1):
        other.add(part)
    assert one.width == other.width == 120
    torch.testing.assert_close(whole(one), whole(other), rtol=1e-5, atol=1e-4)


def by_steps(products: Tiled, targets: torch.Tensor, kept: int, strength: float, **options: Any) -> DualRidge:
    (ridge,) = iterative_ridges(products, targets, kept, (strength,), **options)
    return ridge


@pytest.mark.parametrize("solve", [dual_ridge, partial(by_steps, tolerance=1e-5)])
@pytest.mark.parametrize("strength", [0.02, 0.5])
def test_one_solution_answers_for_the_kept_samples_and_for_all(strength: float, solve: Callable, tile: int):
    x, labels = problem(70, 200)
    targets = torch.nn.functional.one_hot(labels[:55]).float()
    matrix = Scaled(Centred(summed(x, 40, 15, 15)), 1 / 200)
    ridge = solve(matrix, targets, 40, strength)
    expected = centred(standardised_products(x, 55, int8=True), 55) / 200
    held = ridge_logits(expected[:55, :55], targets[:40], strength)
    torch.testing.assert_close(ridge.held_logits.double(), held, rtol=1e-3, atol=1e-3)
    logits = ridge_logits(expected, targets, strength)
    torch.testing.assert_close(ridge.logits(matrix).double(), logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("samples", "width"), [(300, 900), (120, 4000), (90, 60)])
def test_it_equals_wide_ridge_in_float(samples: int, width: int, tile: int):
    x, labels = problem(samples, width)
    wide = WideRidge(strengths=(0.1,)).fit(x, labels, 3)
    found = StreamedRidge(strengths=(0.1,), int8=False).fit(x, labels, 3)
    other, _ = problem(50, width, seed=1)
    for features in (x, other):
        torch.testing.assert_close(found.readout(features), wide.readout(features), rtol=0, atol=1e-5)


def test_int8_answers_nearly_the_same():
    x, labels = problem(300, 900)
    other, _ = problem(200, 900, seed=1)
    exact = StreamedRidge(strengths=(0.1,), int8=False).fit(x, labels, 3).readout(other)
    rounded = StreamedRidge(strengths=(0.1,)).fit(x, labels, 3).readout(other)
    assert (exact - rounded).abs().max() < 0.02


def test_the_strength_is_chosen_on_held_out_images():
    x, labels = problem(200, 400, seed=2)
    plan = StreamedRidge(strengths=(1e-3, 1e-1, 100.0))
    notes = plan.fit(x, labels, 3, seed=1).notes
    alone = {
        s: StreamedRidge(strengths=(s,)).fit(x, labels, 3, seed=1).notes["held_out_accuracy"] for s in plan.strengths
    }
    assert notes["held_out_accuracy"] == max(alone.values()) == alone[notes["strength"]]


def test_kept_and_read_again_it_goes_on_to_the_same_matrix(tmp_path: Path, tile: int):
    x, _ = problem(60, 300)
    path, key = tmp_path / "products" / "half.bin", {"features": "these"}
    one, other = SampleProducts(40, 10, 10), SampleProducts(40, 10, 10)
    assert other.restore(path, key) == 0
    first, second = x.split(150, 1)
    one.add(first)
    one.save(path, key, 7)
    assert other.restore(path, key) == 7 and other.width == 150
    one.add(second)
    other.add(second)
    assert all(torch.equal(one.tiles[place], tile) for place, tile in other.tiles.items())
    assert [file.name for file in path.parent.iterdir()] == ["half.bin"]


def test_damaged_or_foreign_files_are_refused(tmp_path: Path):
    x, _ = problem(30, 40)
    path, one = tmp_path / "sums.bin", summed(x, 30)
    one.save(path, {"seed": 0}, 1)
    with pytest.raises(UserError, match="holds the products of other features"):
        one.restore(path, {"seed": 1})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"1", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], b"", whole[:5]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged: delete it"):
            SampleProducts(30).restore(path, {"seed": 0})


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match=r"needs 0.0 GB and 0.0 GB are free on its disk"):
        summed(torch.rand(20, 5), 20).save(tmp_path / "sums.bin", {}, 1)
    assert not list(tmp_path.iterdir())


def test_mistakes(monkeypatch: pytest.MonkeyPatch):
    x, labels = problem(40, 60)
    x[3, 4] = torch.inf
    with pytest.raises(UserError, match="features must be finite"):
        summed(x, 40)
    with pytest.raises(UserError, match="features must be finite"):
        StreamedRidge().fit(x, labels, 3)
    with pytest.raises(UserError, match="holdout must"):
        StreamedRidge(holdout=0.0)
    x, labels = torch.eye(40), torch.arange(40) % 2
    matrix = Scaled(Centred(summed(x, 40)), -1.0)
    with pytest.raises(UserError, match="the ridge of strength 0.1 is not positive definite"):
        dual_ridge(matrix, torch.nn.functional.one_hot(labels).float(), 40, 0.1)
    monkeypatch.setattr(streamed, "free_bytes", lambda _: 1000)
    with pytest.raises(UserError, match=r"a ridge of 40 samples needs 0.0 GB of memory"):
        StreamedRidge().fit(x, labels, 2)


def test_memory_is_that_of_half_the_matrix_and_its_factor():
    """4 bytes a pair in both together, whatever the number of features."""
    one = SampleProducts(5000)
    held = sum(tile.nbytes for tile in one.tiles.values())
    assert held < 2 * 5000**2 * 1.5
    factor = dual._factor(Scaled(one, 1.0), 1.0)
    assert sum(tile.nbytes for tile in factor.values()) == held


def test_conjugate_gradients_take_few_steps_and_say_where_they_do_not_end():
    x, labels = problem(200, 900)
    targets = torch.nn.functional.one_hot(labels).float()
    matrix = Scaled(Centred(summed(x, 150, 50)), 1 / 900)
    exact, found = (
        solve(matrix, targets, 150, 0.1) for solve in (dual_ridge, partial(by_steps, tolerance=1e-4, most=30))
    )
    torch.testing.assert_close(found.held_logits, exact.held_logits, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.dual, exact.dual, rtol=0, atol=1e-3)
    with pytest.raises(UserError, match=r"the ridge is not solved after 1 steps, residuals are .*: give larger"):
        by_steps(matrix, targets, 150, 1e-4, tolerance=1e-7, most=1)


def test_strengths_together_are_those_alone_and_the_matrix_is_computed_once(tile: int, monkeypatch: pytest.MonkeyPatch):
    class Counted(Scaled):
        computed = 0

        def tile(self, i: int, j: int) -> torch.Tensor:
            Counted.computed += 1
            return super().tile(i, j)

    monkeypatch.setattr(iterative, "CORNER", 5)
    x, labels = problem(200, 900)
    targets = torch.nn.functional.one_hot(labels).float()
    source = Centred(summed(x, 150, 50))
    strengths = (0.05, 0.1, 1.0)
    matrix = Counted(source, 1 / 900)
    together = list(iterative_ridges(matrix, targets, 150, strengths))
    assert Counted.computed == len([*matrix.places()])
    monkeypatch.setattr(iterative, "CORNER", 512)
    for strength, ridge in zip(strengths, together, strict=True):
        alone = by_steps(Scaled(source, 1 / 900), targets, 150, strength)
        torch.testing.assert_close(ridge.dual, alone.dual, rtol=0, atol=1e-4)
        exact = dual_ridge(Scaled(source, 1 / 900), targets, 150, strength)
        torch.testing.assert_close(ridge.held_logits, exact.held_logits, rtol=0, atol=3e-3)


def test_landmarks_hold_the_products_of_their_columns_over_the_kept_samples_and_over_all(
    tile: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(iterative, "CORNER", 3)
    x, _ = problem(60, 90)
    matrix = Scaled(Centred(summed(x, 40, 20)), 1 / 90)
    landmarks = iterative._Landmarks(matrix, 40, 60)
    torch.testing.assert_close(landmarks.columns, whole(matrix)[:, : landmarks.columns.shape[1]])
    for count, gram in landmarks.grams:
        columns = landmarks.columns[:count].double()
        exact = columns.T @ columns
        torch.testing.assert_close(gram.tril(), exact.tril(), rtol=1e-12, atol=1e-12)
    assert [count for count, _ in landmarks.grams] == [60, 40]
