"""Cameras, poses and projection: pure functions and small value types, no I/O and no ROS."""

from geo_perception.geometry.attitude import (
    attitude_from_up,
    focal_px_from_fov,
    fov_rad,
    horizon_line,
    horizon_midpoint,
    rotation_gravity_camera,
    up_from_attitude,
    wrap_rad,
)
from geo_perception.geometry.camera import Camera, SizeMismatch, same_shape
from geo_perception.geometry.epipolar import essential_matrix, sampson_distance
from geo_perception.geometry.pose import (
    checked_quaternion,
    checked_rotation,
    interpolate_pose,
    invert_pose,
    make_pose,
    pose_error,
    pose_from_quaternion,
    pose_to_quaternion,
    rotation_angle_rad,
    skew,
    so3_exp,
    so3_log,
)

__all__ = [
    "Camera",
    "SizeMismatch",
    "attitude_from_up",
    "checked_quaternion",
    "checked_rotation",
    "essential_matrix",
    "focal_px_from_fov",
    "fov_rad",
    "horizon_line",
    "horizon_midpoint",
    "interpolate_pose",
    "invert_pose",
    "make_pose",
    "pose_error",
    "pose_from_quaternion",
    "pose_to_quaternion",
    "rotation_angle_rad",
    "rotation_gravity_camera",
    "same_shape",
    "sampson_distance",
    "skew",
    "so3_exp",
    "so3_log",
    "up_from_attitude",
    "wrap_rad",
]
