"""How the nodes of one process share its time, over real DDS: loading, turns, old frames, and a budget."""

import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from node_pair import OTHER, NodePair, answered
from rclpy.lifecycle import TransitionCallbackReturn

from geo_perception.errors import InputError
from geo_perception.ros.health import gpu_memory
from geo_perception.runtime.memory import give_memory_back


@pytest.fixture
def pair() -> Iterator[NodePair]:
    with NodePair() as pair:
        yield pair


class TestLoading:
    def test_diagnostics_do_not_ask_a_torch_that_is_still_being_imported(self, monkeypatch):
        torch = ModuleType("torch")
        torch.__spec__ = ModuleSpec("torch", None)
        torch.__spec__._initializing = True
        monkeypatch.setitem(sys.modules, "torch", torch)
        assert gpu_memory() == {}
        give_memory_back()

    def test_nodes_that_start_by_themselves_load_beside_each_other_and_answer_meanwhile(self):
        with NodePair(autostart=True) as pair:
            together, states = threading.Barrier(3), []
            for slow in (pair.hosted, pair.other):
                slow.prepare_hook = lambda: together.wait(20)
            assert pair.spin_until(lambda: together.n_waiting == 2)  # neither could end without the other
            states = [pair.state(), pair.hosted.configuring]
            together.wait(20)
            assert pair.spin_until(lambda: pair.hosted.state == pair.other.state == "active")
            assert states == ["unconfigured", True]
            assert not pair.hosted.configuring

    def test_one_that_cannot_load_says_so_and_the_other_works(self):
        def fail() -> None:
            raise InputError("no scene is given; set the parameter scene to a scene file")

        with NodePair(autostart=True) as pair:
            pair.other.prepare_hook = fail
            assert pair.spin_until(lambda: pair.hosted.state == "active" and bool(pair.other.failure))
            assert pair.other.failure == "cannot configure: no scene is given; set the parameter scene to a scene file"
            pair.other.prepare_hook = None  # mended
            assert pair.other.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_nodes_compute_one_after_the_other(pair):
    """Both take 50 ms: where two may not compute at once, 10 images each take a second."""
    at_work, most = [], []
    for slow in (pair.hosted, pair.other):

        def compute(image_hw3, camera, frame, answer=slow.compute) -> float:
            at_work.append(1)
            most.append(len(at_work))
            try:
                return answer(image_hw3, camera, frame)
            finally:
                at_work.pop()

        slow.compute, slow.work_s = compute, 0.05
    pair.start_both()
    shares = {id(slow.pace._share) for slow in (pair.hosted, pair.other)}
    assert len(shares) == 1
    at_once = pair.hosted.pace._share.turns._at_once

    def both_answered() -> bool:
        pair.show()
        pair.spin_for(0.04)
        return min(len(pair.hosted.published), len(pair.other.published)) > 5

    assert pair.spin_until(both_answered, 15)
    assert max(most) <= at_once
    counts = len(pair.hosted.published), len(pair.other.published)
    assert abs(counts[0] - counts[1]) <= 3  # each as often as the other


def test_a_frame_that_grew_old_waiting_for_its_turn_is_left_out(pair):
    pair.start_both()
    pair.hosted.pace._share.turns._at_once = 1
    assert pair.is_answered(pair.show(), pair.hosted, pair.other)
    for _ in range(5):  # at 20 Hz
        assert pair.is_answered(pair.show(), pair.hosted, pair.other)
        pair.spin_for(0.05)
    pair.hosted.go_on.clear()
    pair.hosted.begun.clear()
    late = pair.show()
    assert pair.spin_until(pair.hosted.begun.is_set)
    before = answered(pair.other)
    pair.spin_for(1.5)
    pair.hosted.go_on.set()
    pair.name = OTHER
    if late not in before:
        assert pair.wait_for(lambda values: values["left out as too old"] == "1")["level"] == 2  # no images come
        assert late not in answered(pair.other)
    assert pair.is_answered(pair.show(), pair.hosted, pair.other)


def test_the_node_of_the_highest_rank_gives_way_and_the_diagnostics_say_for_whom(pair):
    pair.hosted.rank, pair.other.rank = 0, 2
    pair.other.work_s = 0.4  # so that an image waits for up to 0.2 s, when the next replaces it
    pair.start_both()
    pair.hosted.pace._share.turns._at_once = 1
    assert pair.set("latency_budget_s", 0.1).successful

    def gave_way() -> bool:
        pair.show()
        pair.spin_for(0.2)
        values = pair.values(OTHER)
        return values["message"].startswith("works at") and values["left out for a latency budget"] != "0"

    assert pair.spin_until(gave_way, 40), pair.values(OTHER)
    values = pair.values(OTHER)
    assert values["level"] == 1
    assert "Hz for the slow_node's latency budget of 100 ms" in values["gave way"]
    assert pair.hosted.pace.gave_way == ""
    assert pair.set("latency_budget_s", 0.0).successful

    def free_again() -> bool:
        pair.show()
        pair.spin_for(0.2)
        return pair.values(OTHER).get("gave way") == "no"

    assert pair.spin_until(free_again, 10)
