"""Who works more slowly when results come too late, and in which order. Latencies are made up, time is counted."""

import pytest

from geo_perception.ros.latency_budget import ENOUGH_RESULTS, PAUSE_S, LatencyBudget

RATE_HZ = 8.0


class Robot:
    """Three nodes with a budget for the localization, and a clock."""

    def __init__(self, budget_s: float = 0.2):
        self.budget = LatencyBudget()
        # In whatever order they start.
        self.depth, self.localization, self.calibration = (
            self.budget.join(name, rank) for name, rank in (("depth", 2), ("localization", 0), ("calibration", 1))
        )
        self.budget.set_budget(self.localization, budget_s)
        self.now_s = 100.0

    def results(
        self, latency_s: float, count: int = ENOUGH_RESULTS, busy_s: float = 0.05, seconds: float = 0.5
    ) -> None:
        """So many results of each node within so many seconds; that latency is the localization's."""
        for _ in range(count):
            self.now_s += seconds / count
            for member in (self.depth, self.calibration):
                self.budget.finished(member, 0.05, 0.04, RATE_HZ, self.now_s)
            self.budget.finished(self.localization, latency_s, busy_s, RATE_HZ, self.now_s)

    @property
    def rates_hz(self) -> tuple[float, float, float]:
        """Of depth, calibration and localization; 0: as fast as it can."""
        return self.depth.limit_hz, self.calibration.limit_hz, self.localization.limit_hz


def test_depth_gives_way_first_then_calibration_localization_last():
    robot, seen = Robot(), []
    for _ in range(12):
        robot.results(0.5)
        seen.append(robot.rates_hz)
    assert seen == [
        (4.0, 0.0, 0.0), (2.0, 0.0, 0.0), (1.0, 0.0, 0.0),
        (1.0, 4.0, 0.0), (1.0, 2.0, 0.0), (1.0, 1.0, 0.0),
        (1.0, 1.0, 4.0), (1.0, 1.0, 2.0), (1.0, 1.0, 1.0),
        (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0),
    ]  # fmt: skip
    said = robot.budget.words(robot.localization)
    assert said["latency budget (ms)"] == "200, exceeded, and nobody is left to give way"
    assert said["others that gave way"] == "depth, calibration"


def test_they_get_it_back_in_the_opposite_order_while_there_is_room():
    robot = Robot()
    for _ in range(7):
        robot.results(0.5)
    assert robot.rates_hz == (1.0, 1.0, 4.0)
    seen = []
    for _ in range(7):
        robot.results(0.1, seconds=PAUSE_S + 0.1)
        seen.append(robot.rates_hz)
    assert seen == [
        (1.0, 1.0, 0.0), (1.0, 2.0, 0.0), (1.0, 4.0, 0.0), (1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (4.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
    ]  # fmt: skip
    assert robot.budget.words(robot.depth) == {"gave way": "no"}


def test_between_room_and_budget_everything_stays_as_it_is():
    robot = Robot()
    robot.results(0.5)
    robot.results(0.19, count=20, seconds=60.0)
    assert robot.rates_hz == (4.0, 0.0, 0.0)


def test_what_was_given_back_too_early_is_waited_for_twice_as_long():
    robot = Robot()
    robot.results(0.5)
    robot.results(0.1, seconds=PAUSE_S + 0.1)
    assert robot.rates_hz == (0.0, 0.0, 0.0)
    robot.results(0.5)
    robot.results(0.1, seconds=PAUSE_S + 0.1)
    assert robot.rates_hz == (4.0, 0.0, 0.0)
    robot.results(0.1, seconds=PAUSE_S + 0.1)
    assert robot.rates_hz == (0.0, 0.0, 0.0)


def test_one_late_result_of_five_is_no_reason():
    robot = Robot()
    for _ in range(10):
        robot.results(0.1, 4)
        robot.results(0.5, 1)
    assert robot.rates_hz == (0.0, 0.0, 0.0)


def test_nobody_gives_way_where_one_image_alone_takes_longer():
    robot = Robot()
    robot.results(0.5, 20, busy_s=0.3)
    assert robot.rates_hz == (0.0, 0.0, 0.0)
    words = robot.budget.words(robot.localization)
    assert words["latency budget (ms)"] == "200, cannot be kept: one image alone takes longer"


def test_a_node_alone_gives_way_itself():
    budget = LatencyBudget()
    depth = budget.join("depth_node", 2)
    budget.set_budget(depth, 0.1)
    for index in range(ENOUGH_RESULTS):
        budget.finished(depth, 0.2, 0.05, RATE_HZ, float(index))
    assert depth.limit_hz == RATE_HZ / 2
    assert depth.gave_way_for == (
        "works at 4 Hz instead of 8 Hz for its own latency budget of 100 ms (200 ms before)"
    )  # fmt: skip


@pytest.mark.parametrize("end", ["leaves", "has no budget any more"])
def test_without_a_budget_everybody_is_free_at_once(end):
    robot = Robot()
    robot.results(0.5)
    assert robot.budget.words(robot.depth)["gave way"] == (
        "works at 4 Hz instead of 8 Hz for the localization's latency budget of 200 ms (500 ms before)"
    )
    if end == "leaves":
        robot.budget.leave(robot.localization)
    else:
        robot.budget.set_budget(robot.localization, 0.0)
    assert robot.rates_hz == (0.0, 0.0, 0.0)
