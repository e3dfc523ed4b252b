"""One run for every capability: its folder, resuming, and what it refuses, with a task of one weight."""

import json

import pytest
import torch
import yaml
from geo_training.config import Strict
from geo_training.engine.run import FitResult, check_training_output, finite, run_fit

from geo_perception.errors import InputError


class LineConfig(Strict):
    steps: int = 4
    learning_rate: float = 0.1
    evaluations: int = 4
    rate: float = 2.0  # the task's own
    device: str = "cpu"


class LineTask:
    """Fits y = rate x, and is interrupted after some steps."""

    def __init__(self, config: LineConfig, stop_after: int = 100):
        self.config, self.stop_after, self.prepared = config, stop_after, []
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.loss_weights = {"squared": 1.0}
        self.fingerprint = json.dumps(config.to_json())

    def prepare(self, epoch):
        self.prepared.append(epoch)

    def batches(self, epoch, first=0):
        for _ in range(first, 2):
            yield torch.ones(4, 1)

    def losses(self, network, batch):
        if self.stop_after == 0:
            raise KeyboardInterrupt
        self.stop_after -= 1
        return {"squared": ((network(batch) - self.config.rate * batch) ** 2).mean()}

    def evaluate(self, network):
        return {"weight": float(network.weight)}

    def save(self, out, result):
        out.write_bytes(b"weights")
        return {"train_s": result.seconds, "lost": float("nan")}


def fit(out, task, **options) -> FitResult:
    return run_fit(task.config, out, lambda run_dir, device, accelerator: task, **options)


@pytest.mark.parametrize(("name", "read"), [("config.yaml", yaml.safe_load), ("config.json", json.loads)])
def test_the_run_keeps_config_history_and_curves_beside_the_file(tmp_path, name, read):
    out = tmp_path / "line.safetensors"
    result = fit(out, task := LineTask(LineConfig(steps=3)), config_name=name)
    assert (result.path, result.run_dir, result.beside) == (out, tmp_path / "line.safetensors.run", ())
    assert out.read_bytes() == b"weights"
    assert {path.name for path in result.run_dir.iterdir()} == {name, "history.jsonl", "curves.html"}
    assert LineConfig.model_validate(read((result.run_dir / name).read_text())) == task.config
    assert [record["step"] for record in result.history][-1] == 3
    assert task.prepared == [0]


def test_an_interrupted_run_is_resumed_in_its_epoch_and_only_by_the_same_training(tmp_path):
    out = tmp_path / "line.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(out, LineTask(LineConfig(), stop_after=3))
    with pytest.raises(InputError, match="another config, other data or other starting weights"):
        fit(out, other := LineTask(LineConfig(rate=3.0)))
    assert other.prepared == []
    result = fit(out, task := LineTask(LineConfig()))
    assert task.prepared == [1]  # two batches make an epoch
    assert [record["step"] for record in result.history] == [1, 2, 3, 4]


def test_files_that_are_there_are_refused_before_the_task_is_made(tmp_path):
    beside = tmp_path / "other.safetensors"
    beside.write_bytes(b"there")
    with pytest.raises(InputError, match=r"other\.safetensors exists; pass --overwrite"):
        run_fit(LineConfig(), tmp_path / "line.safetensors", lambda *_: pytest.fail("made"), beside=(beside,))
    assert check_training_output(tmp_path / "line.safetensors", True, (beside,)) == tmp_path / "line.safetensors.run"
    (tmp_path / "line.safetensors.run").write_text("")
    with pytest.raises(InputError, match="is a file where the run's folder would be"):
        check_training_output(tmp_path / "line.safetensors", True)


def test_a_header_holds_finite_numbers_only():
    assert finite({"a": 1.0, "b": float("nan"), "c": float("inf")}) == {"a": 1.0}
