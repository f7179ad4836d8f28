from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.reference import whitening as reference
from torchhebb.errors import UserError
from torchhebb.nn import (
    Architecture,
    ConvBlock,
    HebbConv2d,
    HebbLinear,
    LinearBlock,
    PatchWhitening,
    Pool,
    Tap,
    Triangle,
    WhitenedBlock,
    init_from_data,
    learn,
    load,
    save,
)
from torchhebb.train.supervised import backpropagation_model


def images(count: int, side: int = 9, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Noise with neighbours alike, as in photographs."""
    noise = torch.randn(count, 3, side + 2, side + 2, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return F.avg_pool2d(noise, 3, stride=1) + 0.5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("kernel_size", "remove_mean", "floor", "components"),
    [*product((1, 2, 3), (False, True), (0.0, 2.0), (None,)), (3, True, 0.0, 5), (2, False, 1.0, 12)],
)
def test_forward_is_patch_after_patch(kernel_size: int, remove_mean: bool, floor: float, components: int | None):
    whiten = PatchWhitening(
        3, kernel_size, remove_mean=remove_mean, floor=floor, components=components, dtype=torch.float64
    )
    whiten.init_from_data(images(30), generator())
    x = images(2, 6, seed=1)
    expected = reference.whitened_patches(x, whiten.matrix, whiten.mean, kernel_size, max(floor, 1e-12), remove_mean)
    torch.testing.assert_close(whiten(x), expected, rtol=1e-9, atol=1e-10)


def test_prepared_patches_are_white_and_padding_counts():
    whiten = PatchWhitening(3, 2, shrinkage=0.0, floor=None, remove_mean=False, padding=1, dtype=torch.float64)
    x = images(40)
    whiten.init_from_data(x, generator())
    q = whiten(x)
    assert q.shape == (40, 12, 10, 10)
    q = q.movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(q.mean(0), torch.zeros(12, dtype=q.dtype), rtol=0, atol=1e-9)
    torch.testing.assert_close(q.T @ q / len(q), torch.eye(12, dtype=q.dtype), rtol=0, atol=1e-8)


def test_the_lateral_rule_learns_the_same_map():
    computed = PatchWhitening(3, 3, dtype=torch.float64)
    lateral = PatchWhitening(3, 3, lateral=True, dtype=torch.float64)
    x = images(60)
    for whiten in (computed, lateral):
        whiten.init_from_data(x, generator())
    assert F.cosine_similarity(computed(x), lateral(x)).mean() > 0.99
    assert not torch.equal(computed.matrix, lateral.matrix)


def test_weights_that_are_samples():
    conv = HebbConv2d(3, 10, 2, init="patches", init_radius=2.0, dtype=torch.float64)
    x = images(3)
    before = conv.weight.clone()
    conv.init_from_data(x, generator())
    patches = F.unfold(x, 2).transpose(1, 2).flatten(0, 1)
    likeness = F.normalize(conv.weight.flatten(1), dim=1) @ F.normalize(patches, dim=1).T
    torch.testing.assert_close(likeness.amax(1), torch.ones(10, dtype=x.dtype))
    assert len({*likeness.argmax(1).tolist()}) == 10, "drawn without putting back"
    torch.testing.assert_close(conv.weight.flatten(1).norm(dim=1), torch.full((10,), 2.0, dtype=x.dtype))
    conv.init_from_data(x, generator(1))
    assert not torch.equal(conv.weight, before)

    drawn = HebbLinear(4, 3)
    kept = drawn.weight.clone()
    drawn.init_from_data(torch.eye(4), generator())
    assert torch.equal(kept, drawn.weight), "only init samples looks at inputs"
    with pytest.raises(ValueError, match="needs at least 5 inputs, one a neuron, got 4"):
        HebbLinear(4, 5, init="patches").init_from_data(torch.eye(4), generator())
    with pytest.raises(ValueError, match="groups must be 1 where init is"):
        HebbConv2d(4, 4, 1, groups=2, init="patches").init_from_data(torch.ones(9, 4, 1, 1), generator())


def two_blocks(**changes: object) -> Architecture:
    first = WhitenedBlock(12, 3, floor=0.5, pool=Pool("avg", 3, 2))
    second = WhitenedBlock(8, 2, project=5, components=7, remove_mean=False)
    return Architecture((3, 9, 9), (first, second), **changes)  # type: ignore[arg-type]


def test_prepare_goes_from_the_input_upwards_and_leaves_frozen_modules():
    x = images(40).float()
    network = two_blocks().build(0)
    network.block1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    init_from_data(network, x, generator())
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"block2.{name}" for name in ("project.matrix", "project.mean", "whiten.matrix", "whiten.mean", "layer.weight")
    }

    network.train()
    init_from_data(network, x, generator())
    by_hand = two_blocks().build(0)
    by_hand.block1.whiten.init_from_data(x, generator())
    by_hand.block1.layer.init_from_data(by_hand.block1.whiten(x), generator())
    torch.testing.assert_close(network.block1.layer.weight, by_hand.block1.layer.weight)
    h = network.block1(x)
    by_hand.block2.project.init_from_data(h, generator())
    torch.testing.assert_close(network.block2.project.matrix, by_hand.block2.project.matrix, rtol=1e-4, atol=1e-5)
    assert all(module.training for module in network.modules())


def test_prepare_computes_inputs_in_eval_mode():
    norm = nn.BatchNorm1d(4)
    layer = HebbLinear(4, 3, init="patches", init_radius=1.0)
    model = nn.Sequential(norm, layer)
    x = torch.randn(20, 4, generator=generator()) + 5
    init_from_data(model, x, generator())
    assert torch.equal(norm.running_mean, torch.zeros(4)) and norm.training
    likeness = layer.weight @ F.normalize(x, dim=1).T
    torch.testing.assert_close(likeness.amax(1), torch.ones(3))


def test_prepare_computes_nothing_that_no_module_needs():
    seen: list[int] = []
    below, layer, above = HebbLinear(4, 3), HebbLinear(3, 3, init="patches", init_radius=1.0), HebbLinear(3, 3)
    for module in (below, layer, above):
        module.register_forward_hook(lambda _module, x, _u: seen.append(len(x[0])))
    x = torch.randn(40, 4, generator=generator())
    init_from_data(nn.Sequential(below, below, above), x, generator())
    assert not seen
    init_from_data(nn.Sequential(below, layer, above), x, generator())
    assert sum(seen) == 40, "the input of the one layer that needs it"


def test_a_whitened_block_learns_and_is_kept(tmp_path):
    network = two_blocks().build(0).train()
    x = images(40).float()
    init_from_data(network, x, generator())
    learn(network, x)
    assert all(layer.weight.grad.abs().sum() > 0 for layer in (network.block1.layer, network.block2.layer))
    save(network, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert torch.equal(again.eval()(x), network.eval()(x))


def test_features_are_read_at_several_depths():
    network = two_blocks(taps=(Tap(2, 1), Tap(1, 2))).build(0).eval()
    x = images(4).float()
    h = network.block1(x)
    expected = [F.adaptive_avg_pool2d(h, 2).flatten(1), network.block2(h).mean((2, 3))]
    torch.testing.assert_close(network(x), torch.cat(expected, 1))
    assert learn(network, x).shape == network.block2(h).shape
    rooted = two_blocks(taps=(Tap(2, 1), Tap(1, 2)), tap_power=0.5).build(0).eval()
    torch.testing.assert_close(rooted(x), torch.cat(expected, 1).sqrt())


def test_mirrored_features_are_the_mean_of_both_views():
    plain, mirrored = (two_blocks(taps=(Tap(1, 2),), flip_average=mirror).build(0).eval() for mirror in (False, True))
    x = images(4).float()
    torch.testing.assert_close(mirrored(x), (plain(x) + plain(x.flip(-1))) / 2)
    torch.testing.assert_close(mirrored(x), mirrored(x.flip(-1)))
    assert not torch.allclose(plain(x), plain(x.flip(-1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: two_blocks(taps=(Tap(3, 1),)), r"taps must name blocks from 1 to 2, each once, got \[3\]"),
        (lambda: two_blocks(taps=(Tap(1, 1), Tap(1, 2))), "each once"),
        (lambda: two_blocks(taps=(Tap(1, 1),), feature_pool=2), "feature_pool is for the last block alone"),
        (
            lambda: Architecture((1, 8, 8), (ConvBlock(4, 3), LinearBlock(5)), taps=(Tap(1, 1), Tap(2, 1))),
            r"taps must name blocks that put out maps, got \[2\], which are linear",
        ),
        (lambda: two_blocks(tap_power=0.5), "tap_power must be 1 where taps is empty, got 0.5"),
        (lambda: Tap(1, 0), "pool must be at least 1, got 0"),
        (lambda: PatchWhitening(3, 0), "kernel_size must be positive, got 0"),
        (lambda: PatchWhitening(3, 2, components=13), "components must lie from 1 to 12"),
        (lambda: PatchWhitening(3, 2, shrinkage=-1.0), "shrinkage must not be negative, got -1.0"),
        (
            lambda: PatchWhitening(3, 2, lateral=True, components=3),
            "keeps all 12 components of a patch, got components 3",
        ),
        (lambda: backpropagation_model(two_blocks(), 10), "no form that learns by gradients"),
    ],
)
def test_mistakes(make, message: str):
    with pytest.raises((ValueError, UserError), match=message):
        make()


def test_other_blocks_are_mixed_with_whitened_ones():
    blocks = (ConvBlock(6, 3), WhitenedBlock(8, 2))
    network = Architecture((3, 9, 9), blocks).build(0)
    assert isinstance(network.block2[-1], Triangle) and network(images(2).float()).shape == (2, 8, 8, 8)


def test_weights_on_whitened_patches_as_weights_on_the_input():
    """u is linear in the patch but for the mean patch and the length: differences of u without lengths are exact."""
    block = nn.Sequential(
        PatchWhitening(3, 1, components=2, shrinkage=0.0, floor=None, remove_mean=False),
        PatchWhitening(2, 3, components=7, floor=None),
    ).double()
    x = torch.rand(30, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x
    for part in block:
        part.init_from_data(y, torch.Generator().manual_seed(0))
        y = part(y)
    weight = torch.randn(4, 7, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u = nn.functional.conv2d(y, weight)
    seen = block[0].on_input(block[1].on_input(weight))
    assert seen.shape == (4, 3, 4, 4)
    direct = nn.functional.conv2d(x, seen)
    torch.testing.assert_close(u - u[:1, :, :1, :1], direct - direct[:1, :, :1, :1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_component_along_which_samples_vary_by_rounding_alone_is_zero(dtype: torch.dtype):
    """Neurons that learned the same, as from few photographs, leave fewer components than there are channels."""
    x = images(30, dtype=dtype)[:, [0, 1, 2, 0, 1]]
    whiten = PatchWhitening(5, 1, components=5, shrinkage=0.0, floor=None, remove_mean=False, dtype=dtype)
    whiten.init_from_data(x, generator())
    q = whiten(x).movedim(1, -1).flatten(0, 2)
    covariance = torch.cov(q.T, correction=0)
    torch.testing.assert_close(covariance, torch.diag(torch.tensor([1, 1, 1, 0, 0], dtype=dtype)), rtol=0, atol=1e-4)
    assert torch.equal(whiten.matrix[3:], torch.zeros(2, 5, dtype=dtype))


def test_inputs_that_do_not_vary_are_an_error():
    with pytest.raises(UserError, match="fewer than 2 directions"):
        PatchWhitening(3, 1, components=2, shrinkage=0.0).init_from_data(torch.ones(4, 3, 5, 5), generator())
