"""Machines that see nothing of each other's files train together: the first one's processes read and write for all."""

import os
import signal
import time
from pathlib import Path

import pytest
import shared_training
from command_line import invoke
from several_processes import assert_same, own_lines, started_on_machines

SCRIPT = Path(shared_training.__file__)
ANOTHER = "error: another process of the training has ended; run the same command again to go on"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns."""
    out = tmp_path_factory.mktemp("alone") / "n.safetensors"
    assert invoke(shared_training.app, "fit", out).exit_code == 0
    return out


def on_two(folder, *more, second=None):
    """The same command on two machines, each with a folder of its own; `second` are other arguments of the second."""
    commands = []
    for number, arguments in enumerate((more, more if second is None else second)):
        (folder / str(number)).mkdir(exist_ok=True)
        commands.append((SCRIPT, "fit", folder / str(number) / "n.safetensors", *arguments))
    return started_on_machines(*commands)


def ends(processes, within_s=60):
    began_s = time.monotonic()
    answers = [process.communicate(timeout=120) for process in processes]
    assert time.monotonic() - began_s < within_s
    return [(process.returncode, *answer) for process, answer in zip(processes, answers, strict=True)]


@pytest.mark.slow
def test_two_machines_take_the_steps_of_one_process_and_the_first_writes(alone, tmp_path):
    first, second = ends(on_two(tmp_path))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert first[1].splitlines() == ["evaluated by 0"] * 3 + ["saved by 0"]
    assert first[2].splitlines() == [f"{tmp_path / '0' / 'n.safetensors'}: done in 3 looks"]
    assert second[1:] == ("", "")
    assert list((tmp_path / "1").iterdir()) == []
    assert_same(tmp_path / "0" / "n.safetensors", alone)


@pytest.mark.slow
def test_when_a_process_of_one_machine_is_killed_both_end_and_they_go_on_from_what_the_first_has(alone, tmp_path):
    first, second = ends(on_two(tmp_path, "--failing-rank", 1, "--failing-by", "killed"))
    assert first[0] != 0 != second[0]
    assert own_lines(first[2]) == [ANOTHER]
    assert own_lines(second[2]) == []  # there the launcher tells of the signal
    assert {path.name for path in (tmp_path / "0").rglob("*")} >= {"checkpoint.safetensors", "history.jsonl"}
    # What the second machine has of another training does not count.
    (tmp_path / "1" / "n.safetensors.run").mkdir()
    (tmp_path / "1" / "n.safetensors.run" / "checkpoint.safetensors").write_bytes(b"none")
    first, second = ends(on_two(tmp_path))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert first[1].splitlines() == ["evaluated by 0"] * 2 + ["saved by 0"]
    assert_same(tmp_path / "0" / "n.safetensors", alone)


@pytest.mark.slow
def test_an_interruption_of_one_machine_ends_the_other(tmp_path):
    first, second = on_two(tmp_path, "--failing-rank", 1, "--failing-by", "waits")
    while second.stdout.readline() != "waiting\n":
        pass
    os.killpg(second.pid, signal.SIGINT)
    interrupted, other = ends([second, first], within_s=20)
    assert own_lines(interrupted[2]) == ["error: interrupted; run the same command again to go on"]
    assert own_lines(other[2]) == [ANOTHER]


@pytest.mark.slow
@pytest.mark.parametrize("refused", [0, 1])
def test_what_one_machine_is_refused_with_before_they_have_met_ends_both(tmp_path, refused):
    usual, wrong = (), ("--batch", "none")
    processes = on_two(tmp_path, *(usual if refused else wrong), second=wrong if refused else usual)
    answers = ends(processes)
    assert all(code for code, _, _ in answers)
    assert "Invalid value for '--batch'" in answers[refused][2]
    assert answers[1 - refused][2].splitlines().count(ANOTHER) == 1  # torch itself may say that the store has gone
    assert not list(tmp_path.rglob("*.run"))


@pytest.mark.slow
def test_an_output_that_stands_on_the_first_machine_is_refused_for_all_and_one_on_another_is_not_looked_at(tmp_path):
    for number in (0, 1):
        (tmp_path / str(number)).mkdir()
    (tmp_path / "1" / "n.safetensors").write_text("kept")
    assert [code for code, _, _ in ends(on_two(tmp_path))] == [0, 0]
    assert (tmp_path / "1" / "n.safetensors").read_text() == "kept"
    first, second = ends(on_two(tmp_path))
    (line,) = own_lines(first[2])
    assert "exists; pass --overwrite" in line
    assert own_lines(second[2]) == [ANOTHER]


@pytest.mark.slow
def test_other_data_on_another_machine_are_answered_before_anything_is_learned(tmp_path):
    answers = ends(on_two(tmp_path, second=("--data", "other")))
    line = (
        "error: process 1 is on a machine with another config, other data or other starting weights than the first "
        "one's; give all machines the same"
    )
    assert [own_lines(stderr) for _, _, stderr in answers] == [[line], [line]]
    assert not list(tmp_path.rglob("*.run"))
