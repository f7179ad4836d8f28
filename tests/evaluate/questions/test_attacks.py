"""Attacks on whole networks: what is counted, what the judge reads, the square attack, the pictures.

Long because the square attack is held against its paper and another implementation in both norms.
"""

import math
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import digits
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.figures.gallery import GRID, smallest, winning_prototypes
from torchhebb.evaluate.methods.attack_suite import ATTACKS, Suite, has_soft_output, soften
from torchhebb.evaluate.methods.square import opposite_bumps, square
from torchhebb.evaluate.questions import attacks as attacks_module
from torchhebb.evaluate.questions.attacks import Attacks, Tally, with_detached_means
from torchhebb.nn import Architecture, LinearBlock, LinearReadout, Network, SoftWTA, Triangle
from torchhebb.rules import SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Recipe, Result, read_result
from torchhebb.train.perturb import Norm, fgsm, fooled, pgd

SETTINGS = Attacks(
    images=40,
    baselines=("own", "backpropagation"),
    linf=(0.2, 0.1),
    l2=(1.0,),
    softness=(0.3,),
    steps=3,
    restarts=2,
    queries=20,
    examples=2,
)
LINF, L2 = ("linf_0.1", "linf_0.2"), ("l2_1",)


@pytest.fixture(scope="module")
def finished(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two seeds of twenty neurons whose posterior is read out."""
    folder = tmp_path_factory.mktemp("runs") / "soft"
    block = LinearBlock(
        20,
        SoftHebb(60.0, anti_hebbian=False),
        normalize=False,
        init="uniform",
        init_radius=3.0,
        lr=0.1,
        lr_power=0.2,
        activation="soft_wta",
        output_inverse_temperature=30.0,
    )
    recipe = Recipe(
        "soft",
        "digits",
        Architecture((1, 8, 8), (block,), unit_norm=True),
        learning=Learning(batch_size=16),
        readout=Readout(epochs=3, batch_size=32, dropout=0.0, lr=1e-2),
        baselines=(),
        seeds=2,
    )
    run_recipe(recipe, TrainOptions(device="cpu", precision="float32"), folder=folder, store=store)
    return open_run(folder, store=store)


@pytest.fixture
def soft_run(finished: Run, tmp_path: Path) -> Run:
    """A copy for each test, as pieces of answers are kept in the folder."""
    return replace(finished, folder=shutil.copytree(finished.folder, tmp_path / "soft"))


@pytest.fixture(scope="module")
def trained() -> Network:
    """A network without competition: 97 % of the training digits by gradients in a second."""
    torch.manual_seed(0)
    images = digits(1000)
    x, model = images.images / 255.0, nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), images.labels).backward()
        optimizer.step()
    readout = LinearReadout(30, 10)
    readout.load_state_dict(model[3].state_dict())
    return Network({"block1": model[:3]}).requires_grad_(False).attach(readout).eval()


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch, trained: Network) -> Callable[[nn.Module], None]:
    """Quick baselines in place of trained ones, and a way to choose the judge."""

    def baseline(run: Run, seed: int, name: str) -> Network:
        return run.network(seed) if name == "own" else trained

    def choose(judge: nn.Module) -> None:
        monkeypatch.setattr(attacks_module, "judge", lambda run: judge)

    monkeypatch.setattr(attacks_module, "baseline", baseline)
    choose(trained.classifier)
    return choose


class Constant(nn.Module):
    """Answers the same class whatever it sees."""

    def __init__(self, answer: int) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.full((len(x),), self.answer), 10).float()


def values(result: Result) -> dict[str, tuple[float, ...]]:
    return {measure.name: measure.values for measure in result.measures}


def test_the_answer(soft_run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    result = evaluate(SETTINGS, soft_run)
    assert values(read_result(soft_run.folder / "attacks.json")) == values(result)
    found = values(result)
    for name, attacks in (("own", ATTACKS), ("backpropagation", tuple(set(ATTACKS) - {"softened"}))):
        for point in LINF + L2:
            each = [found[f"{name}_{point}_{attack}_accuracy"] for attack in attacks]
            worst = found[f"{name}_{point}_worst_accuracy"]
            for seed in range(2):
                assert worst[seed] <= min(attack[seed] for attack in each) <= found[f"{name}_clean_accuracy"][seed]
        for seed in range(2):
            assert found[f"{name}_linf_0.2_worst_accuracy"][seed] <= found[f"{name}_linf_0.1_worst_accuracy"][seed]
    assert not any(measure.startswith("backpropagation") and "softened" in measure for measure in found)
    images = soft_run.data.test.select(torch.arange(40))
    with torch.no_grad():
        right = soft_run.network(1).classifier(images.images / 255.0).argmax(1) == images.labels
    assert found["own_clean_accuracy"][1] == pytest.approx(100 * right.double().mean().item())
    assert max(found["own_linf_0.2_worst_accuracy"]) < min(found["own_clean_accuracy"]), "no attack did anything"
    interval = result.measure("own_linf_0.1_worst_accuracy").interval
    assert interval and interval[0] < result.measure("own_linf_0.1_worst_accuracy").mean < interval[1]

    curve = next(curve for curve in result.curves if curve.name == "own linf")
    assert curve.x == (0.0, 0.1, 0.2)
    assert curve.y[0] == result.measure("own_clean_accuracy").mean
    assert curve.y[2] == result.measure("own_linf_0.2_worst_accuracy").mean
    assert [curve.name for curve in result.curves] == [f"{n} {p}" for p in ("linf", "l2") for n in SETTINGS.baselines]
    assert result.notes["test_images"] == 40 and result.notes["precision"] == "float32"
    assert [figure["name"] for figure in result.notes["figures"]] == ["robustness", "gallery-linf", "gallery-l2"]
    assert all((soft_run.folder / figure["file"]).stat().st_size > 0 for figure in result.notes["figures"])


def test_the_same_twice(soft_run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    quick = replace(SETTINGS, baselines=("own",), linf=(0.1,), l2=(0.5,), examples=0, steps=2)
    first = values(evaluate(quick, soft_run))
    shutil.rmtree(soft_run.folder / "pieces")
    assert values(evaluate(quick, soft_run)) == first


def test_what_was_attacked_before_a_stop_is_kept(
    soft_run: Run, stand_ins: Callable[[nn.Module], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(SETTINGS, baselines=("own",), attacks=("fgsm", "square"), linf=(0.1,), l2=(), examples=0)
    first = evaluate(quick, soft_run)
    monkeypatch.setattr(Suite, "move", None)
    again = evaluate(quick, soft_run)
    assert values(again) == values(first) and again.notes == first.notes
    for change in ({"queries": 3}, {"linf": (0.2,)}, {"images": 5}, {"attacks": ("fgsm",)}, {"baselines": ("hard",)}):
        with pytest.raises(TypeError):
            evaluate(replace(quick, **change), soft_run)


def test_accuracies_are_those_of_the_attacks_themselves(soft_run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    quick = replace(SETTINGS, baselines=("own",), attacks=("fgsm", "pgd"), linf=(0.1,), l2=(), examples=0)
    found = values(evaluate(quick, soft_run))
    model, images = soft_run.network(0).classifier, soft_run.data.test.select(torch.arange(40))
    x, labels = images.images / 255.0, images.labels
    right = ~fooled(model, x, labels)
    x, labels = x[right], labels[right]
    generator = torch.Generator().manual_seed(0)
    one = fooled(model, fgsm(model, x, labels, eps=0.1), labels)
    many = fooled(model, pgd(model, x, labels, eps=0.1, steps=3, restarts=2, generator=generator), labels)
    for name, turned in (("fgsm", one), ("pgd", many), ("worst", one | many)):
        assert found[f"own_linf_0.1_{name}_accuracy"][0] == pytest.approx(100 * float((~turned).sum()) / 40)


def test_the_judge(soft_run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    quick = replace(SETTINGS, baselines=("backpropagation",), linf=(0.2,), l2=(), examples=0, attacks=("pgd",))
    found = values(evaluate(quick, soft_run))  # the judge is the attacked network itself
    for attack in ("pgd", "worst"):
        assert found[f"backpropagation_linf_0.2_{attack}_judge_agrees"] == (100.0, 100.0)
        assert found[f"backpropagation_linf_0.2_{attack}_judge_true"] == (0.0, 0.0)


def test_a_judge_of_its_own_mind(soft_run: Run, stand_ins: Callable[[nn.Module], None], trained: Network) -> None:
    quick = replace(SETTINGS, baselines=("backpropagation",), linf=(0.2,), l2=(), examples=0, attacks=("fgsm",))
    model, images = trained.classifier, soft_run.data.test.select(torch.arange(40))
    x, labels = images.images / 255.0, images.labels
    right = ~fooled(model, x, labels)
    x, labels = x[right], labels[right]
    answers = model(fgsm(model, x, labels, eps=0.2)).argmax(1)
    answers, labels = answers[answers != labels], labels[answers != labels]
    stand_ins(Constant(int(answers[0])))
    found = values(evaluate(quick, soft_run))
    agrees, true = (found[f"backpropagation_linf_0.2_worst_judge_{what}"][0] for what in ("agrees", "true"))
    assert agrees == pytest.approx(100 * (answers == answers[0]).double().mean().item())
    assert true == pytest.approx(100 * (labels == answers[0]).double().mean().item())


def test_a_tally_counts_over_all_images_and_judges_over_the_turned_ones() -> None:
    tally = Tally(8, {})
    tally.add("a", torch.tensor([True, False, True, True]))  # four images of eight were wrong when clean
    assert tally.percent["a_accuracy"] == 12.5 and tally.fooled == {"a": 3}
    labels, answered = torch.tensor([0, 1, 2, 3]), torch.tensor([5, 1, 6, 7])
    tally.judge("a", torch.tensor([5, 1, 2, 9]), answered, labels)
    assert tally.percent["a_judge_agrees"] == pytest.approx(100 / 3)
    assert tally.percent["a_judge_true"] == pytest.approx(100 / 3)
    tally.judge("b", labels, labels, labels)
    assert "b_judge_agrees" not in tally.percent


def sharp(network: Network) -> Network:
    """The same network with an output so sharp that its gradient is zero in float32."""
    for module in network.modules():
        if isinstance(module, SoftWTA):
            module.inverse_temperature = 1e5
    return network


def test_masked_gradients_are_seen_through(
    soft_run: Run, stand_ins: Callable[[nn.Module], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacks_module, "baseline", lambda run, seed, name: sharp(run.network(seed)))
    quick = replace(SETTINGS, baselines=("own",), linf=(0.3,), l2=(), examples=0, queries=60, softness=(3e-4,))
    found = values(evaluate(quick, soft_run))
    clean = found["own_clean_accuracy"]
    for seed in range(2):
        assert found["own_linf_0.3_softened_accuracy"][seed] < 0.5 * clean[seed]
        assert found["own_linf_0.3_fgsm_accuracy"][seed] >= 0.9 * clean[seed], "hardly an image should have a gradient"
    result = evaluate(replace(quick, attacks=("fgsm", "square")), soft_run)
    alone = [seed["linf_0.3"] for seed in result.notes["fooled_by_square_alone"]["own"]]
    turned = result.notes["successful_attacks"]["own"]
    assert alone == [seed["linf_0.3_worst"] - seed["linf_0.3_fgsm"] for seed in turned] and min(alone) > 5


def test_softening_leaves_the_network_alone(soft_run: Run) -> None:
    model = soft_run.network(0).classifier
    softer = soften(model, 0.1)
    assert has_soft_output(model)
    assert [m.inverse_temperature for m in (model[0].block1.activation, softer[0].block1.activation)] == [30.0, 3.0]
    x = soft_run.data.test.images[:8] / 255.0
    with torch.no_grad():
        y, softer_y = model[0](x), softer[0](x)
        assert (softer_y.amax(1) < y.amax(1)).all()
        torch.testing.assert_close(softer(x), model[1](softer_y))


def test_only_a_soft_output_can_be_softened(run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    assert not has_soft_output(run.network(0).classifier)
    quick = replace(SETTINGS, baselines=("own",), linf=(0.1,), l2=(), steps=1, restarts=1, queries=2, images=10)
    result = evaluate(quick, run)
    assert "own_linf_0.1_margin_accuracy" in values(result)
    assert "own_linf_0.1_softened_accuracy" not in values(result)


def test_without_images_that_all_answer_rightly_there_is_no_gallery(
    soft_run: Run, stand_ins: Callable[[nn.Module], None]
) -> None:
    labels = soft_run.data.test.labels[:3]
    stand_ins(Constant(next(answer for answer in range(10) if answer not in labels)))
    result = evaluate(replace(SETTINGS, images=3, steps=1, restarts=1, queries=1), soft_run)
    assert "no image" in result.notes["gallery"]
    assert [figure["name"] for figure in result.notes["figures"]] == ["robustness"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"queries": 0}, "queries must be at least 1, got 0"),
        ({"examples": -1}, "examples must be at least 0, got -1"),
        ({"linf": (), "l2": ()}, "linf and l2 must hold one radius at least"),
        ({"linf": (0.0,)}, "linf must be above 0"),
        ({"baselines": ()}, "one at least"),
        ({"attacks": ("pdg",)}, "attacks must be among fgsm, pgd, .*, got 'pdg'"),
        ({"softness": (1.0,)}, "softness must be between 0 and 1 each"),
        ({"baselines": ("own", "backprop")}, "baselines must be among own, .*, got 'backprop'"),
    ],
)
def test_errors(settings: dict[str, Any], message: str, soft_run: Run) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(Attacks(**settings), soft_run)


def some_digits() -> tuple[Tensor, Tensor]:
    images = digits(30)
    return images.images / 255.0, images.labels


@pytest.mark.parametrize("norm, eps", [("inf", 0.2), ("2", 1.5)])
def test_square(trained: Network, norm: Norm, eps: float) -> None:
    x, labels = some_digits()
    labels = labels.clone()
    labels[0] = (labels[0] + 1) % 10  # answered wrongly from the start
    np.random.seed(1)
    random.seed(1)
    before = np.random.get_state()[1].copy(), random.getstate()
    moved, again, other = (
        square(trained.classifier, x, labels, eps=eps, norm=norm, queries=100, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(np.random.get_state()[1], before[0]) and random.getstate() == before[1]
    assert torch.equal(moved, again) and not torch.equal(moved, other)
    change = (moved - x).flatten(1)
    assert (change.abs().amax(1) if norm == "inf" else change.norm(dim=1)).max() <= eps + 1e-5
    assert moved.min() >= 0 and moved.max() <= 1
    assert torch.equal(moved[0], x[0])
    assert fooled(trained.classifier, moved, labels).sum() > fooled(trained.classifier, x, labels).sum() + 5


def test_square_finds_more_in_l2_than_the_toolbox(trained: Network) -> None:
    """ART's L2 search weighs its windows the wrong way round; should this fail, ART can serve here as well."""
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    x, labels = some_digits()
    model = trained.classifier
    theirs = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu")
    np.random.seed(0)
    random.seed(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        attack = SquareAttack(theirs, norm=2, eps=1.0, max_iter=150, p_init=0.5, verbose=False)
        found = torch.from_numpy(attack.generate(x.numpy(), labels.numpy()))
    ours = square(model, x, labels, eps=1.0, norm="2", queries=150, seed=0)
    assert fooled(model, ours, labels).sum() > fooled(model, found, labels).sum()


def test_square_asks_only_of_images_that_do_not_fool_yet(trained: Network) -> None:
    x, labels = some_digits()
    model, asked = trained.classifier, []
    model.register_forward_hook(lambda module, inputs, logits: asked.append(len(logits)))
    square(model, x, labels, eps=3.0, norm="2", queries=300, seed=0)
    first, *queries, last = asked
    assert first == last == len(x) and queries == sorted(queries, reverse=True) and queries[-1] < len(x) / 2
    assert len(queries) < 300  # none is left


def test_bumps() -> None:
    """The pattern of the paper for a window of 7: two halves of 3 rows, summed ring by ring."""
    pattern, expected = opposite_bumps(7), torch.zeros(7, 7)
    for ring in range(3):
        rows, columns = slice(max(0, 1 - ring), 2 + ring), slice(3 - ring, 4 + ring)
        expected[:3][rows, columns] += 1 / (ring + 1) ** 2
    expected[3:6] = -expected[:3]
    torch.testing.assert_close(pattern, expected / expected.norm())


def test_square_of_nothing(trained: Network) -> None:
    x, labels = some_digits()
    for kept, eps in ((0, 0.1), (5, 0.0)):
        moved = square(trained.classifier, x[:kept], labels[:kept], eps=eps, norm="inf", queries=5, seed=0)
        assert torch.equal(moved, x[:kept])


@pytest.mark.parametrize("shape", [(2, 1, 8, 6), (2, 1, 4, 4), (2, 64)])
def test_square_needs_square_images(shape: tuple[int, ...], trained: Network) -> None:
    with pytest.raises(UserError, match="square images"):
        square(trained.classifier, torch.rand(shape), torch.zeros(2), eps=0.1, norm="inf", queries=1, seed=0)


def test_square_says_what_to_install(trained: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    x, labels = some_digits()
    with pytest.raises(UserError, match=r"pip install torchhebb\[attacks\]"):
        square(trained.classifier, x, labels, eps=0.1, norm="inf", queries=1, seed=0)


@pytest.mark.parametrize("fault", [0.21, math.nan])
def test_square_does_not_trust(trained: Network, monkeypatch: pytest.MonkeyPatch, fault: float) -> None:
    from art.attacks.evasion import SquareAttack

    monkeypatch.setattr(SquareAttack, "generate", lambda self, x, y: np.clip(x + np.float32(fault), 0, 1))
    x, labels = some_digits()
    with pytest.raises(RuntimeError, match="left its bounds"):
        square(trained.classifier, x, labels, eps=0.2, norm="inf", queries=1, seed=0)


def test_the_smallest_radius_that_fools() -> None:
    """On two classes whose logits are +-w x the distance to the boundary is known: w x / |w|_1 and w x / |w|_2."""
    weight = torch.tensor([1.0, -0.5, 0.25, 0.25])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([weight, -weight]))
    x = torch.tensor([[0.45, 0.7, 0.5, 0.5], [0.5, 0.7, 0.3, 0.4], [0.6, 0.7, 0.5, 0.5]]).view(3, 1, 2, 2)
    labels = torch.zeros(3, dtype=torch.long)
    norms: tuple[tuple[Norm, float], ...] = (("inf", 1), ("2", 2))
    for norm, order in norms:

        def attack(model: nn.Module, x: Tensor, labels: Tensor, *, eps: float, norm: Norm = norm) -> Tensor:
            return fgsm(model, x, labels, eps=eps, norm=norm)

        moved, radii = smallest(model, x, labels, attack, norm)
        distances = (x.flatten(1) @ weight) / weight.norm(p=order)
        assert radii == [next(eps for eps in GRID[norm] if eps > distance) for distance in distances.tolist()]
        assert fooled(model, moved, labels).all()
        change = (moved - x).flatten(1)
        reach = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
        torch.testing.assert_close(reach, torch.tensor(radii))


def test_an_image_that_withstands_has_no_radius() -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    moved, radii = smallest(Constant(0), x, torch.tensor([0, 1]), lambda model, x, labels, *, eps: x, "inf")
    assert radii[0] is None and torch.equal(moved, x)


def test_prototypes_of_winners(soft_run: Run, run: Run) -> None:
    network, x = soft_run.network(0), soft_run.data.test.images[:5] / 255.0
    found = winning_prototypes(network, x)
    layer = network.get_submodule("block1.layer")
    winners = nn.functional.linear(nn.functional.normalize(x.flatten(1)), layer.weight).argmax(1)  # type: ignore[arg-type]
    assert found is not None and torch.equal(found, layer.weight[winners].view(5, 1, 8, 8))  # type: ignore[index]
    assert winning_prototypes(run.network(0), x) is None, "two convolutions are no prototypes"


def test_the_gallery_says_what_it_shows(soft_run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    quick = replace(SETTINGS, linf=(0.1,), l2=(), images=20, queries=1, attacks=("margin",))
    figure = next(f for f in quick.run(soft_run) if getattr(f, "name", "") == "gallery-linf")
    axes = figure.picture.axes  # type: ignore[union-attr]
    assert len(axes) == 4 * 2 * 3, "four rows an image, two images, the clean image and two networks"
    titles = [axis.get_title() for axis in axes[:3]]
    assert titles == ["clean image", "SoftHebb", "backpropagation"]
    assert axes[0].get_xlabel().startswith("true class ")
    for column in axes[1:3]:
        assert column.get_xlabel().startswith("eps 0.") and "judge: " in column.get_xlabel()
        truth = axes[0].get_xlabel().removeprefix("true class ")
        assert f"says {truth}" not in column.get_xlabel(), "every column shows an error"
    low, high = axes[4].images[0].get_clim()
    assert low == -high, "no change is the middle of the scale"


def test_figures_are_written_where_the_result_says(soft_run: Run, stand_ins: Callable[[nn.Module], None]) -> None:
    quick = replace(SETTINGS, linf=(), images=10, examples=0, attacks=("fgsm",))
    result = evaluate(quick, soft_run)
    assert [Path(figure["file"]).name for figure in result.notes["figures"]] == ["attacks-robustness.svg"]
    assert {curve.name for curve in result.curves} == {"own l2", "backpropagation l2"}


def test_means_are_detached_in_a_copy_that_answers_alike() -> None:
    model = nn.Sequential(nn.Linear(6, 5), Triangle(), nn.Linear(5, 3))
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    detached = with_detached_means(model)
    answers = [one(x) for one in (model, detached)]
    assert torch.equal(*answers)
    own, found = (torch.autograd.grad(answer.square().sum(), x)[0] for answer in answers)
    assert not torch.allclose(own, found) and not any(getattr(part, "detach_mean", False) for part in model)
