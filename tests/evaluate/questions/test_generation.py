"""Paths between classes start at the image and end in the target; distances tell copies from objects."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.tiny import digits, tiny_recipe
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.methods.interpolation import Causes, as_pixels, ascent, bridge, geodesic, mixtures
from torchhebb.evaluate.methods.nearest import nearest_distances, nearness
from torchhebb.evaluate.questions.generation import Generation, _Work, causes_of
from torchhebb.nn import Architecture, LinearBlock
from torchhebb.rules import SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Measure, Readout, Result
from torchhebb.train.wilson import wilson

LAYER = LinearBlock(
    80,
    SoftHebb(40.0, anti_hebbian=False),
    normalize=False,
    init="uniform",
    init_radius=3.0,
    lr=0.1,
    lr_power=0.2,
    activation="soft_wta",
    output_inverse_temperature=40.0,
)
SHARES = tuple(step / 8 for step in range(9))
GENERATION = Generation(pairs=((3, 8), (4, 9), (2, 7)), examples=6, steps=5, references=449)


@pytest.fixture(scope="module")
def single(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of one soft winner-take-all layer on the digits, two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "single"
    architecture = Architecture((1, 8, 8), (LAYER,), unit_norm=True)
    plans = {"learning": Learning(batch_size=8, epochs=2), "readout": Readout(epochs=1, batch_size=200)}
    recipe = tiny_recipe(architecture=architecture, baselines=(), seeds=2, **plans)
    run_recipe(recipe, TrainOptions(device="cpu", precision="float32"), folder=folder, store=store)
    return open_run(folder, store=store)


@pytest.fixture(scope="module")
def causes(single: Run) -> Causes:
    return causes_of(single, 0)


@pytest.fixture(scope="module")
def result(single: Run) -> Result:
    return evaluate(GENERATION, single)


def made(seed: int = 0) -> Causes:
    """Causes of three classes with a prior, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(7, 5, generator=generator, dtype=torch.float64) - 0.3
    bias = torch.randn(7, generator=generator, dtype=torch.float64) / 10
    return Causes(normalize(weight, dim=1), bias, 6.0, torch.tensor([0, 1, 2, 0, 1, 2, 1]))


def test_density_mean_and_posterior_are_sums_over_neurons() -> None:
    causes = made()
    assert causes.bias is not None
    x = normalize(torch.rand(2, 5, dtype=torch.float64), dim=1).requires_grad_()
    classes = torch.tensor([1, 2])
    expected = [
        sum(
            math.exp(6.0 * (float(causes.weight[k] @ row) + float(causes.bias[k])))
            for k in range(7)
            if causes.labels[k] == name
        )
        for row, name in zip(x.detach(), classes, strict=True)
    ]
    density = causes.log_density(x, classes)
    assert density.exp().tolist() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(density.sum(), x)
    torch.testing.assert_close(gradient, 6.0 * causes.mean(x, classes))
    posterior = causes.posterior(x, 3)
    torch.testing.assert_close(posterior.sum(1), torch.ones(2, dtype=torch.float64))
    every = torch.stack([causes.log_density(x, torch.full((2,), name)) for name in range(3)], 1)
    torch.testing.assert_close(posterior, torch.softmax(every, 1))


def test_the_posterior_is_that_of_the_network(single: Run, causes: Causes) -> None:
    x = single.data.test.images[:50] / 255.0
    y = single.network(0)(x)
    found = causes.posterior(normalize(x.flatten(1), dim=1), 10)
    for name in range(10):
        torch.testing.assert_close(found[:, name], y[:, causes.labels == name].sum(1))


def climbed(causes: Causes, x: Tensor, start: Tensor, source: Tensor, target: Tensor, share: float) -> Tensor:
    """J_s of each row."""
    densities = (1 - share) * causes.log_density(x, source) + causes.log_density(x, target)
    return (1 - share) ** 2 * causes.inverse_temperature * (x * start).sum(1) + share * densities


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 1.0])
def test_no_iteration_of_a_bridge_lowers_its_objective(share: float) -> None:
    causes = made()
    start = normalize(torch.rand(20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1)
    source, target = torch.zeros(20, dtype=torch.long), torch.ones(20, dtype=torch.long)
    points = [start]
    for iterations in range(1, 12):
        points.append(bridge(causes, start, source, target, (share,), iterations=iterations)[:, 0])
    values = torch.stack([climbed(causes, x, start, source, target, share) for x in points])
    assert (values.diff(dim=0) >= -1e-12).all() and (values[-1] > values[0]).all()
    last = bridge(causes, start, source, target, (share,), iterations=2000)[:, 0].requires_grad_()
    assert (last >= 0).all()
    (gradient,) = torch.autograd.grad(climbed(causes, last, start, source, target, share).sum(), last)
    torch.testing.assert_close(normalize(gradient.clamp_min(0), dim=1), last.detach())  # no direction leads higher


def starts(run: Run, causes: Causes, source: int) -> Tensor:
    """Test images of a class that the layer reads rightly."""
    x = run.data.test.images[run.data.test.labels == source] / 255.0
    return x[causes.posterior(normalize(x.flatten(1), dim=1), 10).argmax(1) == source]


@pytest.mark.parametrize(("source", "target"), [(3, 8), (1, 7), (0, 6)])
def test_a_bridge_starts_at_the_image_and_ends_in_the_target(
    single: Run, causes: Causes, source: int, target: int
) -> None:
    x = starts(single, causes, source)
    start = normalize(x.flatten(1), dim=1)
    ends = torch.full((len(x),), source), torch.full((len(x),), target)
    path = bridge(causes, start, *ends, SHARES)
    torch.testing.assert_close(path[:, 0], start)
    assert torch.equal(path, bridge(causes, start, *ends, SHARES))
    assert (path >= 0).all()
    torch.testing.assert_close(path.norm(dim=2), torch.ones(len(x), 9))
    mass = causes.posterior(path.flatten(0, 1), 10)[:, target].unflatten(0, (-1, 9))
    assert (mass.diff(dim=1) > -0.15).all()
    assert (mass.mean(0).diff() > -1e-3).all()
    assert (mass[:, 0] < 0.5).all() and (mass[:, -1] > 0.5).all()
    torch.testing.assert_close(normalize(causes.mean(path[:, -1], ends[1]), dim=1), path[:, -1], atol=0.02, rtol=0)
    pixels = as_pixels(path, x.flatten(1).amax(1))
    torch.testing.assert_close(pixels[:, 0].view_as(x), x)
    assert pixels.min() >= 0 and pixels.max() <= 1
    torch.testing.assert_close(normalize(pixels, dim=2), path)


def test_the_ascent_stays_in_its_balls_and_raises_the_posterior(single: Run, causes: Causes) -> None:
    x = starts(single, causes, 3)
    target = torch.full((len(x),), 8)
    path = ascent(causes, x, target, (0.0, 0.5, 1.0), reach=2.0)
    assert torch.equal(path[:, 0], x) and path.min() >= 0 and path.max() <= 1
    length = (path - x.unsqueeze(1)).flatten(2).norm(dim=2)
    assert (length <= torch.tensor([0.0, 1.0, 2.0]) + 1e-5).all() and (length[:, 2] > 1.5).all()
    mass = causes.posterior(normalize(path.flatten(0, 1).flatten(1), dim=1), 10)[:, 8].unflatten(0, (-1, 3))
    assert (mass.diff(dim=1) > -1e-4).all() and (mass[:, 2] > 0.5).all()


def test_mixtures_are_of_their_class_and_no_prototypes(causes: Causes) -> None:
    classes = torch.arange(10).repeat_interleave(5)
    x = mixtures(causes, classes, torch.Generator().manual_seed(3))
    assert torch.equal(x, mixtures(causes, classes, torch.Generator().manual_seed(3)))
    assert not torch.equal(x, mixtures(causes, classes, torch.Generator().manual_seed(4)))
    torch.testing.assert_close(x.norm(dim=1), torch.ones(50))
    assert (x >= 0).all()
    assert (causes.posterior(x, 10).argmax(1) == classes).double().mean() > 0.9
    angles = torch.acos((x @ normalize(causes.weight, dim=1).T).clamp_max(1)).amin(1)
    assert (angles > 0.01).double().mean() > 0.8


def test_mixtures_join_two_different_prototypes(monkeypatch: pytest.MonkeyPatch) -> None:
    causes = made()

    def watch(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        assert not (one == other).all(1).any()
        seen.append((one, other))
        return geodesic(one, other, share)

    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr("torchhebb.evaluate.methods.interpolation.geodesic", watch)
    mixtures(causes, torch.tensor([2]).expand(100), torch.Generator().manual_seed(0))
    ends = torch.cat(seen[0])  # class 2 has the neurons 2 and 5
    assert (ends @ normalize(causes.weight[[2, 5]], dim=1).T).amax(1).allclose(torch.ones(200, dtype=torch.float64))


def test_a_geodesic_divides_the_angle() -> None:
    one, other = normalize(torch.rand(2, 30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=2)
    share = torch.linspace(0, 1, 30, dtype=torch.float64)
    x = geodesic(one, other, share)
    whole = torch.acos((one * other).sum(1))
    torch.testing.assert_close(torch.acos((x * one).sum(1).clamp(-1, 1)), share * whole, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(torch.acos((x * other).sum(1).clamp(-1, 1)), (1 - share) * whole, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(geodesic(one, one, share), one)


@pytest.mark.parametrize("unit", [False, True])
def test_nearest_distances_are_those_of_brute_force(unit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.methods.nearest.ROWS", 7)
    monkeypatch.setattr("torchhebb.evaluate.methods.nearest.QUERIES", 3)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (40, 1, 3, 3), generator=generator, dtype=torch.uint8)
    x = torch.cat([torch.rand(6, 1, 3, 3, generator=generator), images[[5, 39]] / 255.0])
    rows, queries = (images / 255.0).flatten(1), x.flatten(1)
    if unit:
        rows, queries = normalize(rows, dim=1), normalize(queries, dim=1)
    expected = (queries.unsqueeze(1) - rows).norm(dim=2).sort(1).values
    for count in (1, 9, 40):
        found = nearest_distances(x, images, count, unit=unit)
        torch.testing.assert_close(found, expected[:, :count])
        assert found[6:, 0].tolist() == [0.0, 0.0]
    for count in (0, 41):
        with pytest.raises(ValueError, match=f"count must lie between 1 and the number of images .40., got {count}"):
            nearest_distances(x, images, count)


def test_a_training_image_counts_as_a_copy() -> None:
    images = digits(200).images
    objects = {"test": digits(300).images[200:] / 255.0, "copy": images[:50] / 255.0}
    read_as = {name: torch.zeros(len(x), dtype=torch.long) for name, x in objects.items()}
    found = nearness(objects, read_as, images, reference="test")
    assert found["copy_nearest"] == found["copy_nearest_ratio"] == 0.0
    assert found["copy_nearest_cosine"] == pytest.approx(1.0)
    assert found["copy_close"] == found["copy_copies"] == 100.0
    assert found["test_close"] == found["test_copies"] == 5.0  # by their own lowest 5 %


def test_no_object_is_a_copy_of_a_class_that_no_real_image_is_read_as() -> None:
    images = digits(200).images
    objects = {"test": digits(300).images[200:] / 255.0, "copy": images[:50] / 255.0}
    read_as = {"test": torch.zeros(100, dtype=torch.long), "copy": torch.ones(50, dtype=torch.long)}
    found = nearness(objects, read_as, images, reference="test")
    assert found["copy_close"] == found["copy_copies"] == 0.0


def test_measures_tell_what_the_judge_reads(result: Result, single: Run, causes: Causes) -> None:
    for path in ("bridge", "blend", "ascent"):
        thirds = [result.measure(f"{path}_middle_read_as_{word}").values for word in ("source", "target", "third")]
        assert [sum(seed) for seed in zip(*thirds, strict=True)] == pytest.approx([100.0, 100.0])
    end = result.measure("bridge_end_read_as_target")
    assert end.values == result.measure("blend_end_read_as_target").values and len(end.values) == 2
    assert end.unit == "%" and end.interval is not None and end.mean > 70
    assert result.measure("samples_read_as_class").mean > 80
    assert result.notes["images"] == 18
    bridged = _Work(GENERATION, single, 0).paths()["bridge"]
    for step, place in ((2, "middle"), (4, "end")):
        right = (bridged.judged[:, step].argmax(1) == bridged.target).double().mean().item()
        assert result.measure(f"bridge_{place}_read_as_target").values[0] == pytest.approx(100 * right)


def test_measures_tell_how_near_training_images_are(result: Result, single: Run) -> None:
    for what in ("test", "bridge_middle", "bridge_end", "blend_middle", "ascent_end", "samples"):
        assert 0 < result.measure(f"{what}_nearest").mean < 8
        assert 0.5 < result.measure(f"{what}_nearest_cosine").mean < 1
        assert 0.3 < result.measure(f"{what}_nearest_ratio").mean < 1
        assert 0 <= result.measure(f"{what}_copies").mean <= 20
    for share in ("test_close", "test_copies"):
        assert result.measure(share).mean == pytest.approx(5.0, abs=2.0)
    assert 0 < result.measure("samples_spread").mean < result.measure("test_spread").mean
    assert result.measure("bridge_length").mean > 1


def test_curves_run_from_the_source_to_the_target(result: Result) -> None:
    curves = {curve.name: curve for curve in result.curves}
    assert len(curves) == 12
    for who in ("judge", "posterior"):
        for word in ("source", "target"):
            first = {curves[f"{path} {who} {word}"].y[0] for path in ("bridge", "blend", "ascent")}
            assert max(first) - min(first) < 1e-5  # the same images
        bridged, std = curves[f"bridge {who} target"].y, curves[f"bridge {who} target"].std
        assert bridged[0] < 0.3 and bridged[-1] > 0.5 and std is not None and len(std) == len(bridged) == 5
        assert curves[f"bridge {who} source"].y[0] > 0.6 > 0.3 > curves[f"bridge {who} source"].y[-1]
    assert curves["bridge judge target"].x == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_pictures_are_drawn(result: Result, single: Run) -> None:
    assert [figure["name"] for figure in result.notes["figures"]] == ["paths", "controls", "samples"]
    text = (single.folder / "generation-paths.svg").read_text()
    assert text.count("<image") == 15 and "<!-- 4 \u2192 9 -->" in text and "<!-- target class -->" in text
    assert (single.folder / "generation-controls.svg").read_text().count("<image") == 45
    assert (single.folder / "generation-samples.svg").read_text().count("<image") == 100


def test_the_answer_follows_from_the_seed_and_is_kept(
    result: Result, single: Run, causes: Causes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [json.loads(path.read_text()) for path in (single.folder / "pieces").iterdir()]
    assert sorted(piece["key"]["seed"] for piece in pieces) == [0, 1]
    assert all(piece["key"]["settings"]["pairs"] == [[3, 8], [4, 9], [2, 7]] for piece in pieces)
    first = next(piece for piece in pieces if piece["key"]["seed"] == 0)["value"]
    assert json.loads(json.dumps(_Work(GENERATION, single, 0).numbers())) == first
    assert result.measure("bridge_end_nearest").values[0] != result.measure("bridge_end_nearest").values[1]
    monkeypatch.setattr("torchhebb.evaluate.questions.generation._Work.numbers", None)
    assert next(GENERATION.run(single)) == result.measures[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": ((3, 3),)}, "pairs must be two different classes of 0 to 9 each"),
        ({"pairs": ((3, 10),)}, "pairs must be two different classes of 0 to 9 each"),
        ({"pairs": ()}, "pairs must be two different classes"),
        ({"steps": 8}, "steps must be odd and at least 3, got 8"),
        ({"steps": 1}, "steps must be odd and at least 3, got 1"),
        ({"examples": 0}, "examples must be at least 1, got 0"),
        ({"annealing": 0.0}, "annealing must be above 0, got 0.0"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, single: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(Generation(**settings).run(single))  # type: ignore[arg-type]


def test_a_class_without_a_neuron_and_another_network_are_named(
    single: Run, causes: Causes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="generation needs a single fully connected layer"):
        next(GENERATION.run(run))
    without = replace(causes, labels=causes.labels.masked_fill(causes.labels == 8, 3))
    monkeypatch.setattr("torchhebb.evaluate.questions.generation.causes_of", lambda run, seed: without)
    with pytest.raises(UserError, match="no neuron is labelled 8"):
        next(GENERATION.run(single))


def test_an_interval_rests_on_the_fewest_images_of_any_seed(single: Run) -> None:
    cells = [{"bridge_end_read_as_target": 50.0, "images": n, "samples": 9, "curves": {}} for n in (100, 40)]  # type: ignore[var-annotated]
    measure = next(GENERATION.findings(single, {"": cells}))
    assert isinstance(measure, Measure) and measure.interval == wilson((50.0, 50.0), 40)
