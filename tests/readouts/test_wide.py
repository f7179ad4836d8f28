import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.readouts import Ridge, WideRidge, base, factor, standardized
from torchhebb.readouts import wide as module
from torchhebb.readouts.adam import Readout
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.recipe import shortened


def problem(samples: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features far from zero mean and of very different scales, with classes that a line can tell in part."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 3
    centres = torch.randn(3, width, generator=generator)
    x = centres[labels] + 2 * torch.randn(samples, width, generator=generator)
    return x * torch.logspace(-1, 1, width) + 3, labels


def normal_equations(x: torch.Tensor, labels: torch.Tensor, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """W and b on raw features from the definition, all in float64."""
    x = x.double()
    mean, std = x.mean(0), x.std(0, correction=0)
    z = (x - mean) / std
    y = torch.nn.functional.one_hot(labels).double()
    w = torch.linalg.solve(z.T @ z / len(z) + strength * torch.eye(z.shape[1]), z.T @ (y - y.mean(0)) / len(z)).T / std
    return w, y.mean(0) - w @ mean


@given(width=st.integers(1, 120), samples=st.integers(40, 90), strength=st.sampled_from([1e-2, 0.3]))
@example(width=40, samples=40, strength=0.3)
@settings(max_examples=40, deadline=None)
def test_it_solves_the_normal_equations(width: int, samples: int, strength: float):
    x, labels = problem(samples, width)
    before = x.clone()
    readout = WideRidge(strengths=(strength,)).fit(x, labels, 3).readout
    assert torch.equal(x, before)
    weight, bias = normal_equations(x, labels, strength)
    torch.testing.assert_close(readout.weight.double(), weight, rtol=2e-3, atol=2e-4)
    torch.testing.assert_close(readout.bias.double(), bias, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("rows", [1000, 11])
@pytest.mark.parametrize(("samples", "width"), [(2600, 8), (60, 80)])
def test_samples_that_drift_away_from_the_first_ones(samples: int, width: int, rows: int, monkeypatch):
    """The centre is taken from the first samples; where it is not the mean, the sums have to make up for it."""
    x, labels = problem(samples, width)
    x += torch.linspace(0, 6, samples).unsqueeze(1) * torch.logspace(-1, 1, width)
    monkeypatch.setattr(module, "ROWS", rows)
    readout = WideRidge(strengths=(0.1,)).fit(x, labels, 3).readout
    weight, bias = normal_equations(x, labels, 0.1)
    torch.testing.assert_close(readout.weight.double(), weight, rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(readout.bias.double(), bias, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("width", [23, 131])
def test_blocks_change_nothing(width: int, monkeypatch):
    x, labels = problem(100, width)
    whole = WideRidge().fit(x, labels, 3)
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(factor, "BLOCK", 5)
    monkeypatch.setattr(module, "_COLUMNS", 9)
    parts = WideRidge().fit(x, labels, 3)
    assert parts.notes == whole.notes
    torch.testing.assert_close(parts.readout.weight, whole.readout.weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("samples", "width"), [(300, 40), (150, 400)])
def test_the_strength_is_chosen_as_ridge_chooses_it_on_held_out_samples_alone(samples: int, width: int):
    x, labels = problem(samples, width, seed=3)
    x += torch.linspace(0, 2, width)[torch.randperm(width, generator=torch.Generator().manual_seed(0))]
    strengths = (1e-3, 1e-1, 10.0)
    wide, exact = (plan(strengths=strengths).fit(x, labels, 3, seed=5) for plan in (WideRidge, Ridge))
    assert wide.notes["strength"] == exact.notes["strength"]
    assert wide.notes["held_out_accuracy"] == pytest.approx(exact.notes["held_out_accuracy"])
    torch.testing.assert_close(wide.readout.weight, exact.readout.weight, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("width", [6, 60])
def test_what_the_held_out_ones_are_answered_is_what_a_ridge_on_the_others_answers(width: int):
    """Both systems against the definition; the dual standardises by all samples, and then centres on those kept."""
    x, labels = problem(40, width)
    x[28:] += 2 * torch.logspace(-1, 1, width)  # what is held out lies elsewhere
    kept, held = torch.arange(28), torch.arange(28, 40)
    targets = torch.nn.functional.one_hot(labels, 3).float()
    kind, moments = (module._OfSamples, x) if width > 40 else (module._OfFeatures, x[kept])
    found = kind(x, targets, kept, held, base.FitContext()).held_logits(0.2)
    z = (x / moments.std(0, correction=0)).double()
    z, y = z - z[kept].mean(0), targets.double() - targets[kept].double().mean(0)
    weight = torch.linalg.solve(z[kept].T @ z[kept] / 28 + 0.2 * torch.eye(width), z[kept].T @ y[kept] / 28)
    expected = z[held] @ weight + targets[kept].double().mean(0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("width", "other"), [(59, "_OfSamples"), (60, "_OfSamples"), (61, "_OfFeatures")])
def test_the_smaller_matrix_is_the_one_that_is_made(width: int, other: str, monkeypatch):
    monkeypatch.setattr(module, other, lambda *_: pytest.fail("the larger one"))
    WideRidge().fit(*problem(60, width), 3)


@pytest.mark.parametrize("width", [5, 90])
def test_constant_features_get_no_weight(width: int):
    x, labels = problem(60, width)
    x[:, 2] = 7.0
    readout = WideRidge().fit(x, labels, 3).readout
    assert readout.weight[:, 2].abs().max() == 0 and readout.weight.isfinite().all()


@pytest.mark.parametrize("width", [10, 230])
def test_bfloat16_features(width: int):
    x, labels = problem(200, width)
    one, other = (WideRidge(strengths=(0.1,)).fit(f, labels, 3).readout for f in (x.bfloat16(), x.bfloat16().float()))
    assert torch.equal(one.weight, other.weight)


def test_all_is_made_where_the_features_are(monkeypatch):
    x, labels = problem(100, 6)
    expected = WideRidge().fit(x, labels, 3).readout

    def on_cpu(*shape: int) -> LinearReadout:
        with torch.device("cpu"):
            return LinearReadout(*shape)

    monkeypatch.setattr(standardized, "LinearReadout", on_cpu)  # it is moved to the features' device by .to
    kept_and_held = base.kept_and_held(labels, 0.1, 0, x.device)
    monkeypatch.setattr(module, "kept_and_held", lambda *_: kept_and_held)
    with torch.device("meta"):  # where a tensor of no given device now is: another one than the features'
        found = WideRidge().fit(x, labels, 3).readout
    assert torch.equal(found.weight, expected.weight)


def test_as_the_readout_of_a_recipe_it_logs_what_it_chose(tmp_path):
    from torchhebb.train.log import Log, read_log

    x, labels = problem(100, 6)
    log = Log(tmp_path / "metrics.jsonl")
    readout = WideRidge().fit(x, labels, 3, resume=Checkpoint(tmp_path, log=log), task="seed 0: readout").readout
    assert (readout(x).argmax(1) == labels).float().mean() > 0.6
    (line,) = read_log(tmp_path / "metrics.jsonl")
    assert line["kind"] == "closed_form" and line["strength"] in WideRidge().strengths


def test_mistakes(monkeypatch):
    x, labels = problem(60, 5)
    with pytest.raises(UserError, match="strengths must hold at least one value"):
        WideRidge(strengths=()).fit(x, labels, 3)
    with pytest.raises(UserError, match="features must be finite"):
        WideRidge().fit(x.index_fill(1, torch.tensor(1), torch.inf), labels, 3)
    with pytest.raises(UserError, match="features must be finite"):
        WideRidge().fit(x.repeat(1, 20).index_fill(1, torch.tensor(1), torch.nan), labels, 3)
    with pytest.raises(UserError, match="strength 1e-30 is not positive definite .* give larger strengths"):
        WideRidge(strengths=(1e-30,)).fit(x.repeat(1, 2), labels, 3)
    with pytest.raises(UserError, match="has no epochs to set, got readout_epochs 3"):
        shortened(WideRidge(), 3)
    assert shortened(Readout(), 3) == Readout(epochs=3) and shortened(Readout(), None) == Readout()
    monkeypatch.setattr(module, "free_bytes", lambda device: 1000)
    with pytest.raises(UserError, match="a ridge of 60 samples of 5 features needs 0.0 GB of memory"):
        WideRidge().fit(x, labels, 3)
