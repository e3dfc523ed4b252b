"""Nodes of a process compute one after the other, each as often as the others; one that hangs holds none up."""

import threading
import time

import pytest

from geo_perception.ros import cores, turns
from geo_perception.ros.turns import Turns


class Line:
    """Threads that want their turn, and the order in which they got it."""

    def __init__(self, at_once: int = 1):
        self.turns, self.order, self.threads = Turns(at_once), [], []
        self.most, self._now, self._lock = 0, 0, threading.Lock()

    def want(self, name: str, turn, work=lambda: None) -> None:
        def run() -> None:
            turn.take()
            with self._lock:
                self.order.append(name)
                self._now += 1
                self.most = max(self.most, self._now)
            work()
            with self._lock:
                self._now -= 1
            turn.end()

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()
        deadline_s = time.monotonic() + 2
        while turn not in self.turns._waiting and name not in self.order and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def finish(self) -> list[str]:
        for thread in self.threads:
            thread.join(10)
        return self.order


def test_of_those_that_wait_the_lowest_rank_goes_first_and_nobody_twice_before_the_others():
    line, go_on = Line(), threading.Event()
    localization, calibration, depth = (line.turns.join(rank) for rank in range(3))
    line.want("localization", localization, lambda: go_on.wait(5))
    line.want("depth", depth)
    line.want("calibration", calibration)
    again = line.turns.join(0)
    again.served = 1  # the localization's next image, served a moment ago
    line.want("localization again", again)
    go_on.set()
    assert line.finish() == ["localization", "calibration", "depth", "localization again"]
    assert line.most == 1


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_compute_at_once_than_may(at_once):
    line = Line(at_once)
    for index in range(6):
        line.want(str(index), line.turns.join(0), lambda: time.sleep(0.02))
    assert len(line.finish()) == 6
    assert line.most == at_once


def test_one_that_waits_in_the_middle_of_an_image_lets_others_go_and_goes_on_before_them():
    line, told, go_on = Line(), [], threading.Event()
    depth = line.turns.join(2)

    def work() -> None:
        with depth.paused():
            go_on.wait(5)
        told.append(list(line.order))

    line.want("depth", depth, work)
    hold = threading.Event()
    line.want("localization", line.turns.join(0), lambda: hold.wait(5))  # while depth waits for its pose
    line.want("calibration", line.turns.join(1))
    go_on.set()
    deadline_s = time.monotonic() + 2
    while depth not in line.turns._waiting and time.monotonic() < deadline_s:
        time.sleep(0.001)
    hold.set()
    line.finish()
    assert told == [["depth", "localization"]]  # and not calibration, which had waited


def test_an_inference_that_hangs_holds_the_others_up_for_a_while_only(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE_S", 0.2)
    line, go_on = Line(), threading.Event()
    line.want("hangs", line.turns.join(0), lambda: go_on.wait(10))
    began_s = time.monotonic()
    line.want("other", line.turns.join(1))
    line.threads[-1].join(5)
    assert line.order == ["hangs", "other"]
    assert 0.1 < time.monotonic() - began_s < 2
    go_on.set()
    line.finish()


class TestCores:
    @pytest.mark.parametrize(
        ("quota", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64)]
    )
    def test_a_container_has_what_its_quota_gives(self, tmp_path, monkeypatch, quota, expected):
        monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
        (tmp_path / "cpu.max").write_text(quota)
        assert cores.available_cores(tmp_path / "cpu.max") == expected

    @pytest.mark.parametrize(
        ("nodes", "count", "at_once"), [(3, 2, 1), (3, 4, 1), (3, 8, 2), (3, 12, 3), (3, 64, 3), (1, 64, 1)]
    )
    def test_as_many_compute_at_once_as_have_cores_enough(self, nodes, count, at_once):
        assert cores.inferences_at_once(nodes, count) == at_once

    def test_the_libraries_are_told_once_and_what_was_given_holds(self, monkeypatch):
        names = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"
        told = []
        monkeypatch.setattr(cores, "available_cores", lambda: 8)
        monkeypatch.setitem(cores.sys.modules, "cv2", type("cv2", (), {"setNumThreads": told.append}))
        monkeypatch.setitem(cores.sys.modules, "torch", type("torch", (), {"set_num_threads": told.append}))
        for name in names:
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        assert cores.share_cores(3) == 4
        assert [cores.os.environ[name] for name in names] == ["4", "4", "1"]
        assert told == [4, 4]
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert cores.share_cores(3) == 2
        assert told[2:] == [2, 2]
