"""What an optimizer remembers outlives its training, by the names of the parameters; and the stepped schedule."""

import pytest
import torch
from geo_training.engine.checkpoint import load_state, moments_of, restore_moments, save_state
from geo_training.engine.loop import LoopConfig, make_accelerator, run_loop
from geo_training.engine.schedule import schedule_factor
from torch import nn

CPU = torch.device("cpu")


class Line:
    """Fits y = 3 x + 1."""

    loss_weights = {"squared": 1.0}  # noqa: RUF012 - a plain test task

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)

    def batches(self, epoch):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(7):
            yield torch.rand(16, 1, generator=generator)

    def losses(self, network, batch):
        return {"squared": ((network(batch) - (3 * batch + 1)) ** 2).mean()}

    def evaluate(self, network):
        return {}


def trained(network: nn.Module) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.ones(4, 2)).sum().backward()
        optimizer.step()
    return optimizer


def test_moments_have_the_names_of_their_parameters():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    moments = moments_of(network, trained(network))
    assert set(moments) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert set(moments["0.weight"]) == {"step", "exp_avg", "exp_avg_sq"}
    assert moments["0.weight"]["exp_avg"].shape == (3, 2)
    assert float(moments["0.weight"]["step"]) == 3


def test_a_state_file_gives_weights_and_moments_back(tmp_path):
    network = nn.Sequential(nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, 2, 5, 5)).square().sum().backward()
    optimizer.step()
    moments = moments_of(network, optimizer)
    save_state(tmp_path / "state.safetensors", network, moments)
    weights, read = load_state(tmp_path / "state.safetensors")
    assert not (tmp_path / "state.safetensors.partial").exists()
    assert set(weights) == set(network.state_dict())
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert set(read) == set(moments)
    assert all(torch.equal(read[name][key], value) for name, state in moments.items() for key, value in state.items())


@pytest.mark.parametrize("content", [None, b"", b"half a file"])
def test_what_is_not_a_state_file_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "state").write_bytes(content)
    assert load_state(tmp_path / "state") is None


def test_moments_go_to_parameters_of_the_same_name_and_shape_only():
    old = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    moments = moments_of(old, trained(old))
    new = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1))  # the second is wider, the third new
    optimizer = torch.optim.AdamW(new.parameters())
    restore_moments(new, optimizer, moments)
    assert set(moments_of(new, optimizer)) == {"0.weight", "0.bias"}
    assert torch.equal(optimizer.state[new[0].weight]["exp_avg"], moments["0.weight"]["exp_avg"])
    optimizer.state[new[0].weight]["exp_avg"].zero_()
    assert moments["0.weight"]["exp_avg"].any()  # a copy


def test_parameters_that_are_not_trained_get_none():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    moments = moments_of(network, trained(network))
    optimizer = torch.optim.AdamW(network[1].parameters())
    restore_moments(network, optimizer, moments)
    assert set(moments_of(network, optimizer)) == {"1.weight", "1.bias"}


def test_a_training_that_goes_on_with_its_moments_is_one_long_training(tmp_path):
    options = {"learning_rate": 0.05, "weight_decay": 0.0, "warm_up": 0.0, "schedule": "constant", "evaluations": 1}
    whole = run_loop(Line(), LoopConfig(14, **options), tmp_path / "whole", make_accelerator(CPU), "f")
    first = run_loop(Line(), LoopConfig(7, **options), tmp_path / "first", make_accelerator(CPU), "f")
    weights = {}
    for name, moments in (("with", first.moments), ("without", None)):
        task = Line()
        task.network.load_state_dict(first.network.state_dict())
        batches = task.batches
        task.batches = lambda epoch, batches=batches: batches(epoch + 1)
        second = run_loop(task, LoopConfig(7, **options), tmp_path / name, make_accelerator(CPU), "f", moments)
        weights[name] = float(second.network.weight)
    assert weights["with"] == pytest.approx(float(whole.network.weight), abs=1e-6)
    assert abs(weights["without"] - weights["with"]) > 1e-3
    assert float(second.moments["weight"]["step"]) == 7


def test_the_stepped_schedule_has_a_tenth_of_the_rate_in_the_last_quarter():
    assert [schedule_factor("step", share, 0.0) for share in (0.0, 0.5, 0.749, 0.75, 0.99)] == [1, 1, 1, 0.1, 0.1]
    assert schedule_factor("step", 0.05, 0.1) == pytest.approx(0.051 / 0.101)
