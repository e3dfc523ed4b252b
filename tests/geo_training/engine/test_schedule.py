"""Optimizers, schedules and rates of the training loop."""

import math

import pytest
import torch
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop
from geo_training.engine.schedule import Plateau, schedule_factor

from geo_perception.errors import InputError

CPU = torch.device("cpu")


class SumTask:
    """The loss is the sum of two weights: each gradient is exactly 1, so that weights tell the learning rates."""

    def __init__(self, stop_after=None):
        self.network = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.zeros_(self.network.weight)
        self.loss_weights = {"sum": 1.0}
        self.stop_after, self.seen = stop_after, 0

    def batches(self, epoch, first=0):
        yield from (torch.ones(1, 2) for _ in range(first, 4))

    def losses(self, network, batch):
        self.seen += 1
        if self.stop_after is not None and self.seen > self.stop_after:
            raise KeyboardInterrupt
        return {"sum": network(batch).sum()}

    def evaluate(self, network):
        return {"figure": 1.0}


class TwoRates(SumTask):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False))
        for layer in self.network:
            torch.nn.init.zeros_(layer.weight)

    def losses(self, network, batch):
        return {"sum": network[0].weight.sum() + network[1].weight.sum()}

    def parameter_groups(self, network):
        return [(network[0].parameters(), 0.1), (network[1].parameters(), 1.0)]


def sgd(**changes):
    options = {"steps": 8, "learning_rate": 0.5, "weight_decay": 0.0, "warm_up": 0.0, "gradient_norm": math.inf,
               "optimizer": "sgd", "schedule": "constant", "evaluate_every": 1}  # fmt: skip
    return LoopConfig(**(options | changes))


def weight_after(task, config, run_dir):
    return float(run_loop(task, config, run_dir, make_accelerator(CPU), "f").network.weight[0, 0])


def test_sgd_without_momentum_moves_by_rate_times_gradient(tmp_path):
    assert weight_after(SumTask(), sgd(steps=3), tmp_path) == pytest.approx(-1.5)


def test_sgd_with_momentum_adds_the_last_move(tmp_path):
    # Moves 0.5 x (1, then 1 + 0.5, then 1 + 0.5 x 1.5).
    assert weight_after(SumTask(), sgd(steps=3, momentum=0.5), tmp_path) == pytest.approx(-0.5 * (1 + 1.5 + 1.75))


def test_a_rate_that_meets_a_plateau_falls_by_the_factor(tmp_path):
    # The figure never falls: best at the 1st evaluation, borne at the 2nd and 3rd, the rate falls at the 4th, 7th, ...
    config = sgd(steps=8, schedule="plateau", watched="figure")
    assert weight_after(SumTask(), config, tmp_path) == pytest.approx(-(4 * 0.5 + 3 * 0.05 + 1 * 0.005))


def test_a_resumed_run_keeps_the_plateau_it_was_on(tmp_path):
    config = sgd(steps=8, schedule="plateau", watched="figure", momentum=0.5)
    whole = weight_after(SumTask(), config, tmp_path / "whole")
    for stop_after in (3, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            weight_after(SumTask(stop_after=stop_after), config, tmp_path / "cut")
    task = SumTask()
    assert weight_after(task, config, tmp_path / "cut") == pytest.approx(whole, rel=1e-6)
    assert task.seen == 2  # six steps were done before


def test_plateau_lowers_the_rate_where_torch_does():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2)
    ours = Plateau(0.1, 2)
    scales = []
    for figure in (1.0, 0.9, 0.95, 0.89995, math.nan, 0.8, 0.81, 0.82, 0.79, 0.79, 0.79, 0.79):
        theirs.step(figure)
        ours.step(figure)
        scales.append(ours.scale)
        assert ours.scale == pytest.approx(optimizer.param_groups[0]["lr"])
    # By hand: 0.95, 0.89995 (less than 1e-4 better) and nan are three without improvement; then 0.79 three times.
    assert scales == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01])


def test_a_plateau_that_has_seen_nothing_survives_json():
    plateau = Plateau(0.1, 2)
    plateau.restore(Plateau(0.1, 2).state())
    assert (plateau.scale, plateau.best, plateau.stale) == (1.0, math.inf, 0)


def test_a_figure_that_is_not_measured_cannot_be_watched(tmp_path):
    with pytest.raises(InputError, match="watches 'loss_of_nothing'"):
        weight_after(SumTask(), sgd(schedule="plateau", watched="loss_of_nothing"), tmp_path)


def test_parameter_groups_learn_at_their_own_rates(tmp_path):
    network = run_loop(TwoRates(), sgd(steps=2), tmp_path, make_accelerator(CPU), "f").network
    assert float(network[0].weight) == pytest.approx(-0.1)
    assert float(network[1].weight) == pytest.approx(-1.0)


def test_the_schedules_by_hand():
    assert schedule_factor("cosine", 0.0, 0.5) == pytest.approx(0.001 / 0.501)
    assert schedule_factor("cosine", 0.5, 0.5) == 1.0
    assert schedule_factor("cosine", 0.75, 0.5) == pytest.approx(0.5)
    assert schedule_factor("constant", 0.25, 0.5) == pytest.approx(0.251 / 0.501)
    assert [schedule_factor("halving", share, 0.0) for share in (0.0, 0.199, 0.2, 0.6, 0.8, 1.0)] == [
        1.0, 1.0, 0.5, 0.125, 0.0625, 0.0625,
    ]  # fmt: skip
    assert schedule_factor("constant", 0.9, 0.5) == 1.0
    assert schedule_factor("plateau", 0.0, 0.0) == 1.0


@pytest.mark.parametrize(("changes", "steps"), [({"evaluate_every": 3}, [3, 6, 8]), ({"evaluations": 2}, [4, 8])])
def test_it_evaluates_each_epoch_or_evenly(tmp_path, changes, steps):
    config = sgd(**({"evaluate_every": 0} | changes))
    history = run_loop(SumTask(), config, tmp_path, make_accelerator(CPU), "f").history
    assert [record["step"] for record in history] == steps


@pytest.mark.parametrize("half", [False, True])
def test_trainings_of_one_process_may_differ_in_precision(tmp_path, half):
    make_accelerator(CPU, not half)
    assert run_loop(SumTask(), sgd(steps=1), tmp_path, make_accelerator(CPU, half), "f").history
