"""Results that are no numbers never leave a node. The estimators give none by themselves, so here they are made to."""

from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_peer import HostingPeer
from rclpy.qos import qos_profile_sensor_data
from ros_support import stamped
from sensor_msgs.msg import Image

from geo_perception.depth.node import DepthNode
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.geometry import Camera
from geo_perception.localization.estimator import LocalizerOptions
from geo_perception.localization.node import LocalizationNode
from geo_perception.localization.result import Localization, Verdict
from geo_perception.ros.codec import fill_image

CHOICE = SimpleNamespace(name="torch", why="")
PINHOLE = Camera(8, 8, 8.0, 8.0, 3.5, 3.5)
GIVEN = {
    "camera.k": PINHOLE.K.reshape(-1).tolist(), "camera.width_px": 8, "camera.height_px": 8,
}  # fmt: skip
PICTURE = np.full((8, 8, 3), 90, np.uint8)


def told_by(make, kind, topic: str, **parameters) -> tuple[list, dict[str, str]]:
    """What the node publishes of one image, and what its diagnostics say after that."""
    with HostingPeer(make, lazy=False, **GIVEN, **parameters) as peer:
        results = peer.collect(kind, topic)
        images = peer.node.create_publisher(Image, "image", qos_profile_sensor_data)
        peer.start(images)
        images.publish(stamped(fill_image(Image(), PICTURE), 10 * 10**9, "camera"))
        values = peer.wait_for(lambda values: int(values["processed"]) + int(values["rejected"]) == 1)
        peer.spin_for(0.2)
        return results, values


@pytest.mark.parametrize("wrong", ["nothing", "pose", "covariance"])
def test_a_pose(wrong, monkeypatch):
    T, covariance_66 = np.eye(4), np.eye(6) * 1e-4
    if wrong == "pose":
        T[0, 3] = np.nan
    elif wrong == "covariance":
        covariance_66[4, 4] = np.inf
    answer = Localization(Verdict.LOCALIZED, "20 landmarks", T_map_camera=T, covariance_66=covariance_66)

    def load(self) -> None:
        scene = SimpleNamespace(frame_id="map")
        self._localizer = SimpleNamespace(
            scene=scene, metric=True, landmarks_map_l3=np.zeros((1, 3)), options=LocalizerOptions(),
            estimate=lambda *_: answer,
        )  # fmt: skip
        self._pose = self.output(PoseWithCovarianceStamped, "~/pose")
        self._overlay = self.output(Image, "~/detections")
        self._matched = self.output(Image, "~/matched_landmarks")
        self._landmarks = SimpleNamespace(publish=lambda _: None)

    monkeypatch.setattr(LocalizationNode, "prepare", lambda _: None)
    monkeypatch.setattr(LocalizationNode, "load", load)
    poses, values = told_by(LocalizationNode, PoseWithCovarianceStamped, "/localization_node/pose", agreeing_frames=1)
    if wrong == "nothing":
        assert len(poses) == 1
        assert values["rejected"] == "0"
    else:
        assert poses == []
        assert values["rejected: defect of the node"] == "1"
        assert values["last rejection"] == "the estimated pose or its covariance is not finite"


@pytest.mark.parametrize("wrong", [False, True])
def test_a_depth_map(wrong, monkeypatch):
    depth_hw = np.full((8, 8), np.nan if wrong else 2.0, np.float32)
    answer = RelativeDepth(DepthVerdict.ESTIMATED, "", PINHOLE, depth_hw, None, PICTURE)
    estimator = SimpleNamespace(
        estimate=lambda *_: answer, warm_up=lambda: None, metric=False, choice=CHOICE, use_smaller_input=lambda _: False
    )
    monkeypatch.setattr(DepthNode, "prepare", lambda _: estimator)
    maps, values = told_by(DepthNode, Image, "/depth_node/relative_depth")
    if wrong:
        assert maps == []
        assert values["rejected: defect of the node"] == "1"
        assert values["last rejection"] == "the estimated depth holds no number"
    else:
        assert len(maps) == 1
