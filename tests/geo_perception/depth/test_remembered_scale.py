"""A scale that was known before this process began holds for a time, gets less certain, and gives way."""

import math
from dataclasses import replace

import numpy as np
import pytest

from geo_perception.depth.measurements import SeenDepth
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.depth.scale import RememberedScale, ScaleFilter, ScaleMeasurement, ScaleOptions
from geo_perception.depth.scale_tracker import ScaleTracker, TrackerOptions
from geo_perception.geometry import Camera

OPTIONS = ScaleOptions(walk=0.02, shared_error=0.5, correlation_s=1e9, floor_sigma=0.001, max_age_s=10.0)
KNOWN = RememberedScale(math.log(2.0), 0.05, "landmarks+ground", 100.0)
CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
VIEW = (50.0 / 64, 50.0 / 48)


def remembering(known: RememberedScale = KNOWN, max_age_s: float = 60.0) -> ScaleFilter:
    scales = ScaleFilter(OPTIONS)
    scales.remember(known, max_age_s)
    return scales


def test_it_is_the_scale_and_less_certain_by_the_time_since():
    got = remembering().scale(125.0)
    assert (got.factor, got.source, got.age_s) == (pytest.approx(2.0), "landmarks+ground", 25.0)
    assert got.sigma == pytest.approx(math.hypot(0.05, 0.02 * 5))


@pytest.mark.parametrize("stamp_s", [161.0, 98.0])
def test_it_is_none_too_long_after_and_before_its_time(stamp_s):
    assert remembering().scale(stamp_s) is None


def test_a_measurement_joins_it_and_then_silence_ends_it_as_ever():
    scales = remembering()
    assert scales.update(ScaleMeasurement(math.log(2.2), 0.05, "odometry", 20), 125.0)
    variances = np.array([0.05**2 + 0.02**2 * 25, 0.05**2])
    got = scales.scale(125.0)
    expected = (np.log([2.0, 2.2]) / variances).sum() / (1 / variances).sum()
    assert math.log(got.factor) == pytest.approx(expected)
    assert got.sigma == pytest.approx((1 / variances).sum() ** -0.5)
    assert scales.scale(134.0) is not None
    assert scales.scale(136.0) is None


def test_what_contradicts_it_and_agrees_replaces_it():
    scales = remembering()
    taken = [scales.update(ScaleMeasurement(math.log(4.0), 0.02, "ground", 20), 101.0 + 0.1 * i) for i in range(5)]
    assert taken == [False] * 4 + [True]
    assert scales.scale(102.0).factor == pytest.approx(4.0, rel=0.01)


def test_what_is_kept_gives_the_same_scale_again():
    scales = ScaleFilter(OPTIONS)
    assert scales.known() is None
    scales.update(ScaleMeasurement(math.log(3.0), 0.05, "ground", 20), 50.0)
    scales.update(ScaleMeasurement(math.log(3.1), 0.05, "odometry", 20), 51.0)
    again = remembering(scales.known())
    one, other = scales.scale(54.0), again.scale(54.0)
    assert other.factor == pytest.approx(one.factor)
    assert other.sigma == pytest.approx(one.sigma)
    assert other.source == one.source == "ground+odometry"


@pytest.mark.parametrize(
    "changes", [{"log_scale": math.nan}, {"sigma": 0.0}, {"stamp_s": math.inf}, {"source": "guess"}, {"source": ""}]
)
def test_what_cannot_be_is_not_usable(changes):
    assert KNOWN.usable
    assert not replace(KNOWN, **changes).usable


class TestTracker:
    def seen(self, camera: Camera, stamp_s: float = 105.0) -> SeenDepth:
        depth = RelativeDepth(DepthVerdict.ESTIMATED, "", camera, np.ones((48, 64), np.float32))
        return SeenDepth(round(stamp_s * 1e9), depth, camera)

    def tracker(self) -> ScaleTracker:
        tracker = ScaleTracker(TrackerOptions(OPTIONS))
        assert tracker.known() is None
        tracker.remember(KNOWN, VIEW, 60.0)
        return tracker

    def test_the_same_view_goes_on_with_it(self):
        tracker = self.tracker()
        tracker.update(self.seen(CAMERA), lambda pose, stamp_ns: None)
        assert tracker.scale(105 * 10**9).factor == pytest.approx(2.0)
        known, view = tracker.known()
        assert (known.log_scale, known.sigma) == pytest.approx((KNOWN.log_scale, KNOWN.sigma))
        assert view == pytest.approx(VIEW)
        assert tracker.restarts == 0

    def test_another_zoom_starts_anew(self):
        tracker = self.tracker()
        tracker.update(self.seen(Camera(64, 48, 80.0, 80.0, 31.5, 23.5)), lambda pose, stamp_ns: None)
        assert tracker.scale(105 * 10**9) is None
        assert tracker.restarts == 1
