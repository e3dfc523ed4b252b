"""The training loop: it learns, and an interrupted run ends where an uninterrupted one does."""

import json

import pytest
import torch
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop

CPU = torch.device("cpu")


class LineTask:
    """Fits y = 3 x + 1, with dropout, so that the order of random draws matters."""

    def __init__(self, stop_after: int | None = None):
        self.loss_weights = {"squared": 1.0}
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.stop_after, self.seen = stop_after, 0

    def batches(self, epoch):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(7):
            yield torch.rand(16, 1, generator=generator)

    def losses(self, network, batch):
        self.seen += 1
        if self.stop_after is not None and self.seen > self.stop_after:
            raise KeyboardInterrupt
        x = torch.nn.functional.dropout(batch, 0.1) * 0.9
        return {"squared": ((network(x) - (3 * x + 1)) ** 2).mean(), "only_logged": torch.tensor(5.0)}

    def evaluate(self, network):
        return {"weight": float(network.weight)}


CONFIG = LoopConfig(steps=60, learning_rate=0.1, weight_decay=0.0, ema=0.9, evaluations=3, seed=1)


def test_it_learns_the_line(tmp_path):
    config = LoopConfig(steps=300, learning_rate=0.1, weight_decay=0.0, ema=0.9, evaluations=3)
    result = run_loop(LineTask(), config, tmp_path, make_accelerator(CPU), "f")
    assert float(result.network.weight) == pytest.approx(3.0, abs=0.2)
    assert float(result.network.bias) == pytest.approx(1.0, abs=0.1)


def test_the_history_holds_every_term_and_figure(tmp_path):
    run_loop(LineTask(), CONFIG, tmp_path, make_accelerator(CPU), "f")
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == [20, 40, 60]
    assert set(history[0]) == {"step", "seconds", "loss", "squared", "only_logged", "weight"}
    assert history[0]["only_logged"] == pytest.approx(5.0)
    assert history[0]["loss"] == pytest.approx(history[0]["squared"])


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    whole = run_loop(LineTask(), CONFIG, tmp_path / "whole", make_accelerator(CPU), "f")
    with pytest.raises(KeyboardInterrupt):
        run_loop(LineTask(stop_after=33), CONFIG, tmp_path / "cut", make_accelerator(CPU), "f")
    task = LineTask()
    resumed = run_loop(task, CONFIG, tmp_path / "cut", make_accelerator(CPU), "f")
    assert task.seen == 40  # it went on at step 20, the last checkpoint
    assert float(resumed.network.weight) == pytest.approx(float(whole.network.weight), abs=1e-6)
    assert [record["step"] for record in resumed.history] == [20, 40, 60]


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_loop(LineTask(stop_after=33), CONFIG, tmp_path, make_accelerator(CPU), "one")
    task = LineTask()
    run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "another")
    assert task.seen == 60


def test_a_damaged_checkpoint_is_not_taken(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    task = LineTask()
    run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert task.seen == 60
