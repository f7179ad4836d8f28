"""Every baseline answers the same corrupted images, and what is told of the answers is what they are."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.evaluate.by_hand import curve
from torchhebb.data.corruptions import CORRUPTIONS, Contrast
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.evaluator import Finding, Note
from torchhebb.evaluate.questions.noise import Noise, advantage, robustness
from torchhebb.train import Curve, Measure, Result

ALL_OFF = {name: () for name in CORRUPTIONS}
NOISE = Noise(
    baselines=("own", "random", "backpropagation"),
    measured=(0.5,),
    **(ALL_OFF | {"gaussian_noise": (0.2, 0.5, 3.0), "contrast": (0.5, 1.0)}),
)


@pytest.fixture(scope="module")
def noise(run: Run) -> Result:
    return evaluate(NOISE, run)


def test_clean_accuracies_are_those_of_the_run(noise: Result, run: Run) -> None:
    own = noise.measure("own_clean_accuracy")
    assert own.values == pytest.approx(run.result.measure("test_accuracy").values)
    assert own.interval is not None and own.interval[0] < own.mean < own.interval[1]
    assert noise.measure("random_clean_accuracy").values == pytest.approx(
        run.result.measure("random_test_accuracy").values
    )
    assert noise.notes["test_images"] == 449


def test_accuracy_falls_along_its_curve_to_chance(noise: Result) -> None:
    for name in NOISE.baselines:
        line = curve(noise, f"gaussian_noise {name}")
        assert line.x == (0.0, 0.2, 0.5, 3.0) and line.x_label == "std of the noise"
        assert line.y[0] == pytest.approx(noise.measure(f"{name}_clean_accuracy").mean)
        assert line.y[2] == pytest.approx(noise.measure(f"{name}_accuracy_at_0.5").mean)
        assert line.y[0] > line.y[2] > line.y[3] and line.y[3] < 25
        assert line.std is not None and len(line.std) == 4
        grey = curve(noise, f"contrast {name}")
        assert grey.y[0] == line.y[0] > 20 and grey.y[2] < 15  # without contrast no image is another


def test_robustness_is_the_area_under_the_curves(noise: Result) -> None:
    assert {line.name for line in noise.curves} == {
        f"{c} {n}" for c in ("gaussian_noise", "contrast") for n in NOISE.baselines
    }
    for name in NOISE.baselines:
        noted = noise.notes["robustness"][name]
        assert noise.measure(f"{name}_gaussian_noise_robustness").values == pytest.approx(noted["gaussian_noise"])
        both = [(a + b) / 2 for a, b in zip(noted["gaussian_noise"], noted["contrast"], strict=True)]
        assert noise.measure(f"{name}_robustness").values == pytest.approx(both)


def test_the_advantage_is_what_own_loses_less(noise: Result) -> None:
    def lost(name: str) -> float:
        """Mean over seeds of clean accuracy less the mean over the severities of contrast."""
        line = curve(noise, f"contrast {name}")
        return line.y[0] - (line.y[0] / 2 + line.y[1] + line.y[2] / 2) / 2

    found = noise.measure("contrast_advantage")
    assert found.unit == "points" and len(found.values) == 2
    assert found.mean == pytest.approx(lost("backpropagation") - lost("own"))
    assert found.interval is not None and found.interval[0] < found.mean < found.interval[1]


def test_the_interval_is_paired_over_images() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.rand(2, 3, 400, generator=generator) < 0.7
    same = advantage("contrast", own, own, (0.5, 1.0))
    assert same.values == (0.0, 0.0) and same.interval == (0.0, 0.0)
    other = own.clone()
    other[:, 2, :40] = False
    found = advantage("contrast", own, other, (0.5, 1.0))
    of_image = 100 * (own.double() - other.double())[:, 2].mean(0) / 4  # the last severity has a weight of 1/4
    mean, half = of_image.mean().item(), 1.959964 * of_image.std().item() / math.sqrt(400)
    assert found.interval == pytest.approx((mean - half, mean + half), rel=1e-5)


def test_robustness_of_known_answers() -> None:
    def answers(*accuracies: float) -> Tensor:
        return torch.stack([torch.arange(10) < 10 * accuracy for accuracy in accuracies]).unsqueeze(0)

    assert robustness(answers(0.8, 0.8, 0.8), (0.1, 0.5)).item() == pytest.approx(100)
    assert robustness(answers(0.8, 0.4, 0.0), (0.5, 1.0)).item() == pytest.approx(50)
    assert robustness(answers(1.0, 0.0, 0.0), (0.25, 1.0)).item() == pytest.approx(12.5)
    assert robustness(answers(0.0, 0.0), (1.0,)).item() == 0


class Watching(nn.Module):
    """A classifier that keeps what it sees."""

    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()
        self.seen = seen

    @property
    def classifier(self) -> nn.Module:
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return torch.zeros(len(x), 10)


def watch(run: Run, monkeypatch: pytest.MonkeyPatch, noise: Noise) -> tuple[dict[str, list[Tensor]], list[Finding]]:
    seen: dict[str, list[Tensor]] = {}

    def watching(run: Run, seed: int, name: str) -> Watching:
        return Watching(seen.setdefault(name, []))

    monkeypatch.setattr("torchhebb.evaluate.questions.noise.baseline", watching)
    monkeypatch.setattr(Run, "cached", lambda run, work, **key: work())
    return seen, list(noise.run(run))


def test_all_networks_see_the_same_noise_which_depends_on_seed_and_severity(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ALL_OFF | {"gaussian_noise": (0.2, 0.5)}
    noise = Noise(baselines=("own", "hard"), measured=(), images=50, **settings)
    seen, _ = watch(run, monkeypatch, noise)
    assert len(seen["own"]) == 2 * 3  # seeds x (clean images and two severities)
    assert all(torch.equal(a, b) for a, b in zip(seen["own"], seen["hard"], strict=True))
    again, _ = watch(run, monkeypatch, noise)
    assert all(torch.equal(a, b) for a, b in zip(seen["own"], again["own"], strict=True))
    clean, weak, strong, same, other, _ = seen["own"]
    assert torch.equal(clean, same) and not torch.equal(weak, other)
    assert 0 < (weak - clean).square().mean() < (strong - clean).square().mean()
    grey = (weak - clean).ne(0) & (strong - clean).ne(0)
    agreeing = ((weak > clean) == (strong > clean))[grey & (clean > 0) & (clean < 1)].double().mean()
    assert 0.4 < agreeing < 0.6  # another severity, other draws


def test_a_part_of_the_images_is_drawn_over_the_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise(baselines=("own",), measured=(), images=40, **(ALL_OFF | {"contrast": (0.5,)}))
    seen, findings = watch(run, monkeypatch, noise)
    assert {f.name: f.value for f in findings if isinstance(f, Note)}["test_images"] == 40
    chosen = seen["own"][0]
    places = [int((run.data.test.images / 255.0 == image).flatten(1).all(1).nonzero()[0]) for image in chosen]
    assert len(set(places)) == 40 and max(places) > 250
    expected = Contrast(0.5)(chosen, torch.Generator())
    torch.testing.assert_close(seen["own"][1], expected)
    assert not [f for f in findings if isinstance(f, Measure) and "advantage" in f.name]


def test_every_corruption_is_a_setting_with_severities_it_takes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, findings = watch(run, monkeypatch, Noise(images=5))
    grid = {name: getattr(Noise(), name) for name in CORRUPTIONS}
    assert all(3 <= len(severities) <= 10 for severities in grid.values())
    assert len(seen["own"]) == 2 * (1 + sum(len(severities) for severities in grid.values()))
    curves = {finding.name for finding in findings if isinstance(finding, Curve)}
    assert curves == {f"{corruption} {name}" for corruption in CORRUPTIONS for name in Noise().baselines}


def test_answers_are_kept_with_the_run(noise: Result, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.noise._classify", None)
    assert evaluate(NOISE, run).measures == noise.measures


def test_the_figure_has_a_panel_a_corruption(noise: Result, run: Run) -> None:
    assert [figure["name"] for figure in noise.notes["figures"]] == ["corruptions"]
    text = (run.folder / "noise-corruptions.svg").read_text()
    for words in ("gaussian noise", "contrast", "SoftHebb", "random weights", "share of contrast lost"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baselines": ("own", "soft")}, "baselines must be among own, .*, got 'soft'"),
        ({"baselines": ()}, "baselines must be different from each other, one at least"),
        ({**ALL_OFF, "measured": ()}, "severities of at least one corruption must be given, got none"),
        ({"measured": (0.33,)}, "measured must be among gaussian_noise .*, got 0.33"),
        ({"contrast": (0.5, 0.5)}, r"contrast must be numbers that rise from above 0, got \(0.5, 0.5\)"),
        ({"contrast": (0.0, 0.5)}, "contrast must be numbers that rise from above 0"),
        ({"contrast": (0.5, 1.5)}, "severity of Contrast must be from 0 to 1, got 1.5"),
        ({"images": 0}, "images must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    settings: dict[str, object], message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.noise.baseline", None)
    with pytest.raises(UserError, match=message):
        next(Noise(**settings).run(run))  # type: ignore[arg-type]
