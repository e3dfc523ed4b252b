"""Measured points go along with the camera, exactly, until they are hidden, contradicted, too old or out of view."""

from dataclasses import replace

import numpy as np
import pytest

from geo_perception.depth import field_tracker
from geo_perception.depth.camera_poses import CameraPose
from geo_perception.depth.completion import complete
from geo_perception.depth.field_tracker import FieldOptions, FieldTracker
from geo_perception.depth.measurements import SeenDepth
from geo_perception.depth.metric_points import MetricPoints
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.depth.scale import Scale
from geo_perception.geometry import Camera, invert_pose, make_pose, so3_exp

CAMERA = Camera(128, 96, 100.0, 100.0, 63.5, 47.5)
SECOND = 10**9
WALL_M, BOX_M = 5.0, 2.0  # across the view of a camera that has not moved
UNIT = 2.5
SCALE = Scale(UNIT, 0.05, "landmarks", 0.0)
START = np.eye(4)
V, U = np.mgrid[:96, :128]
RAYS_HW3 = np.stack([(U - 63.5) / 100, (V - 47.5) / 100, np.ones(U.shape)], axis=-1)


def moved(x_m=0.0, y_m=0.0, z_m=0.0, yaw_rad=0.0) -> np.ndarray:
    return make_pose(so3_exp(np.array([0.0, yaw_rad, 0.0])), np.array([x_m, y_m, z_m]))


def fence(x_hw: np.ndarray) -> np.ndarray:
    """Boards of half a metre, with gaps as wide."""
    return np.floor(2 * x_hw) % 2 == 0


def depth_m(T_world_camera: np.ndarray, is_box=None) -> np.ndarray:
    """The true depth (H, W): a wall, and before it boxes without a bottom or top, at the places along x that are."""
    directions_hw3 = RAYS_HW3 @ T_world_camera[:3, :3].T
    centre_3 = T_world_camera[:3, 3]
    found_hw = (WALL_M - centre_3[2]) / directions_hw3[..., 2]
    if is_box is not None:
        to_box_hw = (BOX_M - centre_3[2]) / directions_hw3[..., 2]
        x_hw = centre_3[0] + to_box_hw * directions_hw3[..., 0]
        found_hw = np.where(is_box(x_hw), to_box_hw, found_hw)
    return found_hw


def seen(stamp_s: float, true_m_hw: np.ndarray, unit: float = UNIT) -> SeenDepth:
    depth = RelativeDepth(DepthVerdict.ESTIMATED, camera=CAMERA, depth_hw=(true_m_hw / unit).astype(np.float32))
    return SeenDepth(round(stamp_s * SECOND), depth, CAMERA)


def points(true_m_hw: np.ndarray, count: int = 40, factor: float = 1.0, source: str = "landmarks") -> MetricPoints:
    """At whole pixels all over the map, away from its border."""
    at_n2 = np.random.default_rng(1).integers([8, 8], [120, 88], (count, 2))
    z_n = factor * true_m_hw[at_n2[:, 1], at_n2[:, 0]]
    return MetricPoints(source, at_n2.astype(float), z_n, np.full(count, 0.01), np.zeros((count, 0)))


class Poses:
    """Where the camera was, by whole stamps."""

    def __init__(self, **by_world: dict[float, np.ndarray]):
        self.by_world, self.sigma_m, self.sigma_rad = by_world, 0.0, 0.0

    def __call__(self, stamp_ns: int, ahead_s: float) -> list[CameraPose]:
        return [
            CameraPose(T_s[stamp_ns / SECOND], self.sigma_m, self.sigma_rad, "odometry", world)
            for world, T_s in self.by_world.items()
            if stamp_ns / SECOND in T_s
        ]


@pytest.fixture
def asked(monkeypatch) -> list:
    """Pixels and depths that maps were completed by."""
    calls = []

    def spy(depth, pixels_n2, depth_m_n, sigma_n, *others):
        calls.append((pixels_n2, depth_m_n, sigma_n))
        return complete(depth, pixels_n2, depth_m_n, sigma_n, *others)

    monkeypatch.setattr(field_tracker, "complete", spy)
    return calls


def remembering(first: SeenDepth, told: MetricPoints, options: FieldOptions | None = None) -> FieldTracker:
    tracker = FieldTracker(options)
    tracker.add(told, first)
    return tracker


@pytest.mark.parametrize("T", [moved(0.3), moved(0.1, -0.2, 0.5), moved(z_m=-0.4, yaw_rad=0.1)])
def test_points_are_where_the_motion_puts_them_and_as_far_as_they_are_then(T, asked):
    """A point of the wall lies on the wall of the second view too, at the pixel that sees its place in the world."""
    first = seen(10.0, depth_m(START))
    told = points(depth_m(START))
    tracker = remembering(first, told)
    found = tracker.complete(seen(10.1, depth_m(T)), SCALE, Poses(a={10.0: START, 10.1: T}))
    world_n3 = np.column_stack([CAMERA.normalize(told.pixels_n2), np.ones(40)]) * told.depth_m_n[:, None]
    now_n3 = (np.column_stack([world_n3, np.ones(40)]) @ invert_pose(T).T)[:, :3]
    expected_n2 = CAMERA.project(now_n3)
    inside_n = ((expected_n2 >= 0) & (expected_n2 <= [127, 95])).all(axis=1)
    pixels_n2, depth_m_n, _ = asked[-1]
    np.testing.assert_allclose(pixels_n2, expected_n2[inside_n], atol=1e-9)
    np.testing.assert_allclose(depth_m_n, now_n3[inside_n, 2], rtol=1e-12)
    assert found.points == {"carried": inside_n.sum()}
    np.testing.assert_allclose(found.depth.depth_hw, depth_m(T), rtol=0.02)


def test_they_mend_a_later_map_that_no_factor_can():
    """The network has the left half a third too far, and only the first view has points."""
    wrong_hw = np.where(U < 64, 1.3, 1.0)
    T = moved(0.05)
    tracker = remembering(seen(10.0, depth_m(START)), points(depth_m(START)))
    later = seen(10.1, depth_m(T) * wrong_hw)
    found = tracker.complete(later, SCALE, Poses(a={10.0: START, 10.1: T}))
    off_hw = np.abs(found.depth.depth_hw / depth_m(T) - 1)
    assert np.median(off_hw) < 0.01
    assert np.median(np.abs(later.depth.depth_hw * UNIT / depth_m(T) - 1)[:, :64]) == pytest.approx(0.3, abs=1e-3)


def test_without_poses_only_this_images_points_count_and_without_any_it_is_one_factor():
    tracker = remembering(seen(10.0, depth_m(START)), points(depth_m(START)))
    for poses in (Poses(), Poses(a={10.0: START}), Poses(a={10.1: START}), Poses(a={10.0: START}, b={10.1: START})):
        later = seen(10.1, depth_m(START))
        found = tracker.complete(later, SCALE, poses)
        assert not found.points
        np.testing.assert_allclose(found.depth.depth_hw, later.depth.depth_hw * np.float32(UNIT), rtol=2e-7)
    tracker.add(points(depth_m(START), 12, source="ground"), seen(10.1, depth_m(START)))
    assert tracker.complete(seen(10.1, depth_m(START)), SCALE, Poses()).points == {"ground": 12}


def test_points_that_a_box_hides_now_are_left_out_and_those_beside_it_are_not(asked):
    first, T = seen(10.0, depth_m(START)), moved(0.1)
    tracker = remembering(first, points(depth_m(START), 80))
    now_hw = depth_m(T, lambda x_hw: np.abs(x_hw - 0.05) < 0.45)
    found = tracker.complete(seen(10.1, now_hw), SCALE, Poses(a={10.0: START, 10.1: T}))
    true_n = now_hw[tuple(np.rint(asked[-1][0]).astype(int).T[::-1])]
    right_n = found.depth.right_n >= 0.5
    np.testing.assert_allclose(asked[-1][1][right_n], true_n[right_n], rtol=0.03)
    assert right_n.sum() > 25
    beside_hw = np.abs(U - 64) > 45
    np.testing.assert_allclose(found.depth.depth_hw[beside_hw], now_hw[beside_hw], rtol=0.05)


def test_what_was_contradicted_is_forgotten(asked):
    told = points(depth_m(START))
    told.depth_m_n[:4] *= 1.7
    tracker = remembering(seen(10.0, depth_m(START)), told)
    poses = Poses(a={10.0: START, 10.1: START, 10.2: START})
    tracker.complete(seen(10.1, depth_m(START)), SCALE, poses)
    assert len(asked[-1][0]) == 40
    assert tracker.complete(seen(10.2, depth_m(START)), SCALE, poses).points == {"carried": 36}
    assert len(asked[-1][0]) == 36


def test_a_motion_that_most_points_contradict_is_refused_and_its_points_forgotten():
    """The camera stands; odometry has it so far to the right that boards would be in gaps."""
    true_hw = depth_m(START, fence)
    tracker, later = remembering(seen(10.0, true_hw), points(true_hw, 80)), seen(10.1, true_hw)
    assert remembering(later, points(true_hw, 80)).complete(later, SCALE, Poses()).points["landmarks"] > 60
    found = tracker.complete(later, SCALE, Poses(a={10.0: START, 10.1: moved(1.5)}))
    assert tracker.refused == 1
    assert not found.points
    np.testing.assert_allclose(found.depth.depth_hw, true_hw, rtol=1e-5)
    assert not tracker.complete(later, SCALE, Poses(a={10.0: START, 10.1: START})).points


def test_a_pose_that_is_uncertain_makes_points_uncertain_alike_and_a_very_uncertain_one_carries_none(asked):
    first, later = seen(10.0, depth_m(START)), seen(10.1, depth_m(START))
    poses = Poses(a={10.0: START, 10.1: START})
    sigmas = []
    for sigma_m in (0.0, 0.05, 1.0):
        tracker, poses.sigma_m = remembering(first, points(depth_m(START))), sigma_m
        found = tracker.complete(later, SCALE, poses)
        sigmas.append(float(np.median(found.depth.sigma_hw)))
        assert found.points == ({"carried": 40} if sigma_m < 1 else {})
    assert sigmas[1] ** 2 - sigmas[0] ** 2 == pytest.approx(2 * (0.05 / WALL_M) ** 2, rel=0.3)


def test_age_makes_points_less_certain_and_ends_them(asked):
    options = FieldOptions(age_sigma=0.03, max_age_s=4.0)
    tracker = remembering(seen(10.0, depth_m(START)), points(depth_m(START)), options)
    poses = Poses(a=dict.fromkeys((10.0, 11.0, 14.0, 14.5), START))
    for stamp_s in (11.0, 14.0):
        assert tracker.complete(seen(stamp_s, depth_m(START)), SCALE, poses).points == {"carried": 40}
        expected = np.sqrt(0.01**2 + 0.03**2 * (stamp_s - 10) + options.point_sigma**2)
        np.testing.assert_allclose(asked[-1][2], expected, rtol=1e-6)
    assert not tracker.complete(seen(14.5, depth_m(START)), SCALE, poses).points


def test_points_that_come_late_count_from_then_on():
    """Landmarks of an image reach the node when it has gone on to the next one."""
    tracker = FieldTracker()
    poses = Poses(a={10.0: START, 10.1: START, 10.2: START})
    for stamp_s in (10.0, 10.1):
        assert not tracker.complete(seen(stamp_s, depth_m(START)), SCALE, poses).points
    tracker.add(points(depth_m(START)), seen(10.0, depth_m(START)))
    assert tracker.complete(seen(10.2, depth_m(START)), SCALE, poses).points == {"carried": 40}


def test_many_points_are_spread_and_bounded(asked):
    tracker = FieldTracker(FieldOptions(max_points=30))
    poses = Poses(a={10.0 + k: START for k in range(5)})
    for k in range(4):
        tracker.add(points(depth_m(START), 100), seen(10.0 + k, depth_m(START)))
    found = tracker.complete(seen(13.0, depth_m(START)), SCALE, poses)
    assert len(asked[-1][0]) == 30
    assert sum(found.points.values()) == 30


def test_a_stamp_that_jumps_back_and_a_reset_forget_all_points():
    for forget in (lambda tracker: None, FieldTracker.reset):
        tracker = remembering(seen(10.0, depth_m(START)), points(depth_m(START)))
        poses = Poses(a={10.0: START, 10.1: START, 3.0: START, 3.1: START})
        assert tracker.complete(seen(10.1, depth_m(START)), SCALE, poses).points
        forget(tracker)
        assert not tracker.complete(seen(3.0, depth_m(START)), SCALE, poses).points
        assert not tracker.complete(seen(10.1, depth_m(START)), SCALE, poses).points


def test_a_map_that_is_none_and_points_that_are_none_do_no_harm():
    first = seen(10.0, depth_m(START))
    told = points(depth_m(START))
    told.depth_m_n[:10], told.pixels_n2[10:20] = (np.nan, -1.0, 0.0, np.inf, 1.0) * 2, np.nan
    tracker = remembering(first, told)
    nothing = replace(first, depth=RelativeDepth(DepthVerdict.BAD_IMAGE))
    assert tracker.complete(nothing, SCALE, Poses()) is None
    tracker.add(told, nothing)
    found = tracker.complete(first, SCALE, Poses(a={10.0: START}))
    assert found.points == {"landmarks": 20}
    np.testing.assert_allclose(found.depth.depth_hw, depth_m(START), rtol=0.05)
