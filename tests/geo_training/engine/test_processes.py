"""Several processes take the steps of one, of which one writes; and when one fails, all end."""

import os
import signal
import time
from pathlib import Path

import pytest
import shared_training
from command_line import invoke
from several_processes import assert_same, own_lines, started

SCRIPT = Path(shared_training.__file__)


def fit_alone(out):
    answer = invoke(shared_training.app, "fit", out)
    assert answer.exit_code == 0, answer.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns."""
    out = tmp_path_factory.mktemp("alone") / "n.safetensors"
    fit_alone(out)
    return out


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_one_writes(alone, tmp_path):
    out = tmp_path / "n.safetensors"
    process = started(SCRIPT, "fit", out, processes=2)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stdout.splitlines() == ["evaluated by 0"] * 3 + ["saved by 0"]
    assert stderr.splitlines() == [f"{out}: done in 3 looks"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "config.yaml", "curves.html", "history.jsonl", "n.safetensors", "n.safetensors.run",
    ]  # fmt: skip
    assert_same(out, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("input", "error: its disk is full; make room"),
        ("killed", "error: another process of the training has ended; run the same command again to go on"),
    ],
)
def test_when_one_process_fails_all_end_within_seconds_by_one_line(tmp_path, how, line):
    out = tmp_path / "n.safetensors"
    process = started(SCRIPT, "fit", out, "--failing-rank", 1, "--failing-by", how, processes=2)
    assert process.stdout.readline() == "evaluated by 0\n"  # after three steps of nine
    began_s = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - began_s < 20
    assert process.returncode != 0
    assert own_lines(stderr) == [line]
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "checkpoint.safetensors", "config.yaml", "history.jsonl", "n.safetensors.run",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_training_of_two_processes_goes_on_in_one(alone, tmp_path):
    out = tmp_path / "n.safetensors"
    process = started(SCRIPT, "fit", out, "--failing-rank", 0, "--failing-by", "waits", processes=2)
    while process.stdout.readline() != "waiting\n":
        pass
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the launcher and both processes
    began_s = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - began_s < 20
    assert own_lines(stderr) == ["error: interrupted; run the same command again to go on"]
    fit_alone(out)
    assert_same(out, alone)


@pytest.mark.slow
def test_what_all_processes_refuse_is_said_once_and_leaves_nothing(tmp_path):
    process = started(SCRIPT, "fit", tmp_path / "n.safetensors", "--batch", 5, processes=2)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    assert own_lines(stderr) == ["error: a batch of 5 cannot be shared evenly by 2 processes; give a multiple of 2"]
    assert list(tmp_path.iterdir()) == []
