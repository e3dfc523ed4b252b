"""What is counted about frames, and how health is assessed from it."""

import math
from dataclasses import replace

import pytest

from geo_perception.ros.diagnostics import Condition, Health, Level, assess, condition_table, status_values
from geo_perception.ros.frame_statistics import FrameStatistics, RateLimiter, Reason, Snapshot, nearest_rank_percentile

RUNNING = Snapshot(
    received=100, processed=90, input_period_s=0.1, input_age_s=0.05, latency_p50_s=0.02, latency_p99_s=0.03,
    inference_p99_s=0.03, good_share=1.0, good_age_s=0.05, last_verdict="localized: 20 of 21 landmarks agree",
)  # fmt: skip
ACTIVE = Health(active_s=60.0)


class TestPercentile:
    @pytest.mark.parametrize(("percent", "expected"), [(50, 20), (20, 15), (21, 20), (40, 20), (100, 50), (0, 15)])
    def test_nearest_rank_by_hand(self, percent, expected):
        # Five values; rank ceil(percent / 100 * 5): 50 % is the third, 40 % the second, both are 20.
        assert nearest_rank_percentile([50, 15, 20, 40, 20], percent) == expected

    def test_p99_of_200_values_is_the_198th(self):
        assert nearest_rank_percentile(range(1, 201), 99) == 198

    def test_of_one_value_and_of_none(self):
        assert nearest_rank_percentile([7.0], 99) == 7.0
        assert math.isnan(nearest_rank_percentile([], 50))


class TestFrameStatistics:
    def test_rates_latencies_and_shares_by_hand(self):
        statistics = FrameStatistics(now_s=100.0)
        for i in range(10):  # 10 Hz in, every other one is processed, taking 30 ms, 40 ms, 50 ms ...
            at_s = 100.0 + 0.1 * i
            statistics.received(at_s)
            if i % 2 == 0:
                statistics.started(at_s + 0.01)
                statistics.finished(at_s, at_s + 0.01, at_s + 0.03 + 0.005 * i, good=i != 4, verdict=f"frame {i}")
                statistics.ended()
            else:
                statistics.replaced()
        seen = statistics.snapshot(now_s=102.0)
        assert (seen.received, seen.processed, seen.replaced) == (10, 5, 5)
        assert seen.input_hz == pytest.approx(10 / 2.0)  # two seconds since the start
        assert seen.output_hz == pytest.approx(5 / 2.0)
        assert seen.input_period_s == pytest.approx(0.1)
        assert seen.input_age_s == pytest.approx(102.0 - 100.9)
        assert seen.latency_p50_s == pytest.approx(0.05)  # of 30, 40, 50, 60, 70 ms
        assert seen.latency_p99_s == pytest.approx(0.07)
        assert seen.inference_p99_s == pytest.approx(0.06)
        assert seen.good_share == pytest.approx(4 / 5)
        assert seen.good_age_s == pytest.approx(102.0 - (100.8 + 0.07))
        assert seen.last_verdict == "frame 8"
        assert seen.busy_s is None

    def test_a_rate_falls_when_nothing_comes_any_more(self):
        statistics = FrameStatistics(now_s=0.0)
        for i in range(100):
            statistics.received(0.1 * i)
        assert statistics.snapshot(now_s=9.95).input_hz == pytest.approx(10.0)
        assert statistics.snapshot(now_s=12.45).input_hz == pytest.approx(5.0)
        assert statistics.snapshot(now_s=20.0).input_hz == 0.0

    def test_rejections_are_counted_by_reason(self):
        statistics = FrameStatistics(now_s=0.0)
        statistics.rejected(Reason.BAD_IMAGE, "too short", 1.0)
        statistics.rejected(Reason.BAD_IMAGE, "too short", 2.0)
        statistics.rejected(Reason.UNCALIBRATED, "K is zero", 3.0)
        seen = statistics.snapshot(now_s=4.0)
        assert seen.rejected == {"unusable image": 2, "uncalibrated camera": 1}
        assert seen.rejection_age_s == {"unusable image": 2.0, "uncalibrated camera": 1.0}
        assert seen.last_rejection == "K is zero"

    def test_a_gap_made_on_purpose_is_no_period(self):
        statistics = FrameStatistics(now_s=0.0)
        for at_s in (0.0, 0.1, 0.2):
            statistics.received(at_s)
        statistics.pause_input()
        assert statistics.snapshot(30.0).input_age_s is None
        for at_s in (60.0, 60.1):
            statistics.received(at_s)
        assert statistics.snapshot(60.1).input_period_s == pytest.approx(0.1)

    def test_a_reset_forgets_everything(self):
        statistics = FrameStatistics(now_s=0.0)
        statistics.received(1.0)
        statistics.rejected(Reason.DEFECT, "x", 1.0)
        statistics.finished(1.0, 1.0, 1.1, True, "good")
        statistics.reset(2.0)
        assert replace(statistics.snapshot(2.0), latency_p50_s=0, latency_p99_s=0, inference_p99_s=0, good_share=0,
                       input_period_s=0) == Snapshot(latency_p50_s=0, latency_p99_s=0, inference_p99_s=0, good_share=0,
                                                     input_period_s=0)  # fmt: skip


class TestRateLimiter:
    def test_one_of_each_kind_per_interval_and_the_rest_is_counted(self):
        limiter = RateLimiter(5.0)
        assert limiter.allow("a", 0.0) == 0
        assert limiter.allow("b", 0.1) == 0
        assert [limiter.allow("a", t) for t in (1.0, 2.0, 4.9)] == [None, None, None]
        assert limiter.allow("a", 5.0) == 3
        assert limiter.allow("a", 10.0) == 0


class TestJudge:
    def test_running(self):
        condition, message = assess(ACTIVE, RUNNING)
        assert condition is Condition.RUNNING
        assert condition.level is Level.OK
        assert message == "localized: 20 of 21 landmarks agree"

    @pytest.mark.parametrize(
        ("health", "frames", "expected"),
        [
            (replace(ACTIVE, state="unconfigured", failure="cannot configure: no scene"), {}, Condition.FAILED),
            (replace(ACTIVE, state="inactive"), {}, Condition.INACTIVE),
            (replace(ACTIVE, demanded=False), {"input_age_s": 100.0}, Condition.IDLE),
            (ACTIVE, {"input_age_s": 0.19}, Condition.RUNNING),  # 10 Hz: two periods are 0.2 s
            (ACTIVE, {"input_age_s": 0.21}, Condition.INPUT_STOPPED),
            (ACTIVE, {"input_period_s": 1.0, "input_age_s": 1.9}, Condition.RUNNING),
            (ACTIVE, {"input_period_s": 1.0, "input_age_s": 2.1}, Condition.INPUT_STOPPED),
            (ACTIVE, {"input_period_s": 0.01, "input_age_s": 0.15}, Condition.RUNNING),  # below the watchdog's own step
            (replace(ACTIVE, clock_stands=True), {"input_age_s": 3.0}, Condition.CLOCK_STANDS),
            (replace(ACTIVE, active_s=1.0), {"input_age_s": None, "input_period_s": math.nan, "processed": 0},
             Condition.WAITING),
            (ACTIVE, {"input_age_s": None, "input_period_s": math.nan, "processed": 0}, Condition.INPUT_STOPPED),
            (ACTIVE, {"busy_s": 0.22}, Condition.RUNNING),  # p99 of 30 ms and two periods
            (ACTIVE, {"busy_s": 0.24}, Condition.INFERENCE_STALLED),
            (ACTIVE, {"busy_s": 9.0, "inference_p99_s": math.nan}, Condition.RUNNING),  # the first frame may be slow
            (ACTIVE, {"busy_s": 11.0, "inference_p99_s": math.nan}, Condition.INFERENCE_STALLED),
            (ACTIVE, {"rejection_age_s": {"uncalibrated camera": 1.0}}, Condition.UNCALIBRATED),
            (ACTIVE, {"rejection_age_s": {"no CameraInfo": 1.0}}, Condition.UNCALIBRATED),
            (ACTIVE, {"rejection_age_s": {"no CameraInfo": 6.0}}, Condition.RUNNING),
            (ACTIVE, {"rejection_age_s": {"unusable image": 1.0}}, Condition.REJECTING),
            (replace(ACTIVE, incompatible_qos="~/pose (RELIABILITY)"), {}, Condition.QOS),
            (ACTIVE, {"good_age_s": 3.5}, Condition.NO_RESULT),
            (ACTIVE, {"good_age_s": None}, Condition.NO_RESULT),
            (replace(ACTIVE, active_s=1.0), {"good_age_s": None}, Condition.RUNNING),
        ],
    )  # fmt: skip
    def test_conditions(self, health, frames, expected):
        assert assess(health, replace(RUNNING, **frames))[0] is expected

    def test_the_message_says_the_topic_and_the_silence(self):
        health = replace(ACTIVE, input_topic="/camera/image_raw")
        assert assess(health, replace(RUNNING, input_age_s=4.0))[1] == "no image on /camera/image_raw for 4.0 s"

    def test_every_condition_is_in_the_table(self):
        table = condition_table()
        assert all(f"`{condition.name}`" in table for condition in Condition)


def test_figures_that_are_not_known_yet_are_told_as_none():
    values = status_values(ACTIVE, Snapshot(), {"more": "1"})
    assert values["latency p99 (ms)"] == "none"
    assert values["time since last good (s)"] == "none"
    assert values["more"] == "1"
    assert all(isinstance(value, str) for value in values.values())


class TestDoubt:
    INCONSISTENCY = "the driver's CameraInfo says 400 px, the images 250 px"

    def test_what_a_capability_found_wrong_is_a_warning_while_results_are_published(self):
        condition, message = assess(replace(ACTIVE, inconsistency=self.INCONSISTENCY), RUNNING)
        assert (condition, condition.level, message) == (Condition.CAMERA_DISAGREES, Level.WARN, self.INCONSISTENCY)

    def test_what_results_lack_is_a_warning_after_what_may_be_wrong_with_them(self):
        lacking = replace(ACTIVE, shortfall="no map to odom")
        condition, message = assess(lacking, RUNNING)
        assert (condition, condition.level, message) == (Condition.SHORTFALL, Level.WARN, "no map to odom")
        assert assess(replace(lacking, inconsistency="other camera"), RUNNING)[0] is Condition.CAMERA_DISAGREES

    def test_scenes_that_contradict_each_other_are_told_before_one_that_cannot_be_read(self):
        broken = replace(ACTIVE, scene_problem="lab.safetensors is damaged")
        assert assess(broken, RUNNING) == (Condition.SCENE_UNUSABLE, "lab.safetensors is damaged")
        both = replace(broken, scene_conflict="hall: 0.3 m away")
        assert assess(both, RUNNING) == (Condition.SCENE_DISAGREES, "hall: 0.3 m away")
        assert {Condition.SCENE_UNUSABLE.level, Condition.SCENE_DISAGREES.level} == {Level.WARN}

    def test_what_stops_results_is_told_first(self):
        lost = replace(RUNNING, good_age_s=5.0, last_verdict="dark")
        condition, message = assess(replace(ACTIVE, inconsistency=self.INCONSISTENCY), lost)
        assert condition is Condition.NO_RESULT
        assert message == "no good result for 5.0 s: dark"
