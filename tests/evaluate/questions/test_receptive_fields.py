"""Ascents against a loop and a closed form; what the question says, keeps and refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.evaluate.methods.test_receptive_field import NETWORKS, built
from tests.reference.ascent import ascend_one
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.activation_maximization import NEAR_ZERO, maximize_activation
from torchhebb.evaluate.methods.receptive_field import OnField
from torchhebb.evaluate.questions.receptive_fields import ReceptiveFields, plane_waves

QUESTION = ReceptiveFields(neurons=5, steps=4, learned=False)


@pytest.mark.parametrize(("block", "size"), [("block1", 5), ("block2", 12), ("block3", 26)])
@pytest.mark.parametrize("norm", [1.0, 7.0])
def test_a_batch_of_neurons_climbs_as_each_alone(block: str, size: int, norm: float) -> None:
    unit = OnField(built(NETWORKS["paper"]), block)
    neurons = torch.tensor([3, 0, 3, 1])
    torch.set_default_dtype(torch.float64)  # so that the ascent starts in it
    try:
        start = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(5))
        x, u = maximize_activation(
            unit, neurons, (3, size, size), torch.Generator().manual_seed(5), steps=6, rate=0.2, norm=norm
        )
    finally:
        torch.set_default_dtype(torch.float32)
    for number, neuron in enumerate(neurons.tolist()):
        began = NEAR_ZERO * norm * start[number] / start[number].norm()
        expected = ascend_one(unit, neuron, began, steps=6, rate=0.2, norm=norm)
        torch.testing.assert_close(x[number], expected)
        torch.testing.assert_close(u[number], unit(expected.unsqueeze(0))[0, neuron])


def test_a_linear_neuron_ends_at_its_weights() -> None:
    network = built(NETWORKS["paper"]).float()
    neurons = torch.arange(4)
    x, _ = maximize_activation(
        OnField(network, "block1"), neurons, (3, 5, 5), torch.Generator().manual_seed(0), steps=200, norm=3.0
    )
    weight = network.block1.layer.weight / (network.block1.norm.running_var.view(-1, 1, 1) + 1e-5).sqrt()
    expected = 3.0 * weight / weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-4)


def test_more_steps_climb_higher() -> None:
    unit = OnField(built(NETWORKS["paper"]).float(), "block3")
    reached = []
    for steps in (1, 5, 40):
        generator = torch.Generator().manual_seed(0)
        x, u = maximize_activation(unit, torch.arange(6), (3, 26, 26), generator, steps=steps, norm=5.0)
        torch.testing.assert_close(x.flatten(1).norm(dim=1), torch.full((6,), 5.0))
        reached.append(u)
    assert (reached[1] > reached[0]).all() and reached[2].mean() > reached[1].mean()


def test_waves_are_counted() -> None:
    angle = torch.arange(8) * (2 * torch.pi / 8)
    across, down = torch.sin(angle).expand(8, 8), torch.cos(2 * angle).unsqueeze(1).expand(8, 8)
    colour = torch.stack([across, 3 * across, -across])
    images = torch.stack([colour, colour + 7.0, (across + down).expand(3, 8, 8)])
    torch.testing.assert_close(plane_waves(images), torch.tensor([1.0, 1.0, 2.0]))
    noise = torch.randn(1, 400, 9, 9, generator=torch.Generator().manual_seed(0))
    assert plane_waves(noise).item() == pytest.approx(40, rel=0.02)  # all of (81 - 1) / 2


def test_every_block_is_shown_and_measured(run: Run) -> None:
    result = evaluate(QUESTION, run)
    assert [measure.name for measure in result.measures] == [
        "block1_field_size",
        "block1_waves",
        "block2_field_size",
        "block2_waves",
    ]
    assert result.measure("block1_field_size").values == (3.0,)
    assert result.measure("block2_field_size").values == (5.0,)
    assert all(len(set(result.measure(f"block{number}_waves").values)) == 2 for number in (1, 2))
    assert result.notes["neurons"] == {"block1": [0, 1, 2, 3], "block2": [0, 2, 4, 5, 7]}
    text = (run.folder / "receptive_fields-images.svg").read_text()
    assert text.count("<image") == 2 and "<!-- block 2: 5 × 5 pixels;" in text


def test_a_stopped_answer_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(QUESTION, run)
    monkeypatch.setattr("torchhebb.evaluate.questions.receptive_fields.maximize_activation", None)
    assert evaluate(QUESTION, run).measures == first.measures
    with pytest.raises(TypeError):
        evaluate(replace(QUESTION, norm=2.0), run)


def test_another_network_beside(run: Run) -> None:
    found = evaluate(replace(QUESTION, baseline="random", blocks=(2,)), run)
    assert [measure.name for measure in found.measures] == ["block2_field_size", "block2_waves"]
    assert "random weights" in found.notes["figures"][0]["caption"]
    own = evaluate(replace(QUESTION, blocks=(2,)), run)
    assert found.measure("block2_waves").values != own.measure("block2_waves").values


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neurons": 0}, "neurons must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"rate": 0.0}, "rate must be above 0, got 0.0"),
        ({"norm": float("nan")}, "norm must be a finite number, got nan"),
        ({"blocks": (3,)}, "blocks must be from 1 to 2, as many as the network has, got 3"),
        ({"baseline": "soft"}, "baseline must be one of own, .*, got 'soft'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **settings).run(run))  # type: ignore[arg-type]
