"""Blocks that learn by a loss of their own: the loss of the paper, by autograd, and no gradient across a border."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.reference import agree, draw, numbers
from tests.reference import similarity as reference
from tests.tiny import digits, equal, state
from torchhebb import learn, load, save
from torchhebb.errors import UserError
from torchhebb.functional import structure_loss
from torchhebb.nn import Architecture, HebbConv2d, LocalLossBlock, Network, Pool, SPHeReBlock, SPHeReConvBlock
from torchhebb.nn.blocks.local import shortcut
from torchhebb.nn.blocks.sphere import SPHeReLoss
from torchhebb.train import Learning
from torchhebb.train.learn import learn_images
from torchhebb.train.recipe import AdamW
from torchhebb.train.supervised import backpropagation_model

WEIGHTS = [(1.0, 0.8), (1.0, 0.0), (0.0, 0.8), (0.5, 2.0)]
ARCHITECTURE = Architecture(
    (1, 8, 8), (SPHeReConvBlock(4, projection=6), SPHeReConvBlock(8, projection=6, residual=True)), feature_pool=2
)


def block(seed: int = 0, inputs: int = 2, outputs: int = 4, **options: float | bool) -> SPHeReBlock:
    made = SPHeReBlock(inputs, outputs, projection=5, **options).double()  # type: ignore[arg-type]
    made.reset_parameters(torch.Generator().manual_seed(seed))
    return made


def images(seed: int = 0, channels: int = 2) -> Tensor:
    return draw(seed, 6, channels, 8, 8)


def grads(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def same_grads(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad) for a, b in pairs)


def cosines(rows: Tensor) -> Tensor:
    return F.cosine_similarity(rows[:, None], rows[None], dim=2)


def composed_loss(x: Tensor, parts: dict[str, Tensor], structure: float, orthogonality: float) -> tuple[Tensor, Tensor]:
    """The paper's block and loss, an operation a line; returns the projection and the loss."""
    u = F.conv2d(x, parts["body.conv.weight"], parts["body.conv.bias"], padding=1)
    u = F.batch_norm(u, None, None, parts["body.norm.weight"], parts["body.norm.bias"], training=True)
    h = F.max_pool2d(torch.where(u > 0, u, 0.2 * u), 4, 2, 1)
    v = F.conv2d(h, parts["auxiliary.0.weight"], parts["auxiliary.0.bias"])
    v = F.batch_norm(v, None, None, parts["auxiliary.1.weight"], parts["auxiliary.1.bias"], training=True)
    p = v.clamp_min(0).mean((2, 3)) @ parts["auxiliary.5.weight"].T + parts["auxiliary.5.bias"]
    terms = (cosines(x.flatten(1)) - cosines(p)).square().mean(), (cosines(p.T) - torch.eye(5)).square().mean()
    return p, structure * terms[0] + orthogonality * terms[1]


@pytest.mark.parametrize(("structure", "orthogonality"), WEIGHTS)
@pytest.mark.parametrize("residual", [False, True])
def test_the_update_is_the_gradient_of_the_papers_loss(structure: float, orthogonality: float, residual: bool):
    made, x = block(structure=structure, orthogonality=orthogonality, residual=residual), images()
    parts = {name: value.clone().requires_grad_() for name, value in made.named_parameters()}
    p, loss = composed_loss(x, parts, structure, orthogonality)
    loss.backward()
    made.learn(x)
    for name, grad in grads(made).items():
        assert grad is not None
        agree(grad, parts[name].grad)
    assert made.last_loss is not None and not made.last_loss.requires_grad
    terms = reference.structure_loss(numbers(x.flatten(1)), numbers(p)), reference.orthogonality_loss(numbers(p))
    agree(made.last_loss, structure * terms[0] + orthogonality * terms[1])


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_learn_and_forward_agree(residual: bool, training: bool):
    one = block(residual=residual).train(training)
    other, x = deepcopy(one), images().requires_grad_()
    output = one.learn(x)
    assert torch.equal(output, other(x)) and output.shape == (6, 4, 4, 4)
    assert not output.requires_grad and x.grad is None
    for name, value in other.body.state_dict().items():
        assert torch.equal(value, one.body.state_dict()[name]), "statistics move as in one forward pass"


def test_statistics_move_once_a_learn():
    made = block()
    made.learn(images())
    assert [int(norm.num_batches_tracked) for norm in (made.body.norm, made.auxiliary[1])] == [1, 1]


def test_the_residual_is_added_after_the_loss():
    plain, residual, x = block(), block(residual=True), images()
    without, with_it = plain.learn(x), residual.learn(x)
    assert same_grads(plain, residual)
    agree(with_it[:, :2] - without[:, :2], F.avg_pool2d(x, 2))
    assert torch.equal(with_it[:, 2:], without[:, 2:])


@pytest.mark.parametrize("switched_on", [False, True])
def test_no_gradient_crosses_a_border(switched_on: bool):
    below, above = block(0), block(1, 4, 6, residual=True)
    x = images().requires_grad_()
    alone_below, alone_above = deepcopy(below), deepcopy(above)
    learn(nn.Sequential(below, above).requires_grad_(switched_on), x)
    alone_above.learn(alone_below.learn(x))
    assert same_grads(below, alone_below) and same_grads(above, alone_above)
    assert x.grad is None

    other = deepcopy(below)
    other.zero_grad()
    learn(nn.Sequential(other, block(7, 4, 3)), x)
    assert same_grads(other, below), "what stands above changes nothing below"


def test_hebbian_and_local_blocks_stack():
    torch.manual_seed(0)
    hebbian = HebbConv2d(2, 4, 3, padding=1, init_radius=2.0, dtype=torch.float64)
    model = nn.Sequential(hebbian, block(1, 4, 6), HebbConv2d(6, 3, 3, dtype=torch.float64))
    parts = deepcopy(model)
    learn(model, images())
    x = images()
    for part in parts:
        x = part.learn(x)
    for mine, theirs in zip(model, parts, strict=True):
        assert same_grads(mine, theirs)


def test_gradients_add_up():
    made, x = block(), images()
    made.learn(x)
    first = {name: grad.clone() for name, grad in grads(made).items() if grad is not None}
    made.learn(x)
    for name, grad in grads(made).items():
        assert grad is not None
        agree(grad, 2 * first[name])


def test_the_order_of_the_batch_does_not_matter():
    one, other, x = block(), block(), images()
    one.learn(x)
    other.learn(x[torch.tensor([3, 0, 5, 1, 4, 2])])
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert theirs.grad is not None and mine.grad is not None
        agree(mine.grad, theirs.grad)


def test_two_half_batches_are_not_the_whole():
    body, auxiliary = nn.Linear(3, 4), nn.Linear(4, 2)
    whole = LocalLossBlock(body, auxiliary, structure_loss)
    halves, x = deepcopy(whole), draw(0, 8, 3, dtype=torch.float32)
    whole.learn(x)
    for half in x.chunk(2):
        halves.learn(half)
    mean = halves.body.weight.grad / 2
    assert (mean - whole.body.weight.grad).abs().max() > 0.01 * whole.body.weight.grad.abs().max()


def test_eval_freezes():
    made = block().eval()
    before = state(made)
    made.learn(images())
    assert all(grad is None for grad in grads(made).values()) and equal(before, state(made))
    assert made.last_loss is None


def test_readouts_and_attacks_leave_nothing_behind():
    made, head = block(), nn.Linear(64, 3).double()
    x = images().requires_grad_()
    head(made(x).flatten(1)).sum().backward()
    assert all(grad is None for grad in grads(made).values())
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert head.weight.grad is not None


def test_the_flags_of_the_parameters_come_back():
    made = block()
    made.body.requires_grad_(True)
    flags = [parameter.requires_grad for parameter in made.parameters()]
    made.learn(images())
    assert [parameter.requires_grad for parameter in made.parameters()] == flags

    def broken(x: Tensor, p: Tensor) -> Tensor:
        raise ZeroDivisionError

    made.loss = broken
    with pytest.raises(ZeroDivisionError):
        made.learn(images())
    assert [parameter.requires_grad for parameter in made.parameters()] == flags
    assert torch.is_grad_enabled()


def test_forward_never_computes_the_auxiliary():
    made = block(residual=True)
    seen: list[int] = []
    made.auxiliary.register_forward_hook(lambda *_: seen.append(1))
    made(images())
    made.eval().learn(images())
    assert seen == []
    made.train().learn(images())
    assert seen == [1]


def test_bfloat16_keeps_the_loss_in_float32():
    made, x = block().float(), images().float()
    exact = deepcopy(made)
    exact.learn(x)
    dtypes: list[torch.dtype] = []
    loss = made.loss

    def watched(a: Tensor, b: Tensor) -> Tensor:
        dtypes.extend([a.dtype, b.dtype, (b @ b.T).dtype])
        return loss(a, b)

    made.loss = watched
    with torch.autocast("cpu", torch.bfloat16):
        output = made.learn(x)
    assert dtypes == [torch.float32] * 3 and output.dtype == torch.bfloat16
    assert made.last_loss is not None and made.last_loss.dtype == torch.float32
    for mine, theirs in zip(made.parameters(), exact.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None and mine.grad.dtype == torch.float32
        if mine.grad.dim() > 1:
            assert F.cosine_similarity(mine.grad.flatten(), theirs.grad.flatten(), dim=0) > 0.9


def test_a_loop_inside_autocast_sees_the_steps_of_its_optimizer():
    made, x = block().float(), images().float()
    with torch.autocast("cpu", torch.bfloat16):
        before = made.learn(x)
        with torch.no_grad():
            made.body.conv.weight.neg_()
        after = made.learn(x)
    assert not torch.equal(before, after)


def test_channels_last_learns_the_same():
    one, x = block(), images()
    other = deepcopy(one).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    one.learn(x)
    other.learn(x.contiguous(memory_format=torch.channels_last))
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        agree(mine.grad, theirs.grad)


def test_weights_start_as_torchs():
    one, again, other = block(3), block(3), block(4)
    assert equal(state(one), state(again)) and not equal(state(one), state(other))
    conv = SPHeReBlock(8, 200).body.conv
    limit = (8 * 9) ** -0.5
    default = nn.Conv2d(8, 200, 3)
    torch.manual_seed(0)
    wide = SPHeReBlock(8, 200)
    wide.reset_parameters(torch.Generator().manual_seed(0))
    for mine, theirs in ((wide.body.conv.weight, default.weight), (wide.body.conv.bias, default.bias)):
        assert mine.abs().max() <= limit and theirs.abs().max() <= limit
        assert mine.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
        assert theirs.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
    assert conv.weight.shape == (200, 8, 3, 3) and not conv.weight.requires_grad
    wide.learn(torch.rand(4, 8, 8, 8))
    wide.reset_parameters()
    assert torch.equal(wide.body.norm.running_mean, torch.zeros(200))


def test_any_body_auxiliary_and_loss():
    torch.manual_seed(0)
    body, auxiliary = nn.Linear(3, 4, dtype=torch.float64), nn.Linear(4, 2, dtype=torch.float64)
    made = LocalLossBlock(body, auxiliary, lambda x, p: (p - x[:, :2]).square().mean(), residual=True)
    x = draw(0, 5, 3)
    error = (x @ body.weight.T + body.bias) @ auxiliary.weight.T + auxiliary.bias - x[:, :2]
    output = made.learn(x)
    assert auxiliary.bias.grad is not None and body.bias.grad is not None
    agree(auxiliary.bias.grad, 2 * error.mean(0) / 2)
    agree(body.bias.grad, 2 * (error @ auxiliary.weight).mean(0) / 2)
    agree(output - F.pad(x, (0, 1)), body(x))


def test_shortcut_by_hand():
    x = torch.arange(8.0).view(1, 2, 2, 2)
    assert torch.equal(shortcut(x, (1, 3, 1, 1)).flatten(), torch.tensor([1.5, 5.5, 0.0]))
    assert torch.equal(shortcut(x, (1, 2, 2, 2)), x)
    with pytest.raises(ValueError, match="at least as many channels out as in, got 2 in, 1 out"):
        shortcut(x, (1, 1, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((0, 4), {}, "in_channels must be positive, got 0"),
        ((2, 4), {"projection": 0}, "projection must be positive, got 0"),
        ((4, 2), {"residual": True}, "out_channels of at least 4, got 2"),
        ((2, 4), {"negative_slope": -0.1}, "negative_slope must not be negative, got -0.1"),
        ((2, 4), {"orthogonality": -1.0}, "orthogonality must be at least 0 and at most 1e\\+06, got -1.0"),
        ((2, 4), {"structure": 0.0, "orthogonality": 0.0}, "must be above 0, got 0 for both"),
    ],
)
def test_what_cannot_be_built_is_said(arguments: tuple[int, int], options: dict[str, float], words: str):
    with pytest.raises(ValueError, match=words):
        SPHeReBlock(*arguments, **options)  # type: ignore[arg-type]


# as a part of a network


def test_the_architecture_builds_and_learns():
    network = ARCHITECTURE.build(3)
    assert [name for name, _ in network.named_children()] == ["block1", "block2", "feature_pool"]
    assert equal(state(network), state(ARCHITECTURE.build(3))) and not equal(
        state(network), state(ARCHITECTURE.build(4))
    )
    first, second = network.block1, network.block2
    assert isinstance(first, SPHeReBlock) and first.auxiliary[5].out_features == 6 and not first.residual
    assert isinstance(second, SPHeReBlock) and second.residual and second.loss == SPHeReLoss(1.0, 0.8)
    assert int(first.body.norm.num_batches_tracked) == 0, "the size is found without learning statistics"
    x = digits(5).images / 255.0
    assert learn(network, x).shape == (5, 8, 2, 2)
    assert all(grad is not None for grad in grads(network).values())


def test_options_reach_the_block():
    config = SPHeReConvBlock(4, 7, structure=0.5, orthogonality=0.1, negative_slope=0.3, pool=Pool("avg", 2, 2))
    made = replace(ARCHITECTURE, blocks=(config,)).build().block1
    assert isinstance(made, SPHeReBlock) and made.loss == SPHeReLoss(0.5, 0.1)
    assert made.auxiliary[5].out_features == 7 and made.body.activation.negative_slope == 0.3
    assert isinstance(made.body.pool, nn.AvgPool2d)
    bare = replace(ARCHITECTURE, blocks=(replace(config, pool=None),)).build()
    assert bare.block1(torch.rand(2, 1, 8, 8)).shape == (2, 4, 8, 8)


def test_a_network_comes_back_exactly(tmp_path: Path):
    network = ARCHITECTURE.build()
    learn(network, digits(20).images / 255.0)
    save(network.eval(), tmp_path / "model.safetensors")
    back = load(tmp_path / "model.safetensors")
    assert isinstance(back, Network) and back.architecture == ARCHITECTURE and equal(state(network), state(back))


def losses(network: Network) -> list[float]:
    model, total = deepcopy(network).train(), []
    learn(model, digits(200).images / 255.0)
    for made in (model.block1, model.block2):
        assert isinstance(made, SPHeReBlock) and made.last_loss is not None
        total.append(made.last_loss.item())
    return total


def test_adamw_lowers_every_local_loss():
    plan = Learning(batch_size=50, epochs=10, optimizer=AdamW(0.01, 0.05), schedule="cosine", final_lr_fraction=1e-3)
    network = ARCHITECTURE.build()
    before = losses(network)
    after = losses(learn_images(network, digits(200), plan))
    assert all(late < 0.7 * early for early, late in zip(before, after, strict=True)), (before, after)


def test_a_rate_of_its_own_is_asked_for():
    with pytest.raises(
        UserError, match="block1: SPHeReConvBlock learns by a local loss and has no rate of its own: choose AdamW"
    ):
        learn_images(ARCHITECTURE.build(), digits(20), Learning())


def test_backpropagation_runs_through_the_same_blocks_without_their_auxiliary():
    model = backpropagation_model(ARCHITECTURE, 10, seed=5)
    network = model[0]
    assert equal(state(network), state(ARCHITECTURE.build(5)))
    F.cross_entropy(model(digits(20).images / 255.0), digits(20).labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (".body." in name)
        assert (parameter.grad is not None) == (".body." in name), name
