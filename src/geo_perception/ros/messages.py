"""Results as ROS messages. Headers are made here only for what has no image behind it."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from geometry_msgs.msg import Point, PoseWithCovarianceStamped
from sensor_msgs.msg import CameraInfo, Image, Imu
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose, pose_from_quaternion, pose_to_quaternion, rotation_gravity_camera
from geo_perception.ros.camera_info import info_fields

YAW_VARIANCE_RAD2 = 1e6  # nothing is known about the heading
_LEAST_VARIANCE_RAD2 = 1e-9  # looking straight up or down one axis has none, and filters take zero for "not given"
_ABSENT = [-1.0] + [0.0] * 8  # sensor_msgs/Imu: not measured
_LANDMARK_COLOR = ColorRGBA(r=1.0, g=0.62, b=0.05, a=0.9)


def stamp_ns(stamp) -> int:
    """A builtin_interfaces/Time in nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def pose_message(frame_id: str, stamp, T_map_body: np.ndarray, covariance_66: np.ndarray) -> PoseWithCovarianceStamped:
    """The pose of a body in `frame_id`. The covariance (6, 6) is of (x, y, z, rotation about x, y, z) along the fixed
    axes of that frame, in metres and radians; it is made exactly symmetric."""
    message = PoseWithCovarianceStamped()
    message.header.stamp, message.header.frame_id = stamp, frame_id
    t_3, q_xyzw = pose_to_quaternion(T_map_body)
    position, orientation = message.pose.pose.position, message.pose.pose.orientation
    position.x, position.y, position.z = t_3.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = q_xyzw.tolist()
    message.pose.covariance = (0.5 * (covariance_66 + covariance_66.T)).reshape(36).astype(np.float64)
    return message


def camera_info_message(header, camera: Camera) -> CameraInfo:
    """The CameraInfo of the image with this header."""
    return CameraInfo(header=header, **info_fields(camera))


def attitude_message(
    frame_id: str, stamp, pitch_rad: float, roll_rad: float, covariance_33: np.ndarray, body: bool = False
) -> Imu:
    """The attitude of a camera: the orientation of `frame_id` in a level world (z up), its heading unknown and put to
    zero. Angular velocity and acceleration are marked absent.

    `frame_id` is the optical frame (x right, y down, z forward), whose x axis is then turned to the world's x (east,
    so that the camera looks north); or, with `body`, a frame with x forward, y left, z up in the same housing, turned
    to look east. `covariance_33` is that of (anything, pitch, roll); the message's is of rotations about the world's
    fixed axes, which for a heading of zero are also those of roll, pitch and yaw.
    """
    level_33 = rotation_gravity_camera(pitch_rad, roll_rad)  # x forward
    # What one radian of pitch and of roll turn about (forward, left, up). Looking up turns about the right.
    J_32 = np.array([[0, np.cos(pitch_rad)], [-1, 0], [0, np.sin(pitch_rad)]])
    if body:
        R_world_33 = level_33 @ rotation_gravity_camera(0.0, 0.0).T
    else:
        north_33 = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        R_world_33, J_32 = north_33 @ level_33, north_33 @ J_32
    axes_33 = J_32 @ covariance_33[1:, 1:] @ J_32.T
    axes_33 = 0.5 * (axes_33 + axes_33.T) + np.diag([_LEAST_VARIANCE_RAD2] * 2 + [YAW_VARIANCE_RAD2])
    message = Imu()
    message.header.stamp, message.header.frame_id = stamp, frame_id
    _, q_xyzw = pose_to_quaternion(make_pose(R_world_33, np.zeros(3)))
    orientation = message.orientation
    orientation.x, orientation.y, orientation.z, orientation.w = q_xyzw.tolist()
    message.orientation_covariance = axes_33.reshape(9)
    message.angular_velocity_covariance = message.linear_acceleration_covariance = _ABSENT
    return message


def attitude_from_message(message: Imu) -> tuple[np.ndarray, float]:
    """The unit vector (3,) against gravity in the frame of an Imu, and the standard deviation in radians of its
    direction, in its worst direction. The inverse of `attitude_message`, whatever the heading is.

    Raises InputError when the message holds no orientation (REP 145: a first covariance of -1, or a quaternion of
    zeros), or a covariance that cannot be.
    """
    covariance_33 = np.array(message.orientation_covariance, np.float64).reshape(3, 3)
    q = message.orientation
    if covariance_33[0, 0] == -1:
        raise InputError("the Imu holds no orientation; give one that does, as ~/attitude of calibration_node")
    up_3 = pose_from_quaternion((0, 0, 0), (q.x, q.y, q.z, q.w))[2, :3]
    if not np.isfinite(covariance_33).all():
        raise InputError("the Imu's covariance is not finite; check its publisher")
    # Turns about the vertical, the third axis of the world, do not change where up is.
    worst_rad2 = float(np.linalg.eigvalsh(0.5 * (covariance_33 + covariance_33.T)[:2, :2])[-1])
    if worst_rad2 <= 0:
        raise InputError("the Imu's covariance is zero, which means unknown; give one that says how sure it is")
    return up_3, float(np.sqrt(worst_rad2))


def float_image(header, values_hw: np.ndarray) -> Image:
    """A 32FC1 image of numbers (H, W)."""
    return _single_channel(header, np.asarray(values_hw, np.float32), "32FC1")


def depth_image(header, depth_m_hw: np.ndarray, encoding: str = "32FC1") -> Image:
    """A depth image (REP 118) from metres along z (H, W), NaN where unknown and infinite beyond the range.

    `32FC1` has those as they are. `16UC1` has millimetres, and 0 for what is unknown, out of range or more than 65.5 m
    away: REP 118 knows no other word for it there. Raises InputError for another encoding.
    """
    if encoding == "32FC1":
        return float_image(header, depth_m_hw)
    if encoding != "16UC1":
        raise InputError(f"cannot publish depth as '{encoding}'; use 32FC1 or 16UC1")
    with np.errstate(invalid="ignore"):
        millimetres_hw = np.rint(np.asarray(depth_m_hw, np.float32) * 1e3)
        fits_hw = (millimetres_hw >= 1) & (millimetres_hw <= np.iinfo(np.uint16).max)
    return _single_channel(header, np.where(fits_hw, millimetres_hw, 0).astype(np.uint16), encoding)


def _single_channel(header, values_hw: np.ndarray, encoding: str) -> Image:
    height_px, width_px = values_hw.shape
    message = Image(header=header, height=height_px, width=width_px, encoding=encoding)
    message.step, message.is_bigendian = width_px * values_hw.itemsize, int(sys.byteorder == "big")
    message.data = array("B", values_hw.tobytes())
    return message


def landmark_markers(frame_id: str, stamp, points_l3: np.ndarray, diameter_m: float) -> MarkerArray:
    """Landmarks as one marker of spheres. An earlier set is deleted first."""
    clear = Marker(ns="landmarks", action=Marker.DELETEALL)
    spheres = Marker(ns="landmarks", id=0, type=Marker.SPHERE_LIST, action=Marker.ADD, color=_LANDMARK_COLOR)
    for marker in (clear, spheres):
        marker.header.stamp, marker.header.frame_id = stamp, frame_id
    spheres.pose.orientation.w = 1.0
    spheres.scale.x = spheres.scale.y = spheres.scale.z = float(diameter_m)
    spheres.points = [Point(x=x, y=y, z=z) for x, y, z in np.asarray(points_l3, np.float64).tolist()]
    return MarkerArray(markers=[clear, spheres])


def landmark_diameter_m(points_l3: np.ndarray) -> float:
    """A size at which the spheres can be told apart: a hundredth of the middle 80 % of the landmarks' extent."""
    if len(points_l3) == 0:
        return 0.05
    low_3, high_3 = np.percentile(np.asarray(points_l3, np.float64), [10, 90], axis=0)
    return float(max(0.01 * np.linalg.norm(high_3 - low_3), 1e-3))
