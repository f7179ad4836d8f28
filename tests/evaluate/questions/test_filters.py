"""What is measured of filters, in which order they stand, and on which scale."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.filters import appearance, colour_shares, frequencies, full_colour, nearest_cosine
from torchhebb.evaluate.questions.filters import Filters, first_filters
from torchhebb.nn import Architecture, LinearBlock, WhitenedBlock

QUESTION = Filters(baselines=("own", "random"), columns=3)


def grating(cycles: int, channels: tuple[float, ...]) -> Tensor:
    """One filter (C, 8, 8): waves across, as strong in each channel as said."""
    wave = torch.sin(cycles * torch.arange(8) * (2 * math.pi / 8)).expand(8, 8)
    return torch.stack([strength * wave for strength in channels])


def test_frequencies_are_cycles_a_pixel() -> None:
    down = grating(3, (1.0, 2.0)).mT
    both = grating(1, (1.0, 1.0)) + grating(2, (1.0, 1.0)).mT
    found = frequencies(torch.stack([grating(1, (1.0, 1.0)), down, both, both + 5.0]))
    torch.testing.assert_close(found, torch.tensor([1 / 8, 3 / 8, 1.5 / 8, 1.5 / 8]))


def test_smooth_greys_come_first_and_fine_colours_last() -> None:
    filters = [(1, (1.0, -1.0, 0.0)), (2, (1.0, 1.0, 0.9)), (3, (0.0, 1.0, -1.0)), (1, (1.0, 1.0, 1.0))]
    assert appearance(torch.stack([grating(*filter_) for filter_ in filters])).tolist() == [3, 1, 0, 2]


def test_colour_is_what_differs_between_channels() -> None:
    weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    grey, total = weight.mean(1), weight.square().sum((1, 2, 3))
    torch.testing.assert_close(colour_shares(weight), 1 - 3 * grey.square().sum((1, 2)) / total)
    assert colour_shares(torch.zeros(1, 3, 2, 2)).tolist() == [0.0]


def test_a_twin_is_found() -> None:
    weight = torch.eye(3).view(3, 1, 1, 3)
    assert nearest_cosine(weight) == pytest.approx(0.0)
    assert nearest_cosine(torch.cat([weight, 7 * weight[:1]])) == pytest.approx(0.5)
    assert nearest_cosine(-weight[:1].repeat(2, 1, 1, 1)) == pytest.approx(1.0) and nearest_cosine(weight[:1]) == 0.0


def test_full_colour_leaves_out_one_in_two_hundred() -> None:
    weight = torch.cat([torch.full((199,), -2.0), torch.tensor([90.0])]).view(1, 1, 10, 20)
    assert 2.0 <= full_colour(weight) < 3.0


def test_fully_connected_weights_are_images(run: Run) -> None:
    network = Architecture((1, 8, 8), (LinearBlock(5),)).build(0)
    filters = first_filters(network, run)
    whitened = Architecture((1, 8, 8), (WhitenedBlock(5, 3),)).build(0)
    with pytest.raises(UserError, match="block1 learns on whitened patches: use receptive_fields"):
        first_filters(whitened, run)
    assert filters.shape == (5, 1, 8, 8) and torch.equal(filters[2].flatten(), network.block1.layer.weight[2])


def test_the_measures_of_every_network(run: Run) -> None:
    result = evaluate(QUESTION, run)
    names = [f"{who}_{what}" for who in ("own", "random") for what in ("radius_mean", "nearest_cosine")]
    assert [measure.name for measure in result.measures] == names
    for seed in (0, 1):
        weight = run.network(seed).block1.layer.weight
        radius = weight.flatten(1).norm(dim=1).mean().item()
        assert result.measure("own_radius_mean").values[seed] == pytest.approx(radius)
    weight = run.network(0).block1.layer.weight
    assert result.notes["full_colour"]["own"] == pytest.approx(weight.abs().flatten().quantile(0.995).item())
    text = (run.folder / "filters-weights.svg").read_text()
    assert text.count("<image") == 2 and "<!-- SoftHebb -->" in text and "<!-- random weights -->" in text
    assert f"<!-- radius {radius_words(weight)} -->" in text


def radius_words(weight: Tensor) -> str:
    radius = weight.flatten(1).norm(dim=1)
    return f"{radius.mean():.3g} \u00b1 {radius.std(correction=0):.2g}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neurons": 0}, "neurons must be at least 1, got 0"),
        ({"columns": 0}, "columns must be at least 1, got 0"),
        ({"baselines": ()}, "baselines must be different from each other, one at least"),
        ({"baselines": ("own", "own")}, "baselines must be different from each other, one at least"),
        ({"baselines": ("soft",)}, "baselines must be among own, .*, got 'soft'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, run: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **settings).run(run))  # type: ignore[arg-type]
