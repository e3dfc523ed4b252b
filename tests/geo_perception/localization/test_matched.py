"""The landmarks a pose agrees with, and how uncertain their depths are."""

import numpy as np
import pytest

from geo_perception.geometry import invert_pose, make_pose, so3_exp
from geo_perception.localization.matched import MATCHED_LANDMARK, matched_landmarks
from geo_perception.localization.result import Detections, Localization, Verdict

POSE = make_pose(so3_exp(np.array([0.3, -0.8, 0.2])), [1.0, -2.0, 0.5])


def localized(camera_n3: np.ndarray, covariance_66: np.ndarray, inlier_n=None, T=POSE) -> Localization:
    camera_n3 = np.asarray(camera_n3, float)
    n = len(camera_n3)
    points_n3 = camera_n3 @ T[:3, :3].T + T[:3, 3]
    pixels_n2 = np.arange(2.0 * n).reshape(n, 2)
    inlier_n = np.ones(n, bool) if inlier_n is None else np.asarray(inlier_n, bool)
    detections = Detections(np.arange(n), pixels_n2, points_n3, np.ones(n), np.ones(n), inlier_n)
    return Localization(Verdict.LOCALIZED, "", detections, T, covariance_66)


def test_points_are_in_the_optical_frame_beside_their_pixels():
    camera_n3 = np.array([[0.5, -0.2, 3.0], [1.0, 1.0, 2.0]])
    found_n = matched_landmarks(localized(camera_n3, np.eye(6) * 1e-4))
    assert found_n.dtype == MATCHED_LANDMARK
    np.testing.assert_allclose(np.stack([found_n[name] for name in "xyz"], axis=1), camera_n3, atol=1e-6)
    np.testing.assert_allclose(np.stack([found_n["u"], found_n["v"]], axis=1), [[0, 1], [2, 3]])


def test_only_inliers_in_front_of_the_camera_count():
    result = localized([[0, 0, 1], [0, 0, 2], [0, 0, -3]], np.eye(6), [False, True, True])
    np.testing.assert_allclose(matched_landmarks(result)["z"], [2.0])
    assert len(matched_landmarks(localized([[0, 0, 1]], np.eye(6), [False]))) == 0


def test_sigma_by_hand():
    # Straight ahead an uncertain position along the axis tells; a turn only shifts the point sideways.
    level = np.eye(4)
    along = np.diag([0.0, 0.0, 0.1**2, 0.05**2, 0.05**2, 0.05**2])
    assert matched_landmarks(localized([[0, 0, 2.0]], along, T=level))["sigma"] == pytest.approx(0.05)
    # One metre to the right, a turn of 0.05 rad about y moves it 0.05 m along the axis.
    turned = np.diag([0.0, 0.0, 0.0, 0.0, 0.05**2, 0.0])
    assert matched_landmarks(localized([[1.0, 0, 2.0]], turned, T=level))["sigma"] == pytest.approx(0.025)


def test_sigma_is_the_spread_of_depths_over_poses_of_this_covariance():
    rng = np.random.default_rng(0)
    root_66 = 0.01 * rng.standard_normal((6, 6))
    camera_n3 = np.array([[0.5, -0.2, 3.0], [-2.0, 1.0, 4.0]])
    result = localized(camera_n3, root_66 @ root_66.T)
    points_n3 = result.detections.points_map_n3
    depths_mn = []
    for _ in range(4000):
        e_6 = root_66 @ rng.standard_normal(6)
        moved = make_pose(so3_exp(e_6[3:]) @ POSE[:3, :3], POSE[:3, 3] + e_6[:3])
        inverse = invert_pose(moved)
        depths_mn.append((points_n3 @ inverse[:3, :3].T + inverse[:3, 3])[:, 2])
    expected_n = np.std(depths_mn, axis=0) / camera_n3[:, 2]
    np.testing.assert_allclose(matched_landmarks(result)["sigma"], expected_n, rtol=0.06)
