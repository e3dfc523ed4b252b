"""The training loop: it learns, and an interrupted run ends where an uninterrupted one does."""

import copy
import json
import resource
from types import SimpleNamespace

import pytest
import torch
from geo_training.engine.checkpoint import NAME
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop
from geo_training.storage import output_file

from geo_perception.errors import InputError

CPU = torch.device("cpu")


class LineTask:
    """Fits y = 3 x + 1, with dropout, so that the order of random draws matters."""

    def __init__(self, stop_after: int | None = None):
        self.loss_weights = {"squared": 1.0}
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.stop_after, self.seen, self.made = stop_after, 0, []

    def batches(self, epoch, first=0):
        for number in range(first, 7):
            self.made.append((epoch, number))
            yield torch.rand(16, 1, generator=torch.Generator().manual_seed(7 * epoch + number))

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
    assert set(history[0]) == {"step", "seconds", "skipped_steps", "loss", "squared", "only_logged", "weight"}
    assert history[0]["skipped_steps"] == 0
    assert history[0]["only_logged"] == pytest.approx(5.0)
    assert history[0]["loss"] == pytest.approx(history[0]["squared"])


def test_a_network_of_use_before_the_first_step_begins_the_history(tmp_path):
    task = LineTask()
    task.start = torch.nn.Linear(1, 1).requires_grad_(False)
    task.start.weight.fill_(7.0)
    history = run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f").history
    assert history[0] == {"step": 0, "seconds": 0.0, "skipped_steps": 0, "weight": 7.0}
    assert [record["step"] for record in history] == [0, 20, 40, 60]
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0]) == history[0]


def test_a_resumed_history_begins_once(tmp_path):
    for stop_after in (33, None):
        task = LineTask(stop_after)
        task.start = copy.deepcopy(task.network).requires_grad_(False)
        if stop_after is None:
            history = run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f").history
        else:
            with pytest.raises(KeyboardInterrupt):
                run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert [record["step"] for record in history] == [0, 20, 40, 60]


def test_no_steps_leave_the_network_as_it_is(tmp_path):
    task = LineTask()
    task.start = copy.deepcopy(task.network).requires_grad_(False)
    weight = float(task.start.weight)
    result = run_loop(task, LoopConfig(steps=0, learning_rate=0.1), tmp_path, make_accelerator(CPU), "f")
    assert float(result.network.weight) == weight
    assert result.history == [{"step": 0, "seconds": 0.0, "skipped_steps": 0, "weight": weight}]
    assert task.made == []


def interrupted(folder, fingerprint="f"):
    with pytest.raises(KeyboardInterrupt):
        run_loop(LineTask(stop_after=33), CONFIG, folder, make_accelerator(CPU), fingerprint)


def test_an_interrupted_run_goes_on_to_the_same_weights_without_the_batches_before(tmp_path):
    whole = run_loop(LineTask(), CONFIG, tmp_path / "whole", make_accelerator(CPU), "f")
    interrupted(tmp_path / "cut")
    task = LineTask()
    resumed = run_loop(task, CONFIG, tmp_path / "cut", make_accelerator(CPU), "f")
    assert task.seen == 40  # it went on at step 20, the last checkpoint
    assert task.made[0] == (2, 6)  # 20 = 2 epochs of 7, and 6
    assert len(task.made) == 40
    for kept, expected in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(kept, expected)
    assert [record["step"] for record in resumed.history] == [20, 40, 60]
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in whole.history]


def test_a_run_that_was_cut_after_its_last_step_learns_no_more(tmp_path):
    whole = run_loop(LineTask(), CONFIG, tmp_path, make_accelerator(CPU), "f")
    task = LineTask()
    again = run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert (task.seen, task.made) == (0, [])
    assert torch.equal(again.network.weight, whole.network.weight)


def test_a_checkpoint_of_another_training_is_refused_and_kept(tmp_path):
    interrupted(tmp_path, "one")
    kept = (tmp_path / NAME).read_bytes()
    task = LineTask()
    with pytest.raises(InputError, match=r"another config, other data .* \(at step 20\).*--overwrite"):
        run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "another")
    assert (task.seen, (tmp_path / NAME).read_bytes()) == (0, kept)
    run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "another", overwrite=True)
    assert task.seen == 60


@pytest.mark.parametrize("damage", ["cut", "one bit", "empty", "of another kind"])
def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path, damage):
    interrupted(tmp_path)
    path = tmp_path / NAME
    data = bytearray(path.read_bytes())
    if damage == "one bit":
        data[-1] ^= 1
    data = {"cut": data[: len(data) // 2], "empty": b"", "of another kind": b"half a file"}.get(damage, data)
    path.write_bytes(data)
    task = LineTask()
    with pytest.raises(InputError, match=r"is damaged.*pass --overwrite to begin anew"):
        run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert (task.seen, path.read_bytes()) == (0, bytes(data))
    run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f", overwrite=True)
    assert task.seen == 60


class LargeTask(LineTask):
    """With a checkpoint of 8 MB."""

    def __init__(self, stop_after=None):
        super().__init__(stop_after)
        self.network.register_buffer("large", torch.zeros(1_000_000))


def test_a_full_disk_ends_a_training_with_one_line_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_loop(LargeTask(stop_after=33), CONFIG, tmp_path, make_accelerator(CPU), "f")
    kept = (tmp_path / NAME).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) - 100, limits[1]))  # the history fits, a checkpoint does not
    try:
        with pytest.raises(InputError, match=r"checkpoint\.safetensors cannot be written .*make room"):
            run_loop(LargeTask(), CONFIG, tmp_path, make_accelerator(CPU), "f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / NAME).read_bytes() == kept
    assert {path.name for path in tmp_path.iterdir()} == {NAME, "history.jsonl"}
    task = LargeTask()
    run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert task.seen == 40


def test_a_disk_without_room_for_the_checkpoints_is_refused_at_the_start(tmp_path, monkeypatch):
    # A line of 2 float32 weights: its average and two moments beside it, twice.
    monkeypatch.setattr(output_file.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 4 * 4 * 2 - 1))
    task = LineTask()
    with pytest.raises(InputError, match="make room"):
        run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert task.made == []
    monkeypatch.setattr(output_file.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 4 * 4 * 2))
    assert run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f").history


def test_a_training_without_batches_is_refused(tmp_path):
    task = LineTask()
    task.batches = lambda epoch: iter(())
    with pytest.raises(InputError, match="nothing to learn from"):
        run_loop(task, CONFIG, tmp_path, make_accelerator(CPU), "f")
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cuda", 1, "2 processes cannot share 1 GPUs; start one for each, or give --device cpu"),
        ("cuda:1", 2, "several processes cannot share cuda:1; give --device cuda, each takes one of its own"),
    ],
)
def test_processes_that_have_no_gpu_of_their_own_are_refused(monkeypatch, device, gpus, message):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(InputError, match=message):
        make_accelerator(torch.device(device))


def test_the_environment_does_not_make_the_loop_divide_its_loss(tmp_path, monkeypatch):
    # What `accelerate launch --gradient_accumulation_steps 4` sets.
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert make_accelerator(CPU).gradient_accumulation_steps == 1
