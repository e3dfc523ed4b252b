"""What the robot tells about the scale finds the depth map it belongs to, whenever it comes."""

import numpy as np
import pytest

from geo_perception.depth.measurements import Attitude, Landmarks, MotionPose, SeenDepth
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.depth.scale_tracker import KEPT_LANDMARKS, KEPT_MAPS, ScaleTracker, TrackerOptions
from geo_perception.geometry import Camera, make_pose

IMAGE_CAMERA = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
SECOND = 10**9
DOWN_UP_3 = np.array([0.0, 0.0, -1.0])  # up, for a camera that looks straight down


def seen(stamp_s: float, camera: Camera = IMAGE_CAMERA, unit: float = 2.0) -> SeenDepth:
    """A wall across the view, `unit` away."""
    small = camera.resized(160, 120)
    texture_hw3 = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    depth = RelativeDepth(
        DepthVerdict.ESTIMATED, "", small, np.full((120, 160), unit, np.float32), np.full((120, 160), 0.03, np.float32),
        texture_hw3,
    )  # fmt: skip
    return SeenDepth(round(stamp_s * SECOND), depth, camera)


def landmarks(stamp_s: float, depth_m: float = 5.0, sigma: float = 0.01) -> Landmarks:
    grid = np.stack(np.meshgrid(np.arange(20, 310, 40), np.arange(20, 230, 40)), -1).reshape(-1, 2).astype(float)
    return Landmarks(round(stamp_s * SECOND), grid, np.full(len(grid), depth_m), np.full(len(grid), sigma))


def nowhere(pose, stamp_ns):
    return None


def factor(tracker: ScaleTracker, stamp_s: float) -> float | None:
    scale = tracker.scale(round(stamp_s * SECOND))
    return None if scale is None else scale.factor


class TestLandmarks:
    def test_of_this_map_or_an_earlier_one_measure_it(self):
        for told_s in (10.0, 10.5):
            tracker = ScaleTracker()
            tracker.update(seen(10.0), nowhere)
            tracker.add(landmarks(told_s))
            tracker.update(seen(10.5), nowhere)
            assert factor(tracker, 10.5) == pytest.approx(2.5)
            assert tracker.used["landmarks"] == 1

    def test_of_an_image_that_is_still_to_come_wait_for_it(self):
        tracker = ScaleTracker()
        tracker.add(landmarks(11.0))
        tracker.update(seen(10.0), nowhere)
        assert factor(tracker, 10.0) is None
        tracker.update(seen(11.0), nowhere)
        assert factor(tracker, 11.0) == pytest.approx(2.5)

    def test_share_the_error_of_their_pose(self):
        sigmas = []
        for sigma in (0.0, 0.3):
            tracker = ScaleTracker()
            tracker.add(landmarks(10.0, sigma=sigma))
            tracker.update(seen(10.0), nowhere)
            sigmas.append(tracker.scale(10 * SECOND).sigma)
        assert sigmas[0] < 0.1
        assert sigmas[1] > 0.3

    def test_an_earlier_map_that_is_not_kept_any_more_is_no_map(self):
        tracker = ScaleTracker()
        for index in range(KEPT_MAPS + 1):
            tracker.update(seen(10.0 + 0.1 * index), nowhere)
        tracker.add(landmarks(10.0))
        tracker.update(seen(12.0), nowhere)
        assert factor(tracker, 12.0) is None

    def test_those_that_came_late_are_less_certain(self):
        sigmas = []
        for late_s in (0.1, 4.0):
            tracker = ScaleTracker()
            tracker.update(seen(10.0), nowhere)
            tracker.add(landmarks(10.0))
            tracker.update(seen(10.0 + late_s), nowhere)
            sigmas.append(tracker.scale(round((10.0 + late_s) * SECOND)).sigma)
        assert sigmas[1] ** 2 - sigmas[0] ** 2 == pytest.approx(0.05**2 * (4.0 - 0.1), rel=0.05)  # the walk

    def test_those_that_came_very_late_are_not_taken_for_a_clock_that_jumped_back(self):
        tracker = ScaleTracker()
        tracker.update(seen(10.0), nowhere)
        tracker.add(landmarks(14.0, 5.0))
        tracker.update(seen(14.0), nowhere)
        tracker.add(landmarks(10.0, 5.2))
        tracker.update(seen(14.1), nowhere)
        assert tracker.used["landmarks"] == 2
        assert factor(tracker, 14.1) == pytest.approx(2.5, rel=0.02)


class TestMissedLandmarks:
    def test_the_newest_whose_image_is_kept_are_taken_and_the_older_ones_dropped(self):
        tracker = ScaleTracker()
        for stamp_s in (10.1, 10.2, 10.3):
            tracker.add(landmarks(stamp_s))
        tracker.update(seen(10.0), nowhere)
        tracker.update(seen(10.4), nowhere)
        missed = tracker.take_missed({round(stamp_s * SECOND) for stamp_s in (10.1, 10.2)})
        assert missed.stamp_ns == round(10.2 * SECOND)
        assert tracker.unmatched == 2
        assert tracker.take_missed({round(10.1 * SECOND)}) is None

    def test_those_of_an_image_that_may_still_be_worked_on_are_not_missed(self):
        tracker = ScaleTracker()
        tracker.update(seen(10.0), nowhere)
        tracker.add(landmarks(10.2))
        assert tracker.take_missed({round(10.2 * SECOND)}) is None
        assert tracker.unmatched == 0

    def test_a_map_made_afterwards_is_measured(self):
        tracker = ScaleTracker()
        tracker.update(seen(10.0), nowhere)
        tracker.update(seen(10.4), nowhere)
        tracker.measure(landmarks(10.2), seen(10.2))
        assert factor(tracker, 10.4) == pytest.approx(2.5)

    def test_too_many_that_wait_are_counted(self):
        tracker = ScaleTracker()
        for index in range(KEPT_LANDMARKS + 2):
            tracker.add(landmarks(20.0 + index))
        assert tracker.unmatched == 2


class TestGround:
    OPTIONS = TrackerOptions(camera_height_m=1.5)

    def test_the_nearest_attitude_counts(self):
        tracker = ScaleTracker(self.OPTIONS)
        tracker.add(Attitude(7 * SECOND, np.array([0.0, -1.0, 0.0]), 0.01))
        tracker.add(Attitude(10 * SECOND, DOWN_UP_3, 0.01))
        tracker.update(seen(10.1), nowhere)
        assert factor(tracker, 10.1) == pytest.approx(1.5 / 2.0, rel=1e-3)

    def test_an_old_attitude_does_not(self):
        tracker = ScaleTracker(self.OPTIONS)
        tracker.add(Attitude(10 * SECOND, DOWN_UP_3, 0.01))
        tracker.update(seen(12.5), nowhere)
        assert factor(tracker, 12.5) is None

    def test_is_measured_once_in_a_while(self):
        tracker = ScaleTracker(self.OPTIONS)
        tracker.add(Attitude(10 * SECOND, DOWN_UP_3, 0.01))
        for index in range(11):
            tracker.update(seen(10.0 + 0.1 * index), nowhere)
        assert tracker.used["ground"] == 4  # at 0, 0.3, 0.6 and 0.9 s

    def test_without_a_height_there_is_none(self):
        tracker = ScaleTracker()
        tracker.add(Attitude(10 * SECOND, DOWN_UP_3, 0.01))
        tracker.update(seen(10.0), nowhere)
        assert factor(tracker, 10.0) is None


class TestOdometry:
    """The pose asked for is what `MotionScale` is given; what that makes of it has tests of its own."""

    @pytest.fixture
    def given(self, monkeypatch) -> list:
        given = []
        tracker_motion = "geo_perception.depth.scale_tracker.MotionScale.add"
        monkeypatch.setattr(tracker_motion, lambda _, depth, T, stamp_s, *sigmas: given.append((T, stamp_s)))
        return given

    @staticmethod
    def pose(stamp_s: float, x_m: float, base: str = "base", source: str = "") -> MotionPose:
        return MotionPose(round(stamp_s * SECOND), make_pose(np.eye(3), [x_m, 0, 0]), base, source)

    def test_is_interpolated_at_the_image_once_it_is_known_on_both_sides(self, given):
        T_base_camera = make_pose(np.eye(3), [0.0, 0.3, 0.0])
        tracker = ScaleTracker()
        tracker.add(self.pose(10.0, 1.0))
        tracker.update(seen(10.1), lambda pose, stamp_ns: T_base_camera)
        assert given == []
        tracker.add(self.pose(10.2, 2.0))
        tracker.update(seen(10.3), lambda pose, stamp_ns: T_base_camera)
        ((T_odom_camera, stamp_s),) = given
        np.testing.assert_allclose(T_odom_camera[:3, 3], [1.5, 0.3, 0.0])
        assert stamp_s == pytest.approx(10.1)

    @pytest.mark.parametrize("stamps_s", [(10.2, 10.3), (9.0, 10.2)])
    def test_is_not_made_up_before_it_began_nor_in_a_gap(self, given, stamps_s):
        tracker = ScaleTracker()
        for stamp_s in stamps_s:
            tracker.add(self.pose(stamp_s, 0.0))
        tracker.update(seen(10.1), lambda pose, stamp_ns: np.eye(4))
        assert given == []

    @pytest.mark.parametrize(
        ("base", "source", "stamp_s"), [("other", "", 10.2), ("base", "map", 10.2), ("base", "", 9.0)]
    )
    def test_of_another_frame_or_time_is_no_continuation(self, given, base, source, stamp_s):
        tracker = ScaleTracker()
        tracker.add(self.pose(10.0, 0.0))
        tracker.add(self.pose(stamp_s, 5.0, base, source))
        tracker.update(seen(10.1), lambda pose, stamp_ns: np.eye(4))
        assert given == []

    def test_without_the_cameras_place_it_is_not_used(self, given):
        tracker = ScaleTracker()
        for stamp_s in (10.0, 10.2):
            tracker.add(self.pose(stamp_s, 0.0))
        tracker.update(seen(10.1), nowhere)
        assert given == []


class TestZoom:
    @staticmethod
    def measured() -> ScaleTracker:
        tracker = ScaleTracker()
        tracker.add(landmarks(10.0))
        tracker.update(seen(10.0), nowhere)
        assert factor(tracker, 10.0) == pytest.approx(2.5)
        return tracker

    def test_a_jump_forgets_the_scale(self):
        tracker = self.measured()
        tracker.update(seen(10.1, Camera(320, 240, 300.0, 300.0, 159.5, 119.5)), nowhere)
        assert factor(tracker, 10.1) is None
        assert (tracker.restarts, tracker.last_restart) == (1, "the focal length changed by 20 %")

    def test_a_slow_change_does_so_in_the_end_where_nothing_is_measured(self):
        tracker = self.measured()
        for step in range(1, 4):
            focal_px = 250.0 * 1.02**step
            tracker.update(seen(10.0 + step, Camera(320, 240, focal_px, focal_px, 159.5, 119.5)), nowhere)
            assert (factor(tracker, 10.0 + step) is None) == (step == 3)

    def test_and_not_where_it_is_measured_on_the_way(self):
        tracker = self.measured()
        for step in range(1, 4):
            focal_px = 250.0 * 1.02**step
            tracker.add(landmarks(10.0 + step))
            tracker.update(seen(10.0 + step, Camera(320, 240, focal_px, focal_px, 159.5, 119.5)), nowhere)
            assert factor(tracker, 10.0 + step) == pytest.approx(2.5, rel=0.05)

    def test_another_size_of_the_same_view_is_none(self):
        tracker = self.measured()
        tracker.update(seen(10.1, IMAGE_CAMERA.resized(640, 480)), nowhere)
        assert factor(tracker, 10.1) == pytest.approx(2.5)

    def test_landmarks_that_wait_are_of_the_other_view(self):
        tracker = self.measured()
        tracker.update(seen(10.1, Camera(320, 240, 300.0, 300.0, 159.5, 119.5)), nowhere)
        tracker.add(landmarks(10.0))
        tracker.update(seen(10.2, Camera(320, 240, 300.0, 300.0, 159.5, 119.5)), nowhere)
        assert factor(tracker, 10.2) is None


def test_reset_forgets_everything():
    tracker = ScaleTracker(TrackerOptions(camera_height_m=1.5))
    tracker.add(Attitude(10 * SECOND, DOWN_UP_3, 0.01))
    tracker.add(landmarks(10.0))
    tracker.update(seen(10.0), nowhere)
    assert factor(tracker, 10.0) is not None
    tracker.reset()
    tracker.update(seen(10.1), nowhere)
    assert factor(tracker, 10.1) is None
    assert not tracker.used


class TestField:
    @staticmethod
    def pose(stamp_s: float, source: str = "camera_pose") -> MotionPose:
        return MotionPose(round(stamp_s * SECOND), np.eye(4), None, "map", 0.01, 0.002, source)

    @staticmethod
    def points(tracker: ScaleTracker, stamp_s: float, camera: Camera = IMAGE_CAMERA) -> dict[str, int]:
        now = seen(stamp_s, camera)
        tracker.update(now, nowhere)
        scale = tracker.scale(now.stamp_ns)
        return {} if scale is None else dict(tracker.complete(now, scale).points)

    def test_landmarks_of_this_map_are_in_it_and_those_of_an_earlier_one_where_poses_know_both(self):
        tracker = ScaleTracker()
        tracker.add(landmarks(10.0))
        count = self.points(tracker, 10.0)["landmarks"]
        assert count == len(landmarks(10.0).depth_m_n)
        assert self.points(tracker, 10.1) == {}
        for stamp_s in (10.0, 10.1, 10.2):
            tracker.add(self.pose(stamp_s))
        assert self.points(tracker, 10.2) == {"carried": count}

    def test_the_floor_is_in_it_and_is_not_carried(self):
        tracker = ScaleTracker(TrackerOptions(camera_height_m=1.5, measure_interval_s=10.0))
        tracker.add(Attitude(10 * SECOND, DOWN_UP_3, 0.01))
        for stamp_s in (10.0, 10.1):
            tracker.add(self.pose(stamp_s, "odometry"))
        assert self.points(tracker, 10.0)["ground"] > 20
        assert self.points(tracker, 10.1) == {}

    def test_points_that_contradict_the_scale_are_not_in_it(self):
        tracker = ScaleTracker()
        tracker.add(landmarks(10.0, 5.0))
        self.points(tracker, 10.0)
        tracker.add(landmarks(10.1, 9.0))
        assert self.points(tracker, 10.1) == {}
        assert tracker.left_out["landmarks"] == 1

    @pytest.mark.parametrize("camera", [IMAGE_CAMERA, Camera(320, 240, 300.0, 300.0, 159.5, 119.5)])
    def test_a_zoom_forgets_it(self, camera):
        tracker = ScaleTracker()
        for stamp_s in (10.0, 10.1):
            tracker.add(self.pose(stamp_s))
        tracker.add(landmarks(10.0))
        self.points(tracker, 10.0)
        assert bool(self.points(tracker, 10.1, camera)) == (camera == IMAGE_CAMERA)

    def test_the_localizer_triangulates_only_where_odometry_is_silent(self, monkeypatch):
        asked = []
        add = "geo_perception.depth.scale_tracker.MotionScale.add"
        monkeypatch.setattr(add, lambda motion, *others: asked.append((motion._source, *others[3:])))
        for sources in (("camera_pose",), ("camera_pose", "odometry")):
            asked.clear()
            tracker = ScaleTracker()
            for source in sources:
                tracker.add(self.pose(10.0, source))
            tracker.update(seen(10.0), nowhere)
            assert asked == [(sources[-1], 0.01, 0.002)]
