"""The gradient attacks: bounds, closed forms, and the same images as the Adversarial Robustness Toolbox finds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torchhebb.nn import Architecture, LinearBlock, LinearReadout
from torchhebb.rules import SoftHebb
from torchhebb.train.perturb import Loss, Norm, fgsm, fooled, losses, pgd

CLASSES, SHAPE = 5, (1, 8, 8)


def perceptron(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, CLASSES)).eval()


def soft_wta_network() -> nn.Module:
    block = LinearBlock(
        20,
        SoftHebb(5.0, anti_hebbian=False),
        normalize=False,
        activation="soft_wta",
        output_inverse_temperature=40.0,
        init_radius=1.0,
    )
    network = Architecture(SHAPE, (block,), unit_norm=True).build(0)
    readout = LinearReadout(20, CLASSES)
    with torch.no_grad():
        readout.weight.normal_(0, 5, generator=torch.Generator().manual_seed(1))
    return network.attach(readout).eval().classifier


def linear() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).eval()


def made_images(count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(count, *SHAPE, generator=generator)
    x[:, :, :2] = x[:, :, :2].round()  # pixels that already are black or white
    return x, torch.randint(CLASSES, (count,), generator=generator)


def distance(moved: Tensor, x: Tensor, norm: Norm) -> Tensor:
    change = (moved - x).flatten(1)
    return change.abs().amax(1) if norm == "inf" else change.norm(dim=1)


@given(
    eps=st.floats(0, 4, allow_subnormal=False),
    norm=st.sampled_from(["inf", "2"]),
    steps=st.integers(1, 4),
    restarts=st.integers(1, 2),
    loss=st.sampled_from(["cross_entropy", "margin"]),
    seed=st.integers(0, 99),
    step_size=st.none() | st.floats(0, 5, allow_subnormal=False),
)
@settings(max_examples=60, deadline=None)
def test_images_stay_in_the_ball_and_between_black_and_white(
    eps: float, norm: Norm, steps: int, restarts: int, loss: Loss, seed: int, step_size: float | None
) -> None:
    x, labels = made_images(4)
    moved = pgd(
        perceptron(),
        x,
        labels,
        eps=eps,
        norm=norm,
        steps=steps,
        step_size=step_size,
        restarts=restarts,
        generator=torch.Generator().manual_seed(seed),
        loss=loss,
    )
    assert distance(moved, x, norm).max() <= eps + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert distance(fgsm(perceptron(), x, labels, eps=eps, norm=norm), x, norm).max() <= eps + 1e-6


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_no_radius_no_change(norm: Norm) -> None:
    x, labels = made_images()
    assert torch.equal(fgsm(perceptron(), x, labels, eps=0, norm=norm), x)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(pgd(perceptron(), x, labels, eps=0, norm=norm, restarts=2, generator=generator), x)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_fgsm_on_a_linear_model_has_a_closed_form(norm: Norm) -> None:
    model, (x, labels) = linear(), made_images()
    weight = model[1].weight.detach()
    share = torch.softmax(model(x).detach(), 1)
    gradient = (share - nn.functional.one_hot(labels, CLASSES)) @ weight
    direction = gradient.sign() if norm == "inf" else gradient / gradient.norm(dim=1, keepdim=True)
    expected = (x + 0.3 * direction.view_as(x)).clamp(0, 1)
    torch.testing.assert_close(fgsm(model, x, labels, eps=0.3, norm=norm), expected)


@pytest.mark.parametrize("norm, eps", [("inf", 0.05), ("2", 0.5)])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_many_steps_climb_at_least_as_high_as_one_on_a_linear_model(norm: Norm, eps: float, loss: Loss) -> None:
    model, (x, labels) = linear(), made_images()
    many = pgd(model, x, labels, eps=eps, norm=norm, loss=loss)
    one = pgd(model, x, labels, eps=eps, norm=norm, loss=loss, steps=1, step_size=eps)
    assert (losses(model(many), labels, loss) >= losses(model(one), labels, loss) - 1e-5).all()
    assert (losses(model(one), labels, loss) > losses(model(x), labels, loss)).all()


def test_more_restarts_never_fool_fewer_and_climb_higher() -> None:
    model, (x, labels) = soft_wta_network(), made_images(40)
    labels = model(x).argmax(1)

    def attack(restarts: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return pgd(model, x, labels, eps=0.05, steps=2, restarts=restarts, generator=generator)

    one, many = attack(1), attack(6)
    was, now = fooled(model, one, labels), fooled(model, many, labels)
    assert (now >= was).all()
    height, higher = (losses(model(moved), labels, "cross_entropy") for moved in (one, many))
    assert (higher >= height)[was == now].all() and (higher > height).any()


def test_a_restart_that_fools_beats_a_higher_loss_that_does_not() -> None:
    """Cross-entropy can be larger on a right answer than on a wrong one: fooling decides first."""

    class Made(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            right = torch.tensor([1.0, 0.9, 0.9, 0.9, 0.9])  # cross-entropy 1.53, not fooled
            wrong = torch.tensor([2.0, 2.1, -9.0, -9.0, -9.0])  # cross-entropy 0.74, fooled
            return torch.where(x.flatten(1)[:, :1] > 0.5, wrong, right) + 0 * x.flatten(1)[:, :CLASSES]

    x, labels = torch.full((64, *SHAPE), 0.5), torch.zeros(64, dtype=torch.long)
    moved = pgd(Made(), x, labels, eps=0.1, restarts=8, generator=torch.Generator().manual_seed(0), steps=1)
    alone = pgd(Made(), x, labels, eps=0.1, restarts=1, generator=torch.Generator().manual_seed(0), steps=1)
    assert not fooled(Made(), alone, labels).all()
    assert fooled(Made(), moved, labels).float().mean() > 0.95


def test_a_surrogate_gives_the_gradients_and_the_model_judges() -> None:
    x, labels = made_images()
    through = pgd(perceptron(0), x, labels, eps=0.1, surrogate=perceptron(1))
    assert torch.equal(through, pgd(perceptron(1), x, labels, eps=0.1))


def test_the_margin_climbs_where_the_cross_entropy_is_flat() -> None:
    model, (x, _) = linear(), made_images()
    with torch.no_grad():
        model[1].weight *= 1e4  # type: ignore[assignment]  # the softmax of the logits is a one and zeros: no gradient is left in float32
    labels = model(x).argmax(1)
    assert not fooled(model, pgd(model, x, labels, eps=0.3), labels).any()
    assert fooled(model, pgd(model, x, labels, eps=0.3, loss="margin"), labels).all()


def test_tiny_gradients_still_give_a_direction() -> None:
    class Faint(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e-30 * linear()(x)  # its squares vanish in float32

    x, labels = made_images()
    torch.testing.assert_close(
        fgsm(Faint(), x, labels, eps=0.3, norm="2"),
        (x + 0.3 * unit_margin_free_direction(x, labels)).clamp(0, 1),
        atol=1e-4,
        rtol=0,
    )


def unit_margin_free_direction(x: Tensor, labels: Tensor) -> Tensor:
    """The direction of the cross-entropy's gradient of a linear model whose logits are all but zero."""
    share = torch.full((len(x), CLASSES), 1 / CLASSES) - nn.functional.one_hot(labels, CLASSES)
    gradient = share @ linear()[1].weight.detach()
    return (gradient / gradient.norm(dim=1, keepdim=True)).view_as(x)


def test_the_model_comes_back_as_it_was() -> None:
    model, (x, labels) = perceptron(), made_images()
    model.train()
    model[2].eval()  # a frozen part keeps its own mode
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        moved = pgd(model, x, labels, eps=0.1, steps=3)
    assert [module.training for module in model.modules()] == [True, True, True, False, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not moved.requires_grad
    assert torch.equal(moved, pgd(perceptron(), x, labels, eps=0.1, steps=3)), "attacked in eval mode"


def test_same_generator_same_images() -> None:
    x, labels = made_images()
    one, other, third = (
        pgd(perceptron(), x, labels, eps=0.3, norm="2", steps=1, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, other) and not torch.equal(one, third)


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, (x, labels) = perceptron(), made_images()
    whole = pgd(model, x, labels, eps=0.5, norm="2", steps=5)
    torch.testing.assert_close(pgd(model, x[3:4], labels[3:4], eps=0.5, norm="2", steps=5), whole[3:4])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"norm": "1"}, "norm must be 'inf' or '2', got '1'"),
        ({"loss": "hinge"}, "loss must be"),
        ({"eps": -0.1}, "eps must be at least 0"),
        ({"steps": 0}, "steps and restarts at least 1"),
        ({"restarts": 2}, "restarts must be 1 without a generator, got 2"),
    ],
)
def test_errors(wrong: dict[str, object], message: str) -> None:
    x, labels = made_images(1)
    with pytest.raises(ValueError, match=message):
        pgd(perceptron(), x, labels, **({"eps": 0.1} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [perceptron(), soft_wta_network()], ids=["perceptron", "soft WTA"])
@pytest.mark.parametrize("norm, eps", [("inf", 0.1), ("2", 0.8)])
def test_the_same_images_as_the_toolbox(model: nn.Module, norm: Norm, eps: float) -> None:
    """ART's fast gradient method and PGD, from the same start, in the same steps."""
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    x, _ = made_images(30)
    labels = model(x).argmax(1)
    loss = nn.CrossEntropyLoss()
    theirs = PyTorchClassifier(model, loss, SHAPE, CLASSES, clip_values=(0.0, 1.0), device_type="cpu")
    order = {"norm": np.inf if norm == "inf" else 2, "eps": eps}
    attacks = (
        (FastGradientMethod(theirs, **order), fgsm(model, x, labels, eps=eps, norm=norm)),
        (
            ProjectedGradientDescentPyTorch(theirs, **order, eps_step=eps / 4, max_iter=10, verbose=False),
            pgd(model, x, labels, eps=eps, norm=norm, steps=10, step_size=eps / 4),
        ),
    )
    for attack, ours in attacks:
        found = torch.from_numpy(attack.generate(x.numpy(), labels.numpy()))
        assert torch.equal(fooled(model, ours, labels), fooled(model, found, labels))
        assert fooled(model, ours, labels).any(), "an attack that turns nothing compares nothing"
        torch.testing.assert_close(
            losses(model(ours), labels, "cross_entropy"),
            losses(model(found), labels, "cross_entropy"),
            rtol=1e-2,
            atol=1e-2,
        )
        same = ((ours - found).abs().flatten(1).amax(1) < 1e-4).float().mean()
        assert same > 0.9, "a sign of a gradient near zero may differ, not more"
