"""What the tests of the depth node share: small weights with a known answer, and a robot that shows pictures and tells
what it knows of the scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from node_peer import NodePeer
from ros_support import CAMERA_QOS
from sensor_msgs.msg import CameraInfo, Image, Imu, PointCloud2
from std_msgs.msg import Float64, Header

from geo_perception.geometry import Camera, pose_to_quaternion
from geo_perception.localization.matched import MATCHED_LANDMARK
from geo_perception.ros.camera_info import camera_from_info, info_fields
from geo_perception.ros.codec import fill_image
from geo_perception.ros.messages import attitude_message, pose_message, stamp_ns
from geo_perception.ros.point_cloud import point_cloud_message

NAME = "/depth_node"
FRAME = "camera_optical"
CAMERA = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
FLAT_DEPTH = float(np.e)  # of the flat weights, in a camera of the canonical focal length


def depth_weights(path: Path, flat: bool = False, sigma_scale: float = 0.2) -> Path:
    """A real network, untrained. With `flat` it takes every image for a wall FLAT_DEPTH away; else its depths differ
    from place to place by some ten per cent."""
    import torch

    from geo_perception.depth.estimator import DepthEstimator
    from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig

    torch.manual_seed(0)
    network = DepthNetwork(DepthNetworkConfig(widths=(16, 16, 16, 8, 8)))
    with torch.no_grad():
        for layer in network.predict:
            layer.weight.mul_(0.0 if flat else 5.0)
    DepthEstimator(network, "cpu", area_px=128 * 96, sigma_scale=sigma_scale).save(path, {})
    return path


def numbers(message: Image) -> np.ndarray:
    """The values of a one-channel image, read by what the message declares."""
    kind = {"32FC1": "<f4", "16UC1": "<u2"}[message.encoding]
    assert not message.is_bigendian
    assert len(message.data) == message.step * message.height
    assert message.step == message.width * np.dtype(kind).itemsize
    return np.frombuffer(bytes(message.data), kind).reshape(message.height, message.width)


class RobotPeer(NodePeer):
    """A camera, what else a robot tells, and what listens to the depth node."""

    def __init__(self, name: str = NAME):
        super().__init__(name, "robot")
        create = self.node.create_publisher
        self.images = create(Image, "/camera/image_raw", CAMERA_QOS)
        self.infos = create(CameraInfo, "/camera/camera_info", CAMERA_QOS)
        self.landmarks = create(PointCloud2, "/matched_landmarks", 10)
        self.attitudes = create(Imu, "/attitude", 10)
        self.odometry = create(Odometry, "/odometry", 100)
        self.camera_poses = create(PoseWithCovarianceStamped, "/camera_pose", 100)
        self.listen()
        self.camera = CAMERA
        self.stamp_ns = 100 * 10**9

    def listen(self) -> None:
        """Subscribes to all results."""
        self.depths, self.relatives, self.confidences, self.sigmas = (
            self.collect(Image, f"{self.name}/{topic}")
            for topic in ("depth", "relative_depth", "confidence", "depth_sigma")
        )
        self.points = self.collect(PointCloud2, f"{self.name}/points")
        self.scales = self.collect(Float64, f"{self.name}/scale")
        self.camera_infos = self.collect(CameraInfo, f"{self.name}/camera_info")

    @property
    def results(self) -> tuple[list, ...]:
        """All that was collected of the results."""
        images = self.depths, self.relatives, self.confidences, self.sigmas
        return *images, self.points, self.scales, self.camera_infos

    def turn_away(self) -> None:
        """Ends the subscriptions to all results."""
        for messages in self.results:
            self.stop_collecting(messages)

    def wait_until_connected(self) -> None:
        """Until the node takes images and hears all that is told."""
        told = self.landmarks, self.attitudes, self.odometry, self.camera_poses
        self.wait_for_listeners(self.images, self.infos, *told)

    def header(self, stamp: int | None = None, frame_id: str = FRAME) -> Header:
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(self.stamp_ns if stamp is None else stamp, 10**9)
        return header

    def show(self, image_hw3: np.ndarray, seconds: float = 0.1) -> int:
        """Publishes an image and its CameraInfo, so long after the one before; returns the stamp in nanoseconds."""
        self.stamp_ns += round(seconds * 1e9)
        self.infos.publish(CameraInfo(header=self.header(), **info_fields(self.camera)))
        self.spin_for(0.02)  # so that the CameraInfo is there first
        self._shown = fill_image(Image(header=self.header()), image_hw3)
        self.images.publish(self._shown)
        return self.stamp_ns

    def show_and_wait(self, image_hw3: np.ndarray, seconds: float = 0.1) -> np.ndarray:
        """Shows an image and returns its relative depth; for images that are used."""
        stamp = self.show(image_hw3, seconds)
        for _ in range(10):
            if self.spin_until(lambda: self.newest(self.relatives) == stamp, 2):
                break
            self.images.publish(self._shown)  # sent before a node that has just begun heard it
        assert self.newest(self.relatives) == stamp, self.values()
        self.spin_for(0.05)  # what else was published of it
        return numbers(self.relatives[-1])

    @staticmethod
    def newest(messages: list) -> int:
        """The stamp of the last message in nanoseconds; 0 when there is none."""
        return stamp_ns(messages[-1].header.stamp) if messages else 0

    def tell_landmarks(self, pixels_n2, depth_m_n, sigma: float = 0.01, stamp: int | None = None) -> None:
        """Publishes landmarks of the image of this stamp, as localization_node does."""
        points_n = np.zeros(len(pixels_n2), MATCHED_LANDMARK)
        points_n["u"], points_n["v"] = np.asarray(pixels_n2).T
        points_n["z"], points_n["sigma"] = depth_m_n, sigma
        points_n["x"], points_n["y"] = (self.camera.normalize(pixels_n2) * np.asarray(depth_m_n)[:, None]).T
        self.landmarks.publish(point_cloud_message(self.header(stamp), points_n))

    def tell_true_depths(self, relative_hw: np.ndarray, factor: float, count: int = 60, seed: int = 0) -> None:
        """Publishes landmarks whose depths are `factor` times the relative depth at their pixels."""
        height, width = relative_hw.shape
        rng = np.random.default_rng(seed)
        rows, columns = rng.integers(2, height - 2, count), rng.integers(2, width - 2, count)
        small = self.camera.resized(width, height)
        xy_n2 = small.normalize(np.stack([columns, rows], axis=1))
        pixels_n2 = self.camera.project(np.column_stack([xy_n2, np.ones(count)]))
        self.tell_landmarks(pixels_n2, factor * relative_hw[rows, columns].astype(np.float64))

    def tell_attitude(self, pitch_rad: float, roll_rad: float = 0.0, sigma_rad: float = 0.01, frame_id=FRAME) -> None:
        """Publishes the camera's attitude, as calibration_node does."""
        covariance_33 = np.diag([1.0, sigma_rad**2, sigma_rad**2])
        self.attitudes.publish(attitude_message(frame_id, self.header().stamp, pitch_rad, roll_rad, covariance_33))

    def tell_odometry(self, T_odom_base: np.ndarray, stamp: int) -> None:
        message = Odometry(header=self.header(stamp, "odom"), child_frame_id="base_link")
        t_3, q_4 = (values.tolist() for values in pose_to_quaternion(T_odom_base))
        position, orientation = message.pose.pose.position, message.pose.pose.orientation
        position.x, position.y, position.z = t_3
        orientation.x, orientation.y, orientation.z, orientation.w = q_4
        self.odometry.publish(message)

    def tell_camera_pose(self, T_map_camera: np.ndarray, stamp: int, sigma_m: float = 0.005, sigma_rad: float = 0.001):
        """Publishes the pose of the camera in the map, as localization_node does."""
        covariance_66 = np.diag(np.repeat([sigma_m**2, sigma_rad**2], 3))
        self.camera_poses.publish(pose_message("map", self.header(stamp).stamp, T_map_camera, covariance_66))

    def published_camera(self) -> Camera:
        """The newest camera that the node has published."""
        return camera_from_info(self.camera_infos[-1])
