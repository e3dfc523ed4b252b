"""What is not finite costs a batch, not the training: with a real gradient scaler, and without one."""

import math

import pytest
import torch
from geo_training.engine.curves import write_curves
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop

from geo_perception.errors import InputError

CPU = torch.device("cpu")


class GradientOf(torch.autograd.Function):
    """The identity, whose gradient is what the batch says."""

    @staticmethod
    def forward(ctx, x, gradient):
        ctx.gradient = gradient
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.gradient, None


class WeightTask:
    """One weight whose gradient is 1, or what `gradients` says of a batch by its number; the loss is `loss_of` it.

    A buffer sums the numbers of the batches, as a normalization follows what it sees.
    """

    def __init__(self, gradients=None, losses=None, stop_at=None, count=100):
        self.network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.network.weight)
        self.network.register_buffer("seen", torch.zeros(()))
        self.loss_weights = {"loss": 1.0}
        self.gradients, self.values, self.stop_at, self.count = gradients or {}, losses or {}, stop_at, count
        self.draws = {}

    def batches(self, epoch, first=0):
        yield from range(epoch * self.count + first, (epoch + 1) * self.count)

    def losses(self, network, batch):
        if batch == self.stop_at:
            raise KeyboardInterrupt
        self.draws[batch] = float(torch.rand(()))
        network.seen += batch
        gradient = self.gradients.get(batch, 1.0)
        weight = GradientOf.apply(network.weight.sum(), gradient)
        return {"loss": weight + self.values.get(batch, 0.0)}

    def evaluate(self, network):
        return {"figure": float(network.weight), "seen": float(network.seen)}


def sgd(**changes):
    options = {"learning_rate": 0.5, "weight_decay": 0.0, "warm_up": 0.0, "gradient_norm": math.inf, "optimizer": "sgd",
               "schedule": "constant", "evaluate_every": 1}  # fmt: skip
    return LoopConfig(**(options | changes))


def with_scaler(init_scale=2.0**16, **options):
    """An accelerator as that of a GPU in float16, but for where it computes."""
    accelerator = make_accelerator(CPU, half=False)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, **options)
    return accelerator


def without_scaler():
    return make_accelerator(CPU, half=False)


@pytest.mark.parametrize("make", [with_scaler, without_scaler])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_an_overflow_costs_one_batch_and_not_the_training(tmp_path, make, bad):
    accelerator = make()
    result = run_loop(WeightTask({1: bad}), sgd(steps=3), tmp_path, accelerator, "f")
    assert float(result.network.weight) == -1.5  # three steps of 0.5
    assert result.skipped_steps == 1
    assert [record["skipped_steps"] for record in result.history] == [0, 1, 1]
    assert [record["step"] for record in result.history] == [1, 2, 3]
    if accelerator.scaler is not None:
        assert accelerator.scaler.get_scale() == 2.0**15  # it heard of the overflow, once


def test_the_gradient_is_shortened_in_its_own_scale(tmp_path):
    # In the scaler's scale it is 3 x 65536 long; unscaled 3, and shortened to 1.5.
    task = WeightTask(dict.fromkeys(range(4), 3.0))
    result = run_loop(task, sgd(steps=2, gradient_norm=1.5), tmp_path, with_scaler(), "f")
    assert float(result.network.weight) == pytest.approx(-2 * 0.5 * 1.5, rel=1e-5)


@pytest.mark.parametrize("make", [with_scaler, without_scaler])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_costs_one_batch(tmp_path, make, bad):
    accelerator = make()
    task = WeightTask(losses={1: bad})  # its gradient is a sound 1
    result = run_loop(task, sgd(steps=2), tmp_path, accelerator, "f")
    assert float(result.network.weight) == -1.0
    assert result.skipped_steps == 1
    assert [record["loss"] for record in result.history] == [0.0, -0.5]  # batches 0 and 2
    if accelerator.scaler is not None:
        assert accelerator.scaler.get_scale() == 2.0**16  # no scale mends a loss


@pytest.mark.parametrize("task", [WeightTask({3: math.inf}), WeightTask(losses={3: math.nan})])
def test_a_batch_that_is_left_out_moves_nothing(tmp_path, task):
    clean = run_loop(WeightTask(), sgd(steps=4, ema=0.9, schedule="cosine"), tmp_path / "clean", with_scaler(), "f")
    result = run_loop(task, sgd(steps=4, ema=0.9, schedule="cosine"), tmp_path / "cut", with_scaler(), "f")
    # Average, rates and moments as if the batch had not been; the buffer without its 3 (0 + 1 + 2 + 4 against + 3).
    assert float(result.network.weight) == float(clean.network.weight)
    assert [r["figure"] for r in result.history] == [r["figure"] for r in clean.history]
    averaged = [3, 0 + 1 + 2 + 4]
    assert result.history[-1]["seen"] - clean.history[-1]["seen"] == pytest.approx(
        (1 - 4 / 14) * (averaged[1] - (0 + 1 + 2 + 3))
    )


def test_the_average_follows_closely_at_first_and_copies_what_is_counted(tmp_path):
    task = WeightTask()
    task.network.register_buffer("counter", torch.zeros((), dtype=torch.long))
    losses = task.losses
    task.losses = lambda network, batch: [network.counter.add_(1), losses(network, batch)][1]
    result = run_loop(task, sgd(steps=3, ema=0.2), tmp_path, without_scaler(), "f")
    # The weight is -0.5, -1, -1.5 and the buffer 0, 1, 3; the decays 1 / 11 and 2 / 12 are below 0.2, 3 / 13 is not.
    weight = [-0.5 * 10 / 11, -0.5 * 10 / 11 / 6 - 5 / 6, (-0.5 * 10 / 11 / 6 - 5 / 6) * 0.2 - 1.5 * 0.8]
    assert [record["figure"] for record in result.history] == pytest.approx(weight)
    assert [record["seen"] for record in result.history] == pytest.approx([0, 5 / 6, 0.2 * 5 / 6 + 0.8 * 3])
    assert int(result.network.counter) == 3


def test_a_resumed_run_keeps_the_scale_and_the_count(tmp_path):
    options = {"init_scale": 64.0, "growth_interval": 5}
    overflows = {1: math.inf, 4: math.inf, 9: math.nan}
    config = sgd(steps=12, evaluate_every=3)
    whole = with_scaler(**options)
    task = WeightTask(overflows)
    expected = run_loop(task, config, tmp_path / "whole", whole, "f")
    with pytest.raises(KeyboardInterrupt):
        run_loop(WeightTask(overflows, stop_at=10), config, tmp_path / "cut", with_scaler(**options), "f")
    resumed, again = with_scaler(**options), WeightTask(overflows)
    result = run_loop(again, config, tmp_path / "cut", resumed, "f")
    assert min(again.draws) == 8  # the sixth step was that of batch 7: two were left out before
    assert torch.equal(result.network.weight, expected.network.weight)
    assert {number: task.draws[number] for number in again.draws} == again.draws
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()
    # By hand: 64 / 2 / 2, batches 5 to 8 are four good ones, / 2 at 9, five good ones (10 to 14): x 2.
    assert (result.skipped_steps, resumed.scaler.get_scale()) == (3, 16.0)


def test_a_scaler_may_search_its_scale_for_longer_than_a_training_may_diverge(tmp_path):
    # The scale falls from 2^16 to 2^0 in 16 steps, which is more than any other training is allowed.
    task = WeightTask(dict.fromkeys(range(16), math.inf))
    result = run_loop(task, sgd(steps=1), tmp_path, with_scaler(), "f")
    assert (result.skipped_steps, float(result.network.weight)) == (16, -0.5)


@pytest.mark.parametrize(
    ("make", "task", "in_a_row"),
    [
        (without_scaler, WeightTask(dict.fromkeys(range(2, 99), math.inf)), 11),
        (without_scaler, WeightTask(losses=dict.fromkeys(range(2, 99), math.nan)), 11),
        (with_scaler, WeightTask(losses=dict.fromkeys(range(2, 99), math.nan)), 11),
        # Sixteen bring the scale down to 1, of which the last is the first that counts.
        (with_scaler, WeightTask(dict.fromkeys(range(2, 99), math.inf)), 26),
    ],
)
def test_many_in_a_row_end_the_training_with_one_line(tmp_path, make, task, in_a_row):
    with pytest.raises(InputError, match=f"training diverged: {in_a_row} steps in a row gave no finite") as answer:
        run_loop(task, sgd(steps=50), tmp_path, make(), "f")
    assert "\n" not in str(answer.value)
    assert max(task.draws) == 1 + in_a_row


def test_a_figure_that_comes_late_is_drawn(tmp_path):
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "late_figure": 3.0}]
    write_curves(tmp_path / "curves.html", history, "A training")
    assert "late figure" in (tmp_path / "curves.html").read_text()
