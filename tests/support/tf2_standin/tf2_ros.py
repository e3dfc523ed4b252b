"""What the nodes use of tf2_ros, for machines that have rclpy from wheels and no tf2: the wheels hold none.

Transforms travel over real DDS, each as a message of its own (a wheel has no tf2_msgs). Looking up knows what tf2 knows
about time: between two stamps it goes on in a line, outside of those it has it refuses.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

from geo_perception.geometry import interpolate_pose, invert_pose, pose_from_quaternion, pose_to_quaternion
from geo_perception.ros.messages import stamp_ns


class TransformException(Exception):  # noqa: N818  as tf2 has it
    pass


class Buffer:
    """Frames that hang directly below one another, or below one common parent."""

    def __init__(self):
        self.clear()

    def clear(self) -> None:
        self._poses: dict[tuple[str, str], list[tuple[int, TransformStamped]]] = defaultdict(list)

    def set_transform(self, message: TransformStamped) -> None:
        known = self._poses[message.header.frame_id, message.child_frame_id]
        known.append((stamp_ns(message.header.stamp), message))
        known.sort(key=lambda entry: entry[0])

    def lookup_transform(self, target: str, source: str, time) -> TransformStamped:
        for (parent, child), known in self._poses.items():
            if {parent, child} != {target, source}:
                continue
            stamps_ns = [stamp for stamp, _ in known]
            if not stamps_ns[0] <= time.nanoseconds <= stamps_ns[-1]:
                raise TransformException("Lookup would require extrapolation")
            if any(not np.isfinite(_numbers(message)).all() for _, message in known):
                return known[-1][1]  # what is made of it is the caller's trouble
            poses_n44 = np.stack([pose_from_quaternion(_numbers(m)[:3], _numbers(m)[3:]) for _, m in known])
            stamps_s = np.array([stamp - time.nanoseconds for stamp in stamps_ns]) * 1e-9
            T = interpolate_pose(stamps_s, poses_n44, 0.0, np.inf)
            return _message(T if (parent, child) == (target, source) else invert_pose(T))
        raise TransformException(f'"{source}" or "{target}" passed to lookupTransform does not exist.')


class TransformListener:
    def __init__(self, buffer: Buffer, node):
        self.tf_sub = node.create_subscription(TransformStamped, "/tf", buffer.set_transform, 100)


class TransformBroadcaster:
    def __init__(self, node):
        self.pub_tf = node.create_publisher(TransformStamped, "/tf", 100)

    def sendTransform(self, message: TransformStamped) -> None:
        self.pub_tf.publish(message)


def _numbers(message: TransformStamped) -> np.ndarray:
    t, q = message.transform.translation, message.transform.rotation
    return np.array([t.x, t.y, t.z, q.x, q.y, q.z, q.w])


def _message(T: np.ndarray) -> TransformStamped:
    t_3, q_4 = (values.tolist() for values in pose_to_quaternion(T))
    moved = Transform(translation=Vector3(**dict(zip("xyz", t_3, strict=True))))
    moved.rotation = Quaternion(**dict(zip("xyzw", q_4, strict=True)))
    return TransformStamped(transform=moved)
