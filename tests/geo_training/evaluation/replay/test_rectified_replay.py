"""A recording of rectified images is worth what that of the raw ones is: the same poses within their noise."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from geo_training.datasets.recordings.to_bag import BagMessages
from geo_training.evaluation.replay.bag_input import open_bag
from geo_training.evaluation.replay.replay import replay_bag
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from rosbags.rosbag2 import StoragePlugin, Writer

from geo_perception.geometry import Camera, pose_error
from geo_perception.localization.estimator import Localizer

LENS = Camera(320, 224, 210.0, 210.0, 159.5, 111.5, "plumb_bob", (-0.12, 0.03, 4e-4, -3e-4, 0.0))
FISHEYE = Camera(320, 224, 190.0, 190.0, 159.5, 111.5, "equidistant", (-0.02, 0.004, 0.0, 0.0))
FRAMES = 6
FIRST_NS, STEP_NS = 1_700_000_000 * 10**9, 250_000_000


def image_proc(raw_rgb: np.ndarray, lens: Camera, P_34: np.ndarray) -> np.ndarray:
    """The rectified image as image_proc makes it, by OpenCV."""
    size, D = (lens.width_px, lens.height_px), np.array(lens.distortion)
    library = cv2.fisheye if lens.model == "equidistant" else cv2
    maps = library.initUndistortRectifyMap(lens.K, D, np.eye(3), P_34[:, :3], size, cv2.CV_32FC1)
    return cv2.remap(raw_rgb, *maps, cv2.INTER_LINEAR)


def projection(lens: Camera) -> np.ndarray:
    """P as the calibration of a driver chooses it: no black rim."""
    size, D = (lens.width_px, lens.height_px), np.array(lens.distortion)
    if lens.model == "equidistant":
        K_33 = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(lens.K, D, size, np.eye(3), balance=0.0)
    else:
        K_33 = cv2.getOptimalNewCameraMatrix(lens.K, D, size, 0.0)[0]
    return np.concatenate([K_33, np.zeros((3, 1))], axis=1)


def poses() -> list[np.ndarray]:
    """New places in the cube that the tiny scene was learned in."""
    rng = np.random.default_rng(77)
    found = []
    for _ in range(FRAMES):
        position_3 = np.array([0.0, 0.0, 1.4]) + rng.uniform(-0.3, 0.3, 3)
        angles = np.radians([65, 0, 0]) + np.radians([10, 5, 4]) * rng.uniform(-1, 1, 3)
        found.append(camera_pose(position_3, *angles))
    return found


@lru_cache(maxsize=1)
def room() -> tuple[Room, Lighting]:
    """The room of the tiny scene."""
    made = Room.generate(4)
    return made, Lighting.daylight(made)


def write_bag(folder: Path, lens: Camera) -> Path:
    """One walk with the raw images, the rectified ones, and the raw lens's CameraInfo with P."""
    messages, P_34, path = BagMessages("map"), projection(lens), folder / "walk"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}

        def put(topic, stamp_ns, message):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=messages.store)
            writer.write(connections[topic], stamp_ns, messages.store.serialize_cdr(message, message.__msgtype__))

        for index, T_map_camera in enumerate(poses()):
            stamp_ns = FIRST_NS + index * STEP_NS
            raw_rgb = render(room()[0], lens, T_map_camera, room()[1], supersample=1).image_rgb
            info = messages.camera_info(stamp_ns, lens)
            info.p[:] = P_34.reshape(-1)
            put("/ground_truth/pose", stamp_ns, messages.pose_stamped(stamp_ns, T_map_camera))
            put("/camera/camera_info", stamp_ns, info)
            for topic, image_rgb in (("image_raw", raw_rgb), ("image_rect", image_proc(raw_rgb, lens, P_34))):
                data = cv2.imencode(".png", image_rgb[..., ::-1])[1].tobytes()
                put(f"/camera/{topic}/compressed", stamp_ns, messages.compressed(stamp_ns, data, "png"))
    return path


@pytest.fixture(scope="module", params=[LENS, FISHEYE], ids=["plumb_bob", "equidistant"])
def bag(request, tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("rectified"), request.param)


@pytest.fixture(scope="module")
def replay(tiny_scene):
    localizer = Localizer.load(tiny_scene.scene_path, "cpu")

    def run(bag: Path, topic: str, rectified: str = "auto"):
        recording = open_bag(bag, f"/camera/{topic}/compressed", rectified=rectified)
        return replay_bag(localizer, recording, localizer.scene.landmarks_map_l3)

    return run


def test_both_give_the_same_poses_within_their_noise(bag, replay):
    """Every pair of poses lies within one stated standard deviation, in position and in rotation."""
    raw, rectified = replay(bag, "image_raw"), replay(bag, "image_rect")
    for a, b in zip(raw.outcomes, rectified.outcomes, strict=True):
        assert a.stamp_ns == b.stamp_ns
        distance_m, angle_rad = pose_error(a.T_estimated, b.T_estimated)
        variance_66 = a.covariance_66 + b.covariance_66
        assert distance_m < np.sqrt(np.trace(variance_66[:3, :3]))
        assert angle_rad < np.sqrt(np.trace(variance_66[3:, 3:]))
    for evaluation in (raw, rectified):
        assert evaluation.metrics["recall_2cm_2deg"] == 1.0
        assert evaluation.metrics["coverage_90"] > 0.9
    assert rectified.metrics["median_cm"] < raw.metrics["median_cm"] + 0.7  # of 2 cm that are stated
    assert "are rectified, as its name says" in rectified.metadata["taken"]
    assert "taken" not in raw.metadata


def test_undistorted_twice_the_same_images_are_worth_nothing(bag, replay):
    """This is what the check above must be able to see."""
    twice = replay(bag, "image_rect", "false")
    assert twice.metrics["median_cm"] > 8
    assert twice.metrics["recall_5cm_5deg"] == 0.0
    assert twice.metrics["coverage_90"] == 0.0


def test_the_camera_of_a_frame_is_p_by_name_or_option(bag):
    topics = {"image_raw": False, "image_rect": True}
    for topic, by_name in topics.items():
        for rectified, wanted in (("auto", by_name), ("true", True), ("false", False)):
            recording = open_bag(bag, f"/camera/{topic}/compressed", rectified=rectified)
            camera = recording.camera_at(FIRST_NS, 320, 224)
            assert (camera.model == "pinhole") is wanted
            if wanted:
                np.testing.assert_allclose(camera.K, recording.infos[0].p.reshape(3, 4)[:, :3])
