"""Measurements of true depth as ROS messages: landmarks, attitude, odometry, poses of the camera; and the images they
are about.

The callbacks run in the node's executor. What they take waits for the thread that works on the images.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, PointCloud2

from geo_perception.depth.measurements import Attitude, Landmarks, MotionPose
from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion
from geo_perception.ros import qos
from geo_perception.ros.frames import NoTransform, Transforms
from geo_perception.ros.messages import attitude_from_message, stamp_ns
from geo_perception.ros.point_cloud import point_cloud_array
from geo_perception.ros.stamp_order import StampOrder
from geo_perception.ros.worker import Frame

LANDMARK_FIELDS = ("z", "u", "v", "sigma")
FARTHEST_M = 1e5  # no camera sees farther
KEPT_FRAMES, KEPT_BYTES, LANDMARKS_GONE_S = 20, 64 << 20, 30.0
POSE_GONE_S = 1.0  # a localizer that was silent for so long is not waited for
_KEPT_MESSAGES = 1000


class ScaleInputs:
    """The inputs of a `PerceptionNode` that a scale can be measured from. Made in the node's constructor.

    `unusable` counts messages that say nothing or contradict themselves, since the last reset.
    """

    def __init__(self, node):
        self._node = node
        self._measurements: deque = deque(maxlen=_KEPT_MESSAGES)
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        self._landmarks_s = -np.inf  # when any came
        self._warned: set[str] = set()
        self._odometry_order: StampOrder[Odometry] = StampOrder()
        self._pose_order: StampOrder[PoseWithCovarianceStamped] = StampOrder()
        self._metric_epoch = -1  # in which landmarks showed that the localizer's scene is in metres
        self._came = threading.Condition()
        self._newest_pose: tuple[int, int, float] = (-1, 0, -np.inf)  # epoch, stamp, when it came
        self._transforms: Transforms | None = None
        self._no_tf = ""
        self.unusable = 0
        node.images.on_frame = self._keep_frame

    def configure(self) -> None:
        """Announces the inputs. For the node's `load`."""
        resolve = self._node.resolve_topic_name
        beside = self._node.images.add_side_input
        beside(PointCloud2, resolve("matched_landmarks"), self._on_landmarks, qos.SIDE_INPUT_IN)
        beside(Imu, resolve("attitude"), self._on_attitude, qos.SIDE_INPUT_IN)
        beside(Odometry, resolve("odometry"), self._on_odometry, qos.ODOMETRY_IN)
        beside(PoseWithCovarianceStamped, resolve("camera_pose"), self._on_camera_pose, qos.ODOMETRY_IN)

    def close(self) -> None:
        """Ends what was opened for odometry."""
        if self._transforms is not None:
            self._transforms.close()
        self._transforms, self._no_tf = None, ""

    def clear(self) -> None:
        """Forgets all messages and images."""
        self._measurements.clear()
        with self._lock:
            self._frames.clear()
        self._warned.clear()
        self._odometry_order.clear()
        self._pose_order.clear()
        self.unusable = 0
        if self._transforms is not None:
            self._transforms.clear()

    def wait_for_pose(self, epoch: int, at_ns: int, seconds: float) -> bool:
        """Waits until the localizer has spoken of the image of this stamp, or of a later one; not when it has not
        spoken lately. False when the time is over."""
        until_s = time.monotonic() + seconds
        with self._came:
            while self._node.epoch == epoch:
                spoke_in, newest_ns, came_s = self._newest_pose
                left_s = until_s - time.monotonic()
                if spoke_in != epoch or newest_ns >= at_ns or until_s - came_s > POSE_GONE_S + seconds:
                    return True
                if left_s <= 0:
                    return False
                self._came.wait(left_s)
            return True

    def take(self, epoch: int, frame_id: str) -> list[Landmarks | Attitude | MotionPose]:
        """What has come since the last time in this epoch, for the camera whose optical frame this is, in order."""
        taken = []
        while True:
            try:
                epoch_then, camera_frame, measurement = self._measurements.popleft()
            except IndexError:
                return taken
            if epoch_then != epoch:
                continue
            if camera_frame is None or camera_frame.lstrip("/") == frame_id.lstrip("/"):
                taken.append(measurement)
            else:
                kind = type(measurement).__name__.lower()
                self._warn_once(
                    f"frame of {kind}",
                    f"{kind} of frame '{camera_frame}' not used: the images are of '{frame_id}'; publish it for the "
                    "image's own optical frame",
                )

    def frames(self) -> dict[int, Frame]:
        """The last images by their stamps, also those that were not worked on; none while no landmarks come."""
        with self._lock:
            return {frame.stamp_ns: frame for frame in self._frames}

    def camera_on_base(self, camera_frame: str, pose: MotionPose, at_ns: int) -> np.ndarray | None:
        """T_base_camera at a stamp: from odometry_camera_pose, else from TF; None where neither knows it."""
        given = self._node.value("odometry_camera_pose")
        if any(given):
            return pose_from_quaternion(given[:3], given[3:])
        if self._transforms is None:
            return None
        from builtin_interfaces.msg import Time

        stamp = Time(sec=at_ns // 10**9, nanosec=at_ns % 10**9)
        try:
            return self._transforms.lookup(pose.body_frame or camera_frame, camera_frame, stamp, 0.0)
        except NoTransform as error:
            self._node.warn(pose.source, f"{pose.source} is not used: {error}")
            return None

    def _keep_frame(self, frame: Frame) -> None:
        with self._lock:
            if time.monotonic() - self._landmarks_s > LANDMARKS_GONE_S:
                self._frames.clear()
                return
            self._frames.append(frame)
            while len(self._frames) > 1 and sum(len(kept.message.data) for kept in self._frames) > KEPT_BYTES:
                self._frames.popleft()

    def _on_landmarks(self, message: PointCloud2) -> None:
        self._landmarks_s = time.monotonic()
        try:
            points_n = point_cloud_array(message)
            missing = [name for name in LANDMARK_FIELDS if name not in points_n.dtype.names]
            if missing:
                raise InputError(f"it has no field {missing[0]}; give {', '.join(LANDMARK_FIELDS)}")
            values_4n = np.stack([points_n[name].astype(np.float64).reshape(len(points_n)) for name in LANDMARK_FIELDS])
            usable_n = np.isfinite(values_4n).all(axis=0) & (values_4n[0] > 0) & (values_4n[0] <= FARTHEST_M)
            usable_n &= values_4n[3] > 0
            if len(points_n) > 0 and not usable_n.any():
                raise InputError(f"none of its {len(points_n)} points has numbers, a depth and a standard deviation")
        except (InputError, ValueError) as error:
            self._refuse("matched_landmarks", error)
            return
        z_n, u_n, v_n, sigma_n = values_4n[:, usable_n]
        if len(z_n):
            self._metric_epoch = self._node.epoch
        stamp = stamp_ns(message.header.stamp)
        self._add(message.header.frame_id, Landmarks(stamp, np.stack([u_n, v_n], axis=1), z_n, sigma_n))

    def _on_attitude(self, message: Imu) -> None:
        try:
            up_3, sigma_rad = attitude_from_message(message)
        except InputError as error:
            self._refuse("attitude", error)
            return
        self._add(message.header.frame_id, Attitude(stamp_ns(message.header.stamp), up_3, sigma_rad))

    def _on_odometry(self, message: Odometry) -> None:
        for taken in self._in_order("odometry", self._odometry_order, message):
            # A pose in another frame of odometry is no continuation of the ones before.
            names = f"{taken.header.frame_id} {taken.child_frame_id}"
            self._take_pose(taken, "odometry", taken.child_frame_id, names, (0.0, 0.0))

    def _on_camera_pose(self, message: PoseWithCovarianceStamped) -> None:
        for taken in self._in_order("camera_pose", self._pose_order, message):
            if self._metric_epoch != self._node.epoch:
                continue  # a scene of unknown scale has poses, but no landmarks
            covariance_66 = np.array(taken.pose.covariance).reshape(6, 6)
            variance_m2, variance_rad2 = np.trace(covariance_66[:3, :3]) / 3, np.trace(covariance_66[3:, 3:]) / 3
            if not (0 < variance_m2 < np.inf and 0 < variance_rad2 < np.inf):
                error = InputError("its covariance has no positive variances; publish how certain the pose is")
                self._refuse("camera_pose", error)
                continue
            sigmas = float(np.sqrt(variance_m2)), float(np.sqrt(variance_rad2))
            frame = self._node.value("camera_pose_frame") or None
            self._take_pose(taken, "camera_pose", frame, taken.header.frame_id, sigmas)
            with self._came:
                self._newest_pose = self._node.epoch, stamp_ns(taken.header.stamp), time.monotonic()
                self._came.notify_all()

    def _in_order(self, topic: str, order: StampOrder, message) -> list:
        """Those of the messages on a topic that may be used now."""
        passed = order.put(message, stamp_ns(message.header.stamp), time.monotonic())
        for _, detail in passed.dropped:
            self._refuse(topic, InputError(detail))
        return list(passed.taken)

    def _take_pose(self, message, source: str, body_frame: str | None, world: str, sigmas: tuple[float, float]) -> None:
        if body_frame is not None and not any(self._node.value("odometry_camera_pose")) and not self._receives_tf():
            self._warn_once(source, f"{source} is not used: {self._no_tf}")
            return
        p, q = message.pose.pose.position, message.pose.pose.orientation
        try:
            T_world_body = pose_from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        except InputError as error:
            self._refuse(source, error)
            return
        stamp = stamp_ns(message.header.stamp)
        self._add(None, MotionPose(stamp, T_world_body, body_frame, world, *sigmas, source))

    def _receives_tf(self) -> bool:
        if self._transforms is None and not self._no_tf:
            try:
                self._transforms = Transforms(self._node, broadcast=False)
            except InputError:
                self._no_tf = (
                    "where the camera sits on the robot is not known, since TF is not installed; give "
                    "odometry_camera_pose, or install tf2_ros"
                )
        return self._transforms is not None

    def _add(self, frame_id: str | None, measurement) -> None:
        self._measurements.append((self._node.epoch, frame_id, measurement))

    def _refuse(self, topic: str, error: Exception) -> None:
        self.unusable += 1
        self._node.warn(f"unusable {topic}", f"a message on {topic} cannot be used: {error}")

    def _warn_once(self, kind: str, sentence: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._node.get_logger().warning(sentence)
