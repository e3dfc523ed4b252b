"""Where the camera was: between poses, a little after the last one, and never where nobody knows."""

import numpy as np
import pytest

from geo_perception.depth.camera_poses import ACCELERATION_M_S2, CameraPose, PoseTrack
from geo_perception.depth.measurements import MotionPose
from geo_perception.geometry import make_pose, so3_exp

SECOND = 10**9


def pose(stamp_s: float, x_m: float, yaw_rad: float = 0.0, body: str | None = None, **kwargs) -> MotionPose:
    T = make_pose(so3_exp(np.array([0.0, yaw_rad, 0.0])), np.array([x_m, 0.0, 0.0]))
    return MotionPose(round(stamp_s * SECOND), T, body, **kwargs)


def track(*poses: MotionPose) -> PoseTrack:
    made = PoseTrack()
    for each in poses:
        made.add(each)
    return made


def at(made: PoseTrack, stamp_s: float, ahead_s: float = 0.0, on_body=None, gap_s: float = 0.5) -> CameraPose | None:
    return made.at(round(stamp_s * SECOND), on_body or (lambda pose, stamp_ns: None), gap_s, ahead_s)


def test_between_two_poses_it_is_interpolated_and_as_uncertain_as_the_worse():
    found = at(track(pose(1.0, 0.0, sigma_m=0.01), pose(1.4, 0.4, 0.2, sigma_m=0.03)), 1.1)
    expected = make_pose(so3_exp(np.array([0.0, 0.05, 0.0])), np.array([0.1, 0.0, 0.0]))
    np.testing.assert_allclose(found.T_world_camera, expected, atol=1e-12)
    assert (found.sigma_m, found.source) == (0.03, "odometry")


def test_a_pose_of_a_body_is_carried_over_to_the_camera_on_it():
    T_body_camera = make_pose(np.eye(3), np.array([0.0, 0.3, 0.0]))
    made = track(pose(1.0, 2.0, body="base"))
    np.testing.assert_allclose(at(made, 1.0, 0.0, lambda *_: T_body_camera).T_world_camera[:3, 3], [2.0, 0.3, 0.0])
    assert at(made, 1.0) is None, "where the camera is on the body is not known"


def test_the_motion_goes_on_for_a_while_and_gets_less_certain():
    made = track(pose(1.0, 0.0, 0.0), pose(1.1, 0.1, 0.02))
    found = at(made, 1.2, 0.3)
    expected = make_pose(so3_exp(np.array([0.0, 0.04, 0.0])), np.array([0.2, 0.0, 0.0]))
    np.testing.assert_allclose(found.T_world_camera, expected, atol=1e-12)
    assert found.sigma_m == pytest.approx(ACCELERATION_M_S2 * 0.5 * 0.1 * 0.2)
    assert at(made, 1.2) is None
    assert at(made, 1.45, 0.3) is None


def test_ahead_the_errors_of_the_last_two_poses_grow():
    made = track(pose(1.0, 0.0, sigma_m=0.02), pose(1.1, 0.0, sigma_m=0.02))
    expected = np.sqrt((2 * 0.02) ** 2 + 0.02**2 + (ACCELERATION_M_S2 * 0.01) ** 2)
    assert at(made, 1.2, 0.3).sigma_m == pytest.approx(expected)


def test_a_motion_that_was_unsteady_is_less_certain_ahead():
    """Poses that jump back and forth by 0.1 m every 0.1 s were foretold 0.2 m wrongly: 20 m/s2."""
    stamps_s = 1.0 + 0.1 * np.arange(6)
    unsteady = track(*(pose(stamp_s, 0.1 * (k % 2)) for k, stamp_s in enumerate(stamps_s)))
    assert at(unsteady, 1.6, 0.3).sigma_m == pytest.approx(20 / np.sqrt(3) * 0.5 * 0.1 * 0.2, rel=1e-3)
    steady = track(*(pose(stamp_s, 0.1 * k) for k, stamp_s in enumerate(stamps_s)))
    assert at(steady, 1.6, 0.3).sigma_m == pytest.approx(ACCELERATION_M_S2 * 0.5 * 0.1 * 0.2, rel=1e-3)


def test_nothing_is_made_up_in_a_gap_before_the_first_nor_from_one_pose_or_far_ones():
    made = track(pose(1.0, 0.0), pose(2.0, 1.0))
    assert at(made, 1.5) is None
    assert at(made, 0.9, 0.3) is None
    assert at(made, 2.1, 0.3) is None
    assert at(track(pose(1.0, 0.0)), 1.1, 0.3) is None
    assert at(PoseTrack(), 1.0, 0.3) is None


@pytest.mark.parametrize("other", [pose(0.5, 9.0), pose(1.2, 9.0, body="other"), pose(1.2, 9.0, world="other")])
def test_time_that_jumped_back_and_another_frame_begin_another_world(other):
    made = track(pose(1.0, 0.0), pose(1.1, 0.1))
    before = at(made, 1.05).world
    assert not made.add(other)
    assert at(made, 1.05) is None
    assert at(made, other.stamp_ns / SECOND, 0.0, lambda *_: np.eye(4)).world != before
