"""Coordinate frames: TF where tf2 is installed, and how a pose and its covariance move from one frame to another."""

from __future__ import annotations

import time

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, pose_from_quaternion, pose_to_quaternion, skew

TF_MODES = ("none", "map_odom", "map_base")
_POLL_S = 0.005


class NoTransform(InputError):  # noqa: N818  a state of the robot more than an error
    """TF does not know (yet) how two frames lie to each other at a stamp."""


def transport_covariance(T_map_camera: np.ndarray, T_camera_base: np.ndarray, covariance_66: np.ndarray) -> np.ndarray:
    """The covariance (6, 6) of the pose of `base` from that of the camera it is rigidly fixed to.

    Both are of (x, y, z, rotation about x, y, z) along the fixed axes of the map. With the arm p from the camera to the
    base in map axes, a rotation error e_r moves the base by e_r x p besides the error of the camera's position:
    J = [[I, -[p]x], [0, I]].
    """
    arm_3 = T_map_camera[:3, :3] @ T_camera_base[:3, 3]
    J_66 = np.eye(6)
    J_66[:3, 3:] = -skew(arm_3)
    return J_66 @ covariance_66 @ J_66.T


class Transforms:
    """Looks up transforms for a node, and broadcasts them where asked. Raises InputError when tf2 is not installed."""

    def __init__(self, node, broadcast: bool):
        try:
            import tf2_ros
        except ImportError as error:
            raise InputError(
                f"TF needs the ROS package tf2_ros ({error}); install ros-<distribution>-tf2-ros-py, or set tf_mode to "
                "none and base_frame to nothing"
            ) from None
        self._node = node
        self._tf2 = tf2_ros
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._broadcaster = tf2_ros.TransformBroadcaster(node) if broadcast else None

    def lookup(self, target: str, source: str, stamp, wait_s: float) -> np.ndarray:
        """T_target_source at a stamp (builtin_interfaces/Time). Waits up to `wait_s` for a transform that is still on
        its way, so it must not run in the executor's thread.

        Raises NoTransform when it does not come, when a name is empty, or when what came is no pose.
        """
        target, source = target.lstrip("/"), source.lstrip("/")  # as tf had them, and tf2 refuses
        if not target or not source:
            raise NoTransform(
                f"no transform from '{source}' to '{target}': a frame without a name; set frame_id in the messages"
            )
        if target == source:
            return np.eye(4)
        from rclpy.time import Time

        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                moved = self._buffer.lookup_transform(target, source, Time.from_msg(stamp)).transform
            except self._tf2.TransformException as error:
                if time.monotonic() >= deadline_s:
                    raise NoTransform(
                        f"no transform from {source} to {target}: {' '.join(str(error).split())}"
                    ) from None
                time.sleep(_POLL_S)
                continue
            t, q = moved.translation, moved.rotation
            try:
                return pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
            except InputError as error:
                raise NoTransform(f"the transform from {source} to {target} is of no use: {error}") from None

    def broadcast(self, parent: str, child: str, T_parent_child: np.ndarray, stamp) -> None:
        from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

        t_3, q_xyzw = (values.tolist() for values in pose_to_quaternion(T_parent_child))
        message = TransformStamped(child_frame_id=child)
        message.header.stamp, message.header.frame_id = stamp, parent
        message.transform = Transform(
            translation=Vector3(x=t_3[0], y=t_3[1], z=t_3[2]),
            rotation=Quaternion(x=q_xyzw[0], y=q_xyzw[1], z=q_xyzw[2], w=q_xyzw[3]),
        )
        self._broadcaster.sendTransform(message)

    def clear(self) -> None:
        """Forgets every transform, as after a jump of the clock."""
        self._buffer.clear()

    def close(self) -> None:
        """Ends the subscriptions and the publisher."""
        for name in ("tf_sub", "tf_static_sub"):
            if (subscription := getattr(self._listener, name, None)) is not None:
                self._node.destroy_subscription(subscription)
        if self._broadcaster is not None and (publisher := getattr(self._broadcaster, "pub_tf", None)) is not None:
            self._node.destroy_publisher(publisher)


def map_to_odom(T_map_camera: np.ndarray, T_odom_camera: np.ndarray) -> np.ndarray:
    """T_map_odom: where odometry's origin lies in the map, from where both say the camera was at one stamp."""
    return T_map_camera @ invert_pose(T_odom_camera)
