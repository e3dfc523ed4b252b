"""What the tests of the calibration node share: small weights with a known answer, and a camera that shows pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from node_peer import NodePeer
from ros_support import CAMERA_QOS, stamped
from sensor_msgs.msg import CameraInfo, Image, Imu
from std_msgs.msg import Float64

from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import info_fields
from geo_perception.ros.codec import fill_image

NAME = "/calibration_node"
FOCAL_SIGMA = 0.03


def constant_weights(path: Path, focal_px: float, width_px: int, height_px: int) -> Path:
    """A real network, untrained, that takes every image of this size for one of a level camera of this focal length."""
    import torch

    from geo_perception.calibration.estimator import Calibrator
    from geo_perception.calibration.fields import image_scale
    from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig
    from geo_perception.calibration.network_view import network_view
    from geo_perception.calibration.uncertainty import Uncertainty

    view_hw3, factor = network_view(np.zeros((height_px, width_px, 3), np.uint8))
    torch.manual_seed(0)
    network = CalibrationNetwork(NetworkConfig(width=16, context_width=48, context_layers=1))
    with torch.no_grad():
        network.direct[-1].weight.zero_()
        network.direct[-1].bias[0] = float(np.log(focal_px * factor / image_scale(*view_hw3.shape[:2])))
        network.direct[-1].bias[4:] = 8.0
        network.correlation.fill_(20.0)  # the fields weigh nothing beside it
    uncertainty = Uncertainty((1e-4,) * 3, (FOCAL_SIGMA, 0.02, 0.02))
    Calibrator(network, uncertainty, "cpu").save(path, {})
    return path


def weights_with_lines(path: Path, focal_px: float, width_px: int, height_px: int) -> Path:
    """The same network with 15 % and 0.1 rad of uncertainty, beside which lines are believed."""
    from geo_perception.calibration.estimator import Calibrator
    from geo_perception.calibration.uncertainty import LinesUncertainty, Uncertainty

    calibrator = Calibrator.load(constant_weights(path, focal_px, width_px, height_px), "cpu")
    calibrator.uncertainty = Uncertainty((1e-4,) * 3, (0.15, 0.1, 0.1))
    calibrator.lines_uncertainty = LinesUncertainty((1.5, 2.0, 2.5), (0.01, 0.002, 0.003))
    calibrator.save(path, {})
    return path


class CameraPeer(NodePeer):
    """A camera driver, and what listens to the calibration node."""

    def __init__(self, namespace: str = ""):
        super().__init__(f"{namespace}{NAME}", "camera")
        self.images = self.node.create_publisher(Image, "/camera/image_raw", CAMERA_QOS)
        self.infos = self.node.create_publisher(CameraInfo, "/camera/camera_info", CAMERA_QOS)
        self.camera_infos = self.collect(CameraInfo, f"{self.name}/camera_info")
        self.attitudes = self.collect(Imu, f"{self.name}/attitude")
        self.focals, self.pitches, self.rolls = (
            self.collect(Float64, f"{self.name}/{topic}") for topic in ("focal_length", "pitch", "roll")
        )
        self.stamp_ns = 100 * 10**9

    def wait_until_connected(self) -> None:
        self.wait_for_listeners(self.images, self.infos)

    def show(self, image_hw3: np.ndarray, seconds: float = 0.1) -> int:
        """Publishes an image, so long after the one before by its stamp, and returns its stamp in nanoseconds."""
        self.stamp_ns += round(seconds * 1e9)
        self.images.publish(stamped(fill_image(Image(), image_hw3), self.stamp_ns))
        return self.stamp_ns

    def tell(self, camera: Camera, **changes) -> None:
        """Publishes a CameraInfo as the driver would."""
        self.infos.publish(stamped(CameraInfo(**(info_fields(camera) | changes)), self.stamp_ns))

    def show_and_wait(self, image_hw3: np.ndarray, seconds: float = 0.1) -> int:
        """Shows an image and waits until the node has worked on it; for images that are used."""
        before = len(self.focals)
        stamp_ns = self.show(image_hw3, seconds)
        assert self.spin_until(lambda: len(self.focals) > before, 10), self.values()
        return stamp_ns


def check_attitude(message: Imu) -> np.ndarray:
    """What a filter like robot_localization asks for; returns the covariance (3, 3)."""
    q = message.orientation
    assert abs(np.linalg.norm([q.x, q.y, q.z, q.w]) - 1) < 1e-6
    covariance_33 = np.array(message.orientation_covariance).reshape(3, 3)
    assert np.isfinite(covariance_33).all()
    np.testing.assert_array_equal(covariance_33, covariance_33.T)
    assert np.diag(covariance_33).min() > 0
    assert np.linalg.eigvalsh(covariance_33).min() > -1e-9
    assert message.angular_velocity_covariance[0] == message.linear_acceleration_covariance[0] == -1
    assert message.header.frame_id
    return covariance_33
