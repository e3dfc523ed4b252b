"""The newest frame wins, and nothing waits for ever."""

import sys
import threading
import time

import pytest

from geo_perception.errors import InputError
from geo_perception.ros.mailbox import Mailbox
from geo_perception.ros.worker import Frame, Worker


class TestMailbox:
    def test_the_newest_item_wins_and_the_replacement_is_told(self):
        box = Mailbox()
        assert [box.put(1), box.put(2), box.put(3)] == [False, True, True]
        assert box.take() == 3
        assert box.take(timeout_s=0.01) is None

    def test_closing_wakes_the_reader_and_ignores_later_items(self):
        box, taken = Mailbox(), []
        reader = threading.Thread(target=lambda: taken.append(box.take()))
        reader.start()
        box.close()
        reader.join(2)
        assert taken == [None]
        assert box.put(1) is False
        assert box.take() is None

    def test_clear_forgets_what_was_not_taken(self):
        box = Mailbox()
        box.put(1)
        box.clear()
        assert box.take(timeout_s=0.01) is None
        assert box.put(2) is False


class TestWorker:
    def test_frames_that_come_during_work_replace_each_other(self):
        go, begun, worked = threading.Event(), threading.Event(), []

        def work(frame):
            begun.set()
            go.wait(5)
            worked.append(frame.message)

        worker = Worker(work)
        worker.start()
        worker.put(Frame("first", 0.0, 0))
        assert begun.wait(5)
        replaced = [worker.put(Frame(name, 0.0, 0)) for name in ("second", "third", "fourth")]
        go.set()
        deadline_s = time.monotonic() + 5
        while len(worked) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert worker.stop(5)
        assert replaced == [False, True, True]
        assert worked == ["first", "fourth"]

    def test_work_begins_at_once_though_who_handed_it_over_goes_on_computing(self):
        """A system that is busy with others may wake the worker too late for that: it has ten tries."""
        interval_s, began_s = sys.getswitchinterval(), []
        worker = Worker(lambda frame: began_s.append(time.perf_counter()))
        worker.start()
        delays_s = []
        while len(delays_s) < 10 and min(delays_s, default=1.0) > 0.05:
            time.sleep(0.05)  # the worker waits
            sys.setswitchinterval(10.0)  # who computes is not interrupted
            try:
                worker.put(Frame("one", 0.0, 0))
                handed_s = time.perf_counter()
                while time.perf_counter() - handed_s < 0.1:
                    pass
            finally:
                sys.setswitchinterval(interval_s)
            deadline_s = time.perf_counter() + 10.0
            while len(began_s) == len(delays_s) and time.perf_counter() < deadline_s:
                time.sleep(0.001)
            assert len(began_s) == len(delays_s) + 1
            delays_s.append(began_s[-1] - handed_s)
        assert worker.stop(5)
        assert min(delays_s) < 0.05, delays_s

    def test_work_that_hangs_is_left_behind_and_nothing_starts_beside_it(self):
        hang, begun, worked = threading.Event(), threading.Event(), []

        def work(frame):
            begun.set()
            if frame.message == "hang":
                hang.wait(10)
            worked.append(frame.message)

        worker = Worker(work)
        worker.start()
        worker.put(Frame("hang", 0.0, 0))
        assert begun.wait(5)
        assert not worker.left_behind
        assert worker.stop(0.05) is False
        assert worker.left_behind
        with pytest.raises(InputError, match="still running, and two must not run side by side"):
            worker.start()
        worker.put(Frame("meanwhile", 0.0, 0))
        began_s = time.monotonic()
        assert worker.stop(5)  # stopped before, so it is not waited for again
        assert time.monotonic() - began_s < 1
        hang.set()
        deadline_s = time.monotonic() + 5
        while worker.left_behind and time.monotonic() < deadline_s:
            time.sleep(0.01)
        worker.start()
        begun.clear()
        worker.put(Frame("next", 0.0, 0))
        assert begun.wait(5)
        assert worker.stop(5)
        assert worked == ["hang", "next"]

    def test_stopping_without_a_start_is_nothing(self):
        assert Worker(lambda frame: None).stop(1)
