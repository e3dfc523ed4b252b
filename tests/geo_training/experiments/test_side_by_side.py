"""Stages beside each other: in order where one waits for another, once each, and nothing left behind."""

import multiprocessing
import os
import time

import pytest
import stage_jobs
from geo_training.experiments import side_by_side
from geo_training.experiments.bench import StageCache
from geo_training.experiments.side_by_side import Job, SideBySide, cores_for

from geo_perception.errors import InputError


@pytest.fixture
def stages(tmp_path):
    return StageCache(tmp_path / "work", {"data": "a"})


def chain(tmp_path, seconds=0.0):
    names = {"start 0": None, "start 1": None, "one 0": "start 0", "two 0": "start 0", "one 1": "start 1"}
    return [Job(name, stage_jobs.told, (tmp_path, name, seconds), after) for name, after in names.items()]


def test_in_one_process_stages_follow_each_other(stages, tmp_path, capfd):
    with SideBySide(stages, 1) as beside:
        found = beside.run(chain(tmp_path))
    assert {own["pid"] for own in found.values()} == {os.getpid()}
    assert [own["began_s"] for own in found.values()] == sorted(own["began_s"] for own in found.values())
    assert "start 0 speaks" in capfd.readouterr().out


def test_in_several_each_has_one_thread_and_waits_for_what_it_needs(stages, tmp_path, capfd):
    with SideBySide(stages, 2) as beside:
        found = beside.run(chain(tmp_path, 0.3))
    assert list(found) == ["start 0", "start 1", "one 0", "two 0", "one 1"]
    assert os.getpid() not in {own["pid"] for own in found.values()}
    assert all(tuple(own["threads"]) == (1, 1, "1") for own in found.values())
    for name, after in (("one 0", "start 0"), ("two 0", "start 0"), ("one 1", "start 1")):
        assert found[name]["began_s"] >= found[after]["ended_s"]
    # Two at once: two stages overlap.
    assert (
        found["start 1"]["began_s"] < found["start 0"]["ended_s"]
        or found["two 0"]["began_s"] < found["one 0"]["ended_s"]
    )
    assert all(own["wall_s"] >= 0.3 for own in found.values())
    captured = capfd.readouterr()
    assert "speaks" not in captured.out + captured.err
    assert beside.log.read_text().count("speaks") == 5


def test_what_is_done_is_not_done_again(stages, tmp_path):
    with SideBySide(stages, 2) as beside:
        beside.run(chain(tmp_path)[:3])
    again = StageCache(stages.folder, {"data": "a"})
    with SideBySide(again, 2) as beside:
        found = beside.run(chain(tmp_path))
    assert len(found) == 5
    assert all((tmp_path / f"{name}.txt").read_text() == "done\n" for name in found)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stage_that_refuses_says_why_and_what_was_done_stays(stages, tmp_path, jobs):
    asked = [*chain(tmp_path)[:2], Job("bad", stage_jobs.refused, (), "start 1")]
    with pytest.raises(InputError, match="this data cannot be used"), SideBySide(stages, jobs) as beside:
        beside.run(asked)
    assert stages.done("start 0") is not None
    assert stages.done("bad") is None


def test_a_killed_process_is_told_in_one_line(stages):
    with pytest.raises(InputError, match="'killed' or beside it was killed"), SideBySide(stages, 2) as beside:
        beside.run([Job("killed", stage_jobs.killed)])


def test_an_interruption_ends_the_processes_at_once(stages, tmp_path, monkeypatch):
    def interrupted(running, return_when):
        while not (tmp_path / "pid").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), SideBySide(stages, 2) as beside:
        beside.run([Job("for ever", stage_jobs.for_ever, (tmp_path,))])
    pid, until_s = int((tmp_path / "pid").read_text()), time.monotonic() + 10
    while pid in {child.pid for child in multiprocessing.active_children()} and time.monotonic() < until_s:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_waits_for_nothing_that_comes_is_a_defect(stages, tmp_path):
    with pytest.raises(ValueError, match="one 0"), SideBySide(stages, 1) as beside:
        beside.run([chain(tmp_path)[2]])


def test_a_gpu_has_one_training_at_a_time_and_a_cpu_as_many_as_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2}, raising=False)
    assert (cores_for("cuda"), cores_for("cpu")) == (1, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)
    assert cores_for("cpu") == side_by_side.MOST_JOBS
