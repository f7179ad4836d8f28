"""The strongest patches against a loop over all images and positions, in every kind of block."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.evaluate.methods.test_receptive_field import NETWORKS, built, own_map
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.receptive_field import Field, block_layers, receptive_field
from torchhebb.evaluate.methods.top_activating import TopActivating, clipped, cut, top_activating
from torchhebb.evaluate.questions.patches import Patches, chance, same_class
from torchhebb.nn import LinearBlock

QUESTION = Patches(neurons=3, patches=4, measured=8, learned=False)
CPU = torch.device("cpu")


def by_loop(u: Tensor, neuron: int, count: int) -> list[tuple[float, int, int, int]]:
    """(value, image, row, column) of one neuron's strongest images, each with its strongest position."""
    best = []
    for image, channel in enumerate(u[:, neuron]):
        rows, columns = range(channel.shape[0]), range(channel.shape[1])
        value, row, column = max((channel[row, column].item(), -row, -column) for row in rows for column in columns)
        best.append((value, image, -row, -column))
    return sorted(best, key=lambda found: -found[0])[:count]


@pytest.mark.parametrize("kind", ["paper", "rectified", "strides", "local"])
def test_a_pass_in_batches_finds_what_a_loop_finds(kind: str) -> None:
    network = built(NETWORKS[kind]).float()
    images = torch.randint(256, (7, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    neurons = {"block1": [3, 0], "block2": [1], "block3": [5, 2, 2]}
    found = top_activating(network, images, neurons, 3, batch_size=2, device=CPU)
    for block, asked in neurons.items():
        u = own_map(network, block, images / 255.0)
        for place, neuron in enumerate(asked):
            for rank, (value, image, row, column) in enumerate(by_loop(u, neuron, 3)):
                assert found[block].value[place, rank].item() == pytest.approx(value, rel=1e-4)
                where = [getattr(found[block], name)[place, rank].item() for name in ("image", "row", "column")]
                assert where == [image, row, column]
    assert not any(layer._forward_hooks for layer in block_layers(network).values())


def test_of_equal_images_the_first_are_kept() -> None:
    network = built(NETWORKS["paper"]).float()
    images = torch.full((5, 3, 40, 40), 128, dtype=torch.uint8)
    found = top_activating(network, images, {"block1": [0, 1]}, 2, batch_size=2, device=CPU)["block1"]
    assert found.image.tolist() == [[0, 1], [0, 1]]


def test_fully_connected_neurons_see_whole_images() -> None:
    network = built((LinearBlock(5), LinearBlock(4)), 8).float()
    images = torch.randint(256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found = top_activating(network, images, {"block2": [2]}, 6, batch_size=4, device=CPU)["block2"]
    assert found.image[0].tolist() == own_map(network, "block2", images / 255.0)[:, 2].argsort(descending=True).tolist()
    field = receptive_field(network, "block2", (8, 8))
    torch.testing.assert_close(cut(images, found, field)[0], images[found.image[0]] / 255.0)
    assert not clipped(found, field, (8, 8)).any()


def test_patches_are_cut_where_they_were_seen() -> None:
    network = built(NETWORKS["paper"]).float()
    images = torch.randint(256, (4, 3, 40, 40), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    field = receptive_field(network, "block2", (40, 40))
    assert field == Field((12, 12), (2, 2), (-5, -5))
    places = [torch.tensor([values]) for values in ([3, 0, 1], [5, 0, 19], [9, 18, 4])]
    found = TopActivating(torch.zeros(1, 3), *places)
    whole, corner, low = cut(images, found, field)[0]
    assert torch.equal(whole, images[3, :, 5:17, 13:25] / 255.0)
    assert torch.equal(corner[:, 5:, :9], images[0, :, :7, 31:40] / 255.0)
    assert corner[:, :5].isnan().all() and corner[:, :, 9:].isnan().all()
    assert torch.equal(low[:, :7], images[1, :, 33:40, 3:15] / 255.0) and low[:, 7:].isnan().all()
    assert clipped(found, field, (40, 40)).tolist() == [[False, True, True]]


def test_pairs_of_one_class() -> None:
    labels = torch.tensor([[0, 0, 0, 1], [2, 3, 4, 5]])
    assert same_class(labels) == pytest.approx(100 * (3 / 6 + 0) / 2)
    assert chance(torch.tensor([0, 0, 0, 1])) == pytest.approx(100 * 3 / 6)
    assert chance(torch.arange(10).repeat(1000)) == pytest.approx(100 * 999 / 9999)


def test_every_block_has_its_rows(run: Run) -> None:
    result = evaluate(QUESTION, run)
    names = [f"block{number}_{what}" for what in ("same_class", "clipped") for number in (1, 2)]
    assert [measure.name for measure in result.measures] == [*names, "chance_same_class"]
    assert result.notes["images"] == 449 and result.notes["neurons"] == {"block1": [0, 2, 3], "block2": [0, 4, 7]}
    assert all(0 <= result.measure(name).mean <= 100 for name in names)
    assert result.measure("chance_same_class").mean == pytest.approx(9.8, abs=0.1)
    text = (run.folder / "patches-strongest.svg").read_text()
    assert text.count("<image") == 2 and "<!-- block 1: 3 × 3 pixels;" in text
    network, images = run.network(1), run.data.test.images
    seen = top_activating(network, images, {"block2": list(range(8))}, 4, batch_size=50, device=CPU)["block2"]
    assert result.measure("block2_same_class").values[1] == pytest.approx(same_class(run.data.test.labels[seen.image]))
    outside = clipped(seen, receptive_field(network, "block2", (8, 8)), (8, 8)).double().mean().item()
    assert result.measure("block2_clipped").values[1] == pytest.approx(100 * outside)


def test_receptive_fields_stand_beside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = []
    monkeypatch.setattr("torchhebb.evaluate.questions.patches.stack", lambda panels: tiles.extend(panels) or _Nothing())
    evaluate(replace(QUESTION, steps=2, images=40, split="train"), run)
    assert [panel.columns for panel in tiles] == [5, 5] and [len(panel.images) for panel in tiles] == [15, 15]
    rows = tiles[1].images.unflatten(0, (3, 5))
    assert rows[:, 0].amax((1, 2, 3)).tolist() == [1.0] * 3 and [panel.lead for panel in tiles] == [1, 1]
    assert not rows.isnan().any()
    monkeypatch.setattr("torchhebb.evaluate.questions.patches.top_activating", None)
    again = evaluate(replace(QUESTION, steps=2, images=40, split="train"), run)
    assert again.notes["images"] == 40
    with pytest.raises(TypeError):
        evaluate(replace(QUESTION, steps=2, images=41, split="train"), run)


class _Nothing:
    def savefig(self, path: object, **_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neurons": 0}, "neurons must be at least 1, got 0"),
        ({"measured": 0}, "measured must be at least 1, got 0"),
        ({"patches": 1}, "patches must be at least 2, got 1"),
        ({"images": 30, "patches": 31}, "patches must be from 2 to 30, one of an image, got 31"),
        ({"images": 500}, "images must be from 0 to 449, as many as test has, got 500"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"blocks": (0,)}, "blocks must be at least 1, got 0"),
        ({"baseline": "soft"}, "baseline must be one of own, .*, got 'soft'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, run: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **settings).run(run))  # type: ignore[arg-type]
