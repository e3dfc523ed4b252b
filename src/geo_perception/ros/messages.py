"""Results as ROS messages. Headers are made here only for what has no image behind it."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, PoseWithCovarianceStamped
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from geo_perception.geometry import pose_to_quaternion

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
