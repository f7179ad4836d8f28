"""Images decoded from frozen features: the decoder, both protocols, and what the answer says."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.evaluate.conftest import CPU
from tests.tiny import digits, tiny_recipe
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.decoded_networks import PUBLISHED, methods_of, published
from torchhebb.evaluate.methods.decoder import (
    Decoder,
    add_noise,
    by_own_statistics,
    encode,
    encoder_to,
    fit_decoder,
    fit_one_image,
    image_errors,
)
from torchhebb.evaluate.questions.reconstruction import Reconstruction
from torchhebb.nn import Architecture, SPHeReConvBlock
from torchhebb.recipes import sphere2025
from torchhebb.runs import run_recipe
from torchhebb.train import Learning, Readout, Result, Supervised
from torchhebb.train.recipe import AdamW

SMALL = {"widths": (8,), "steps": 20, "epochs": 8, "train_images": 300, "test_images": 60, "batch_size": 30}
ASKED = Reconstruction(baselines=("own", "backpropagation", "random"), examples=3, lr=2e-2, **SMALL)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def other(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another method on the same digits: two blocks that learn by a local loss."""
    folder = tmp_path_factory.mktemp("runs") / "local"
    blocks = (SPHeReConvBlock(4, projection=8, pool=None), SPHeReConvBlock(8, projection=8, residual=True))
    recipe = tiny_recipe(
        name="local",
        seeds=2,
        architecture=Architecture((1, 8, 8), blocks),
        learning=Learning(batch_size=100, optimizer=AdamW()),
        readout=Readout(epochs=1, batch_size=200),
        supervised=Supervised(epochs=1, batch_size=200),
        baselines=(),
    )
    run_recipe(recipe, CPU, folder=folder, store=store)
    return folder


@pytest.fixture(scope="module")
def reconstruction(run: Run, other: Path) -> Result:
    return evaluate(replace(ASKED, others=(str(other),)), run)


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    """The same run in a folder of its own, without what was asked of it."""
    folder = tmp_path / "copy"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("pieces", "transfer"))
    return replace(run, folder=folder)


@pytest.mark.parametrize(
    ("features", "image", "convolutions"),
    [
        ((5, 8, 8), (1, 8, 8), 1),
        ((5, 16, 16), (3, 32, 32), 1),
        ((5, 8, 8), (3, 32, 32), 2),
        ((5, 4, 4), (3, 32, 32), 3),
        ((5, 2, 2), (3, 32, 32), 4),
        ((5, 3, 3), (1, 28, 28), 3),
        ((5, 7, 7), (1, 28, 28), 2),
        ((5, 10, 10), (3, 8, 8), 1),
    ],
)
def test_a_decoder_has_a_convolution_a_halving_and_gives_images(
    features: tuple[int, int, int], image: tuple[int, int, int], convolutions: int
) -> None:
    decoder = Decoder(features, image, widths=(4, 2))
    assert decoder(torch.randn(2, *features)).shape == (2, *image)
    assert len(decoder.layers) == convolutions


def test_the_published_decoder() -> None:
    decoder = Decoder((1536, 4, 4), (3, 32, 32))
    assert [tuple(layer.weight.shape) for layer in decoder.layers] == [  # type: ignore[union-attr, arg-type]
        (1536, 512, 3, 3),
        (512, 256, 3, 3),
        (256, 3, 3, 3),
    ]
    plain = nn.ConvTranspose2d(64, 32, 3, 2, 1, 1)
    ours = Decoder((64, 4, 4), (3, 32, 32), widths=(32, 16)).layers[0].weight
    assert ours.detach().abs().max() == pytest.approx(plain.weight.detach().abs().max().item(), rel=0.01)  # type: ignore[operator, union-attr]


def test_a_decoder_is_its_layers_with_relu_between() -> None:
    decoder = Decoder((5, 4, 4), (1, 16, 16), widths=(3,), seed=1)
    z = torch.randn(2, 5, 4, 4)
    first, second = decoder.layers
    torch.testing.assert_close(decoder(z), second(first(z).clamp_min(0)))
    assert torch.equal(decoder(z), Decoder((5, 4, 4), (1, 16, 16), widths=(3,), seed=1)(z))
    assert not torch.equal(decoder(z), Decoder((5, 4, 4), (1, 16, 16), widths=(3,), seed=2)(z))
    with pytest.raises(UserError, match=r"features must be maps .* got \(5,\)"):
        Decoder((5,), (1, 16, 16))
    with pytest.raises(UserError, match="widths must be numbers of channels from 1, got"):
        Decoder((5, 4, 4), (1, 16, 16), widths=(3, 0))


def test_features_that_are_the_image_give_it_back() -> None:
    decoder = Decoder((1, 8, 8), (1, 8, 8))
    before = image_errors(decoder, nn.Identity(), digits(60)).mean()
    fit_decoder(decoder, nn.Identity(), digits(300), epochs=25, batch_size=25, lr=3e-2)
    assert not decoder.training and before > 50
    assert image_errors(decoder, nn.Identity(), digits(400)).mean() < 0.1


def test_fitting_starts_from_the_mean_colour_and_falls_to_rest() -> None:
    decoder, images = Decoder((1, 8, 8), (1, 8, 8)), digits(100)
    fit_decoder(decoder, nn.Identity(), images, epochs=1, batch_size=100, lr=1e-9)
    x = images.images / 255.0
    assert image_errors(decoder, nn.Identity(), images).mean() == pytest.approx(1000 * x.var().item(), rel=1e-2)
    rates = []
    with pytest.MonkeyPatch.context() as patch:
        step = torch.optim.Adam.step
        patch.setattr(torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
        fit_decoder(decoder, nn.Identity(), images, epochs=2, batch_size=50, lr=1.0)
    assert rates == pytest.approx([1.0, 0.8536, 0.5, 0.1464], rel=1e-3)


def test_the_scale_of_features_is_no_help() -> None:
    def error(encoder: nn.Module) -> float:
        decoder = Decoder((2, 8, 8), (1, 8, 8))
        fit_decoder(decoder, encoder, digits(100), epochs=2, batch_size=20, lr=1e-2)
        return image_errors(decoder, encoder, digits(100)).mean().item()

    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.factor * x + 3, torch.ones_like(x)], 1)  # the second channel is constant

    assert error(Scaled(100.0)) == pytest.approx(error(Scaled(0.1)), rel=1e-2)


def test_errors_are_a_thousand_times_the_squared_difference() -> None:
    images = digits(5)
    errors = image_errors(torch.zeros_like, nn.Identity(), images)
    assert errors.tolist() == pytest.approx((1000 * (images.images / 255.0).square().flatten(1).mean(1)).tolist())
    noisy = image_errors(nn.Identity(), nn.Identity(), digits(1000), std=0.1, seed=3)
    assert noisy.mean().item() == pytest.approx(10, rel=0.02)  # unclipped, and the target is the clean image


def test_noise_follows_from_seed_and_place_and_grows_with_its_std() -> None:
    x = torch.rand(4, 1, 8, 8)
    weak, strong = (add_noise(x, std, seed=1) - x for std in (0.1, 0.2))
    torch.testing.assert_close(2 * weak, strong, rtol=1e-4, atol=1e-5)
    assert not torch.equal(add_noise(x, 0.1, seed=1), add_noise(x, 0.1, seed=2))
    assert not torch.equal(add_noise(x, 0.1, seed=1), add_noise(x, 0.1, seed=1, begin=4))


def test_one_image_is_fitted(run: Run) -> None:
    network = run.network(0)
    encoder, image = by_own_statistics(encoder_to(network, 2)), run.data.test.images[:1] / 255.0
    z = encode(encoder, image)
    errors = fit_one_image(Decoder((8, 4, 4), (1, 8, 8), widths=(8,)), z, image, steps=150, lr=5e-3)
    assert len(errors) == 151 and errors[-1] < errors[0] / 20 and errors[-1] < errors[75]
    flat = Decoder((8, 4, 4), (1, 8, 8), widths=(8,))
    assert errors[0] == pytest.approx(1000 * (flat(z) - image).square().mean().item(), rel=1e-4)


def test_batch_norms_take_the_images_own_statistics_without_moving_the_network(run: Run) -> None:
    network = run.network(0)
    image = 0.1 * run.data.test.images[:1] / 255.0
    assert network.block1.norm(image).std() < 0.5  # type: ignore[operator, union-attr]
    copy = by_own_statistics(encoder_to(network, 1))
    seen = []
    copy[0].norm.register_forward_hook(lambda _m, _x, out: seen.append(out))  # type: ignore[union-attr]
    before = network.block1.norm.running_mean.clone()  # type: ignore[operator, union-attr]
    copy(image)
    assert seen[0].mean().item() == pytest.approx(0, abs=1e-4) and seen[0].std().item() == pytest.approx(1, rel=0.02)
    assert torch.equal(network.block1.norm.running_mean, before)  # type: ignore[arg-type, union-attr]


def test_an_encoder_ends_at_its_block(run: Run) -> None:
    network, x = run.network(0), run.data.test.images[:3] / 255.0
    assert torch.equal(encoder_to(network, 2)(x), network(x)) and encoder_to(network, 1)(x).shape == (3, 4, 8, 8)
    with pytest.raises(UserError, match="depths must be from 1 to 2, got 3"):
        encoder_to(network, 3)


def test_every_method_is_measured_at_every_depth(reconstruction: Result, run: Run) -> None:
    methods = ("own", "backpropagation", "random", "local")
    inputs = ("clean", "noise_0.05", "noise_0.1", "noise_0.2")
    names = {f"{m}_block{d}_{i}_error" for m in methods for d in (1, 2) for i in inputs}
    names |= {f"{m}_one_image_{i}_error" for m in methods for i in ("clean", "noisy")}
    names |= {"mean_image_error", *(f"noisy_input_{std}_error" for std in (0.05, 0.1, 0.2))}
    assert {measure.name for measure in reconstruction.measures} == names
    mean_image = reconstruction.measure("mean_image_error").mean
    for name in methods:
        for depth in (1, 2):
            clean, *noisy = (reconstruction.measure(f"{name}_block{depth}_{i}_error") for i in inputs)
            assert len(clean.values) == 2 and clean.published is None and clean.interval is not None
            assert 0 < clean.mean < noisy[1].mean < noisy[2].mean
            assert clean.interval[0] < clean.mean < clean.interval[1]
            curve = next(c for c in reconstruction.curves if c.name == f"{name} block{depth}")
            assert curve.x == (0, 0.05, 0.1, 0.2) and curve.y[2] == pytest.approx(noisy[1].mean)
            assert reconstruction.notes["spread_over_images"][f"{name}_block{depth}"]["0"] > 0
    assert reconstruction.measure("own_block1_clean_error").mean < mean_image / 2
    assert reconstruction.measure("noisy_input_0.2_error").mean == pytest.approx(40, rel=0.05)
    few = torch.randperm(449, generator=torch.Generator().manual_seed(0))[:60]
    train = run.data.train.images[torch.randperm(1348, generator=torch.Generator().manual_seed(0))[:300]] / 255.0
    expected = 1000 * (run.data.test.images[few] / 255.0 - train.mean(0)).square().mean().item()
    assert mean_image == pytest.approx(expected, rel=1e-4)
    assert reconstruction.notes["feature_shapes"]["local_block2"] == [8, 4, 4]


def test_a_run_of_local_losses_is_asked_alike(other: Path, store: Store) -> None:
    found = evaluate(replace(ASKED, depths=(1, 2), examples=0), open_run(other, store=store))
    for name in ASKED.baselines:
        values = found.measure(f"{name}_block1_clean_error").values
        assert len(set(values)) == 2 and max(values) < found.measure("mean_image_error").mean
    assert len({found.measure(f"{name}_block2_clean_error").values for name in ASKED.baselines}) == 3
    assert [figure["name"] for figure in found.notes["figures"]] == ["errors"]


def test_one_image_errors_fall_along_their_curves(reconstruction: Result) -> None:
    for name in ("own", "local"):
        for inputs in ("clean", "noisy"):
            curve = next(c for c in reconstruction.curves if c.name == f"{name} one image {inputs}")
            assert len(curve.x) == 21 and curve.y[-1] < curve.y[0]
            assert curve.y[-1] == pytest.approx(reconstruction.measure(f"{name}_one_image_{inputs}_error").mean)


def test_figures_show_every_method(reconstruction: Result, run: Run) -> None:
    assert [figure["name"] for figure in reconstruction.notes["figures"]] == ["errors", "clean", "noisy"]
    for name in ("clean", "noisy"):
        text = (run.folder / f"reconstruction-{name}.svg").read_text()
        assert all(f"<!-- {words}, block 2 -->" in text for words in ("softhebb2023-digits", "local", "random weights"))
        assert "<!-- original -->" in text and ("<!-- input -->" in text) == (name == "noisy")
    errors = (run.folder / "reconstruction-errors.svg").read_text()
    assert "<!-- mean image -->" in errors and "<!-- noisy input -->" in errors


def test_answers_are_kept_and_the_same_anew(
    reconstruction: Result, run: Run, copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(ASKED, baselines=("own", "random"), depths=(2, 2))  # a depth asked for twice is one

    def values(result: Result) -> dict[str, tuple[float, ...]]:
        return {measure.name: measure.values for measure in result.measures}

    first = values(evaluate(asked, copied))
    assert all(reconstruction.measure(name).values == value for name, value in first.items())
    for fit in ("fit_decoder", "fit_one_image"):
        monkeypatch.setattr(f"torchhebb.evaluate.questions.reconstruction.{fit}", None)
    assert values(evaluate(asked, copied)) == first
    with pytest.raises(TypeError):
        evaluate(replace(asked, lr=1e-4), copied)


def test_runs_of_one_recipe_are_told_apart_by_their_epochs(run: Run, other: Path, tmp_path: Path, store: Store) -> None:
    recipe = tiny_recipe(name="local", seeds=2, learning=Learning(batch_size=200, epochs=2), baselines=())
    run_recipe(replace(recipe, readout=Readout(epochs=1, batch_size=300)), CPU, folder=tmp_path / "long", store=store)
    methods = methods_of(run, ("own",), (str(other), str(tmp_path / "long")))
    assert [method.name for method in methods] == ["own", "local-1-epochs", "local-2-epochs"]
    with pytest.raises(UserError, match="methods must differ, got local-1-epochs, local-1-epochs"):
        methods_of(run, (), (str(other), str(other)))
    few = replace(run, result=replace(run.result, seeds=(0, 1, 2)))
    with pytest.raises(UserError, match="local has no seed 2: train it with --seeds 3"):
        methods_of(few, (), (str(other),))
    elsewhere = replace(run, data=replace(run.data, fingerprint="other"))
    with pytest.raises(UserError, match="was trained on digits"):
        methods_of(elsewhere, (), (str(other),))


def test_published_errors_belong_to_their_recipe_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name for name, _, _ in PUBLISHED} == {"sphere2025-cifar10", "sphere2025-cifar10-softhebb"}
    sphere, softhebb = sphere2025.cifar10(), sphere2025.cifar10_softhebb()
    known = {recipe.name: recipe for recipe in (sphere, softhebb)}
    monkeypatch.setattr("torchhebb.evaluate.decoded_networks.get_recipe", known.__getitem__)
    assert published(sphere, "own") == (3.37, 3.59) and published(sphere, "backpropagation") == (4.75, 5.11)
    assert published(replace(sphere, seeds=4), "own") == (3.37, 3.59) and published(sphere, "random") is None
    longer = replace(softhebb, learning=replace(softhebb.learning, epochs=100))
    assert published(softhebb, "own") == (7.79, 19.75) and published(longer, "own") == (12.75, 17.67)
    narrower = replace(sphere.architecture, blocks=sphere.architecture.blocks[:2])
    shorter = replace(sphere.learning, epochs=10)
    for changed in ({"architecture": narrower}, {"learning": shorter}, {"data": "cifar100"}, {"name": "mine"}):
        assert published(replace(sphere, **changed), "own") is None
    assert published(run.recipe, "own") is None


def test_published_errors_stand_beside_the_published_protocol(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED, (run.recipe.name, "own", 1), (3.0, 4.0))
    monkeypatch.setattr("torchhebb.evaluate.decoded_networks.get_recipe", lambda name: run.recipe)
    monkeypatch.setattr("torchhebb.evaluate.questions.reconstruction.PROTOCOL", {"widths": (8,), "steps": 20})
    asked = Reconstruction(baselines=("own",), depths=(1,), examples=0, lr=5e-3, **SMALL)  # type: ignore[arg-type]
    known = {m.name: m.published for m in evaluate(asked, run).measures}
    assert known.pop("own_one_image_clean_error") == 3.0 and known.pop("own_one_image_noisy_error") == 4.0
    assert set(known.values()) == {None}
    found = evaluate(replace(asked, steps=21), run)
    assert found.measure("own_one_image_clean_error").published is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"test_images": 0}, "test_images must be at least 1, got 0"),
        ({"image": 449}, "image must be from 0 to 448, got 449"),
        ({"depths": (1, 3)}, r"depths must be from 1 to 2, got \(1, 3\)"),
        ({"noise": (0.1, 0.1)}, "noise must be above 0, each once"),
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
        ({"baselines": ("soft",)}, "baselines must be among own, .*, got 'soft'"),
        ({"baselines": ()}, "baselines and others must name at least one network"),
        ({"others": ("nowhere",)}, "nowhere is not a run folder"),
    ],
)
def test_mistakes_are_named_before_anything_is_fitted(
    settings: dict[str, Any], message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "cached", None)
    with pytest.raises(UserError, match=message):
        next(Reconstruction(**settings).run(run))
