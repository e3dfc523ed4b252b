"""Poses and their covariance between frames that are fixed to each other."""

import sys

import numpy as np
import pytest

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, make_pose, so3_exp, so3_log
from geo_perception.ros.frames import Transforms, map_to_odom, transport_covariance

T_MAP_CAMERA = make_pose(so3_exp(np.array([0.3, -0.8, 1.2])), [4.0, -2.0, 1.5])
T_CAMERA_BASE = make_pose(so3_exp(np.array([1.2, -1.2, 1.2])), [0.1, 0.6, -0.4])


def _covariance(seed: int = 0) -> np.ndarray:
    A_66 = np.random.default_rng(seed).normal(size=(6, 6))
    scale_6 = np.array([0.02, 0.03, 0.01, 0.004, 0.006, 0.005])
    return (A_66 @ A_66.T / 6) * np.outer(scale_6, scale_6)


class TestTransportCovariance:
    def test_an_arm_turns_a_rotation_error_into_a_position_error_by_hand(self):
        # The base is 2 m ahead along the map's x; the camera may be turned about the map's z by 0.01 rad. So the base
        # is off by 2 x 0.01 = 0.02 m along y, and the two errors go together.
        covariance_66 = np.zeros((6, 6))
        covariance_66[5, 5] = 0.01**2
        T_camera_base = make_pose(np.eye(3), [2.0, 0, 0])
        moved_66 = transport_covariance(np.eye(4), T_camera_base, covariance_66)
        expected_66 = np.zeros((6, 6))
        expected_66[1, 1] = 0.02**2
        expected_66[5, 5] = 0.01**2
        expected_66[1, 5] = expected_66[5, 1] = 0.02 * 0.01
        np.testing.assert_allclose(moved_66, expected_66, atol=1e-15)

    def test_without_an_arm_nothing_changes(self):
        T_camera_base = make_pose(so3_exp(np.array([0.5, 0.2, -1.0])), [0, 0, 0])
        np.testing.assert_allclose(transport_covariance(T_MAP_CAMERA, T_camera_base, _covariance()), _covariance())

    def test_against_the_spread_of_sampled_poses(self):
        covariance_66 = _covariance()
        T_map_base = T_MAP_CAMERA @ T_CAMERA_BASE
        errors = []
        for e_6 in np.random.default_rng(1).multivariate_normal(np.zeros(6), covariance_66, size=8000):
            T_off = make_pose(so3_exp(e_6[3:]) @ T_MAP_CAMERA[:3, :3], T_MAP_CAMERA[:3, 3] + e_6[:3]) @ T_CAMERA_BASE
            turned_3 = so3_log(T_off[:3, :3] @ T_map_base[:3, :3].T)
            errors.append(np.concatenate([T_off[:3, 3] - T_map_base[:3, 3], turned_3]))
        expected_66 = np.cov(np.array(errors).T)
        moved_66 = transport_covariance(T_MAP_CAMERA, T_CAMERA_BASE, covariance_66)
        sigma_6 = np.sqrt(np.diag(expected_66))
        np.testing.assert_allclose(
            moved_66 / np.outer(sigma_6, sigma_6), expected_66 / np.outer(sigma_6, sigma_6), atol=0.06
        )

    def test_there_and_back_is_the_covariance_itself(self):
        there_66 = transport_covariance(T_MAP_CAMERA, T_CAMERA_BASE, _covariance())
        back_66 = transport_covariance(T_MAP_CAMERA @ T_CAMERA_BASE, invert_pose(T_CAMERA_BASE), there_66)
        np.testing.assert_allclose(back_66, _covariance(), atol=1e-12)


def test_map_to_odom_puts_odometrys_camera_where_the_map_says():
    T_odom_camera = make_pose(so3_exp(np.array([0.1, 0.2, 2.0])), [30.0, 1.0, 0.0])
    np.testing.assert_allclose(map_to_odom(T_MAP_CAMERA, T_odom_camera) @ T_odom_camera, T_MAP_CAMERA, atol=1e-12)


def test_without_tf2_the_answer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(InputError, match="install ros-<distribution>-tf2-ros-py, or set tf_mode to none"):
        Transforms(node=None, broadcast=True)
