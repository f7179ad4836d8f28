"""The unsupervised phase: the loop is `learn` and a step, orders mean what they say, and labels are never read."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.tiny import ARCHITECTURE, digits, equal, network, state, untimed
from tests.watch import Stop, Task, Watch, stop_after
from torchhebb import learn, save
from torchhebb.data import Batches, Images, Store
from torchhebb.nn import Architecture, ConvBlock, HebbLinear, Network, SPHeReConvBlock, WhitenedBlock
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.train import Learning
from torchhebb.train.calibrate import calibrate
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import learn_images
from torchhebb.train.log import Log, read_log
from torchhebb.train.recipe import AdamW

IMAGES = digits(125)


def test_joint_order_is_learn_and_a_step():
    model, other = network(), network()
    assert learn_images(model, IMAGES, Learning(batch_size=10, epochs=2), seed=3) is model
    optimizer = NormAdaptiveSGD(
        [
            {"params": [other.block1.layer.weight], "lr": 0.08, "power": 0.5},
            {"params": [other.block2.layer.weight], "lr": 0.005, "power": 0.5},
        ],
    )
    batches = Batches(IMAGES.images, 10, seed=3)
    for epoch in range(2):
        for x in batches.epoch(epoch):
            learn(other, x)
            optimizer.step()
            optimizer.zero_grad()
    before = state(network())
    for name, tensor in state(model).items():
        torch.testing.assert_close(tensor, other.state_dict()[name])
        assert not torch.equal(tensor, before[name]), f"{name} learned"


def test_it_ends_in_eval_mode_without_gradients():
    model = learn_images(network(), digits(20), Learning())
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_greedy_order_leaves_the_blocks_below_and_above_as_they_are():
    model = network()
    starts: list[dict[str, torch.Tensor]] = []
    ends: list[dict[str, torch.Tensor]] = []
    watch = Watch(start=lambda _: starts.append(state(model)), finish=lambda _: ends.append(state(model)))
    learn_images(model, IMAGES, Learning(order="greedy", epochs=2), progress=watch)
    assert len(starts) == len(ends) == 3  # in the middle, the inputs of the second block
    assert equal(starts[1], ends[1])
    starts, ends = starts[::2], ends[::2]

    def part(whole: dict[str, torch.Tensor], block: str) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in whole.items() if name.startswith(block)}

    assert equal(part(starts[0], "block2"), part(ends[0], "block2"))
    assert equal(part(starts[1], "block1"), part(ends[1], "block1"))
    assert equal(part(ends[0], "block1"), part(state(model), "block1"))
    for stage, block in enumerate(("block1", "block2")):
        assert all(not torch.equal(starts[stage][name], ends[stage][name]) for name in part(starts[stage], block))


def test_inputs_of_a_greedy_stage_are_what_frozen_blocks_give_and_are_computed_once(tmp_path: Path):
    store, plan = Store(tmp_path), Learning(order="greedy", epochs=2)
    kept = learn_images(network(), IMAGES, plan, store=store, key="digits")
    assert [entry.key["kind"] for entry in store.entries()] == ["greedy inputs"]
    again = learn_images(network(), IMAGES, plan, store=store, key="digits")
    assert len(store.entries()) == 1 and equal(state(kept), state(again))
    assert equal(state(kept), state(learn_images(network(), IMAGES, plan)))

    by_hand = network().eval()
    for block in by_hand:
        optimizer = NormAdaptiveSGD(by_hand.learning_groups())
        block.train()
        for epoch in range(plan.epochs):
            for x in Batches(IMAGES.images, plan.batch_size).epoch(epoch):
                learn(by_hand, x)
                optimizer.step()
                optimizer.zero_grad()
        block.eval()
    for name, tensor in state(kept).items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_a_greedy_stage_of_one_pass_keeps_no_inputs_and_learns_the_same(tmp_path: Path):
    store, plan = Store(tmp_path), Learning(order="greedy")
    streamed = learn_images(network(), IMAGES, plan, store=store, key="digits")
    assert not store.entries()

    by_hand = network().eval()
    for block in by_hand:
        optimizer = NormAdaptiveSGD(by_hand.learning_groups())
        block.train()
        for x in Batches(IMAGES.images, plan.batch_size).epoch(0):
            learn(by_hand, x)
            optimizer.step()
            optimizer.zero_grad()
        block.eval()
    assert equal(state(streamed), state(by_hand))


def test_the_first_block_learns_the_same_in_every_order_and_whatever_stands_above():
    plans = [Learning(order=order) for order in ("joint", "greedy", "pipeline")]
    networks = [learn_images(network(), IMAGES, plan) for plan in plans]
    lonely = replace(ARCHITECTURE, blocks=ARCHITECTURE.blocks[:1])
    networks.append(learn_images(lonely.build(0), IMAGES, Learning()))
    first = state(networks[0].block1)
    assert all(equal(first, state(other.block1)) for other in networks[1:])


def test_labels_are_never_read():
    shuffled = IMAGES.labels[torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(0))]
    assert not torch.equal(shuffled, IMAGES.labels)
    models = [
        state(learn_images(network(), Images(IMAGES.images, labels), Learning(order=order)))
        for order in ("joint", "greedy", "pipeline")
        for labels in (IMAGES.labels, shuffled, torch.full_like(IMAGES.labels, -1))
    ]
    assert all(equal(models[0], other) for other in models[1:3])
    assert all(equal(models[3], other) for other in models[4:6]) and all(
        equal(models[0], other) for other in models[6:]
    )


def test_one_seed_twice_is_one_file(tmp_path: Path):
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        save(learn_images(network(), IMAGES, Learning(), seed=seed), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


JOINT, GREEDY = Learning(epochs=2), Learning(order="greedy", batch_size=7, epochs=2)


@pytest.mark.parametrize(
    ("plan", "images"), [(JOINT, 15), (JOINT, 130), (JOINT, 249), (GREEDY, 130), (GREEDY, 251), (GREEDY, 400)]
)
def test_a_run_that_was_stopped_goes_on_exactly(tmp_path: Path, plan: Learning, images: int):
    def checkpoint(folder: str) -> Checkpoint:
        (tmp_path / folder).mkdir(exist_ok=True)
        return Checkpoint(tmp_path / folder, log=Log(tmp_path / folder / "metrics.jsonl"), interval=0.0)

    whole = learn_images(network(), IMAGES, plan, checkpoint=checkpoint("whole"))
    with pytest.raises(Stop):
        learn_images(network(), IMAGES, plan, checkpoint=checkpoint("parts"), progress=stop_after(images))
    again = learn_images(network(8), IMAGES, plan, checkpoint=checkpoint("parts"))
    assert equal(state(whole), state(again))
    assert untimed(tmp_path / "parts/metrics.jsonl") == untimed(tmp_path / "whole/metrics.jsonl")


def test_progress_counts_every_image_also_when_it_goes_on(tmp_path: Path):
    plan = Learning(batch_size=10, epochs=2)
    with pytest.raises(Stop):
        learn_images(network(), IMAGES, plan, checkpoint=Checkpoint(tmp_path, interval=0.0), progress=stop_after(60))
    watch = Watch()
    learn_images(network(), IMAGES, plan, checkpoint=Checkpoint(tmp_path, interval=0.0), progress=watch)
    assert watch.done() == 250


def test_what_is_logged(tmp_path: Path):
    checkpoint = Checkpoint(tmp_path, log=Log(tmp_path / "metrics.jsonl"))
    model = learn_images(network(), IMAGES, Learning(), checkpoint=checkpoint, task="seed 0: learning")
    lines = read_log(tmp_path / "metrics.jsonl")
    assert {line["name"] for line in lines} == {"block1.layer", "block2.layer"}
    assert {(line["kind"], line["task"], line["stage"]) for line in lines} == {("learning", "seed 0: learning", 0)}
    assert lines[0]["samples"] == 0 and lines[-1]["samples"] == len(IMAGES)
    radius = torch.linalg.vector_norm(model.block2.layer.weight.flatten(1), dim=1)
    assert lines[-1]["radius_mean"] == pytest.approx(radius.mean().item())


def test_no_epoch_learns_nothing():
    assert equal(state(learn_images(network(), IMAGES, Learning(epochs=0))), state(network()))


def test_a_network_without_rates_is_refused():
    with pytest.raises(ValueError, match="architecture"):
        learn_images(Network([HebbLinear(64, 3)]), IMAGES, Learning())


def test_calibration_averages_over_batches_and_leaves_weights_untouched():
    images = digits(350)
    model, by_hand = network(), network()
    calibrate(model, images, seed=5)
    sums = {name: torch.zeros_like(tensor) for name, tensor in state(model).items() if "running" in name}
    for x in Batches(images.images, 100, seed=5, drop_last=True).epoch(0):
        for name in ("block1", "block2"):
            norm, *rest = by_hand.get_submodule(name)  # type: ignore[misc]
            sums[f"{name}.norm.running_mean"] += x.mean((0, 2, 3)) / 3
            sums[f"{name}.norm.running_var"] += x.var((0, 2, 3), unbiased=True) / 3
            x = F.batch_norm(x, None, None, training=True, eps=norm.eps)  # type: ignore[has-type]
            for part in rest:  # type: ignore[has-type]
                x = part(x)
    for name, tensor in state(model).items():
        if name in sums:
            torch.testing.assert_close(tensor, sums[name])
        else:
            assert torch.equal(tensor, by_hand.state_dict()[name])
    assert not any(module.training for module in model.modules())
    assert {model.block1.norm.momentum, model.block2.norm.momentum} == {0.1}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_calibration_leaves_a_learned_whitened_block_as_it_is():
    architecture = Architecture((1, 8, 8), (WhitenedBlock(6, 3, padding=1), ConvBlock(4, 3)))
    model = learn_images(architecture.build(0), IMAGES, Learning())
    before = state(model)
    after = state(calibrate(model, digits(200), seed=1, learned=True))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed and all("running" in name for name in changed)
    random = state(calibrate(model, digits(200), seed=1))
    assert any("running" not in name and not torch.equal(tensor, before[name]) for name, tensor in random.items())


def test_calibration_of_a_network_without_batch_norm_prepares_it_and_runs_it_on_nothing():
    model = Architecture((1, 8, 8), (WhitenedBlock(6, 3),)).build(0)
    before, runs = state(model), []
    model.register_forward_hook(lambda *_: runs.append(1))
    after = state(calibrate(model, digits(200), seed=1))
    assert not torch.equal(after["block1.layer.weight"], before["block1.layer.weight"])
    assert not runs and not any(module.training for module in model.modules())


def test_a_run_that_was_stopped_after_its_last_step_logs_the_last_loss(tmp_path: Path) -> None:
    """The loss is that of a step, so a checkpoint of the end would not have it."""

    def sphere() -> Network:
        block = SPHeReConvBlock(8, projection=8, pool=None)
        torch.manual_seed(0)
        return Architecture((1, 8, 8), (block,)).build()

    def checkpoint(folder: str) -> Checkpoint:
        (tmp_path / folder).mkdir(exist_ok=True)
        return Checkpoint(tmp_path / folder, log=Log(tmp_path / folder / "metrics.jsonl"), interval=0.0)

    def stop(_: Task) -> None:
        raise Stop

    plan = Learning(batch_size=50, epochs=2, optimizer=AdamW())
    learn_images(sphere(), IMAGES, plan, checkpoint=checkpoint("whole"))
    with pytest.raises(Stop):
        learn_images(sphere(), IMAGES, plan, checkpoint=checkpoint("parts"), progress=Watch(finish=stop))
    learn_images(sphere(), IMAGES, plan, checkpoint=checkpoint("parts"))
    assert untimed(tmp_path / "parts/metrics.jsonl") == untimed(tmp_path / "whole/metrics.jsonl")
