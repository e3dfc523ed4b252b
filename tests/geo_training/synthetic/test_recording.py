"""A rendered walk in a rosbag2 says the same as the renderer: images, CameraInfo, true poses."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from geo_training.datasets.recordings.bags import Recording, header_stamp_ns
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.scene import SceneDataset
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.recording import CAMERA, FIRST_STAMP_NS, POSE_HZ, RecordingPlan, record
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room

from geo_perception.errors import InputError
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.codec import decode_image

SMALL = replace(CAMERA.resized(160, 120), model=CAMERA.model)
PLAN = RecordingPlan(3, 1, duration_s=1.0, image_hz=4, turns=0.1, camera=SMALL)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("walk") / "walk"
    assert record(PLAN, path) == 4
    return path


def test_the_bag_holds_what_the_plan_says(bag):
    way = PLAN.walk(Room.generate(3))
    assert not bag.with_name("walk.partial").exists()
    with Recording(bag) as recording:
        counts = {name: topic.count for name, topic in recording.topics.items()}
        assert counts == {
            "/camera/image_raw/compressed": 4, "/camera/camera_info": 4, "/ground_truth/pose": POSE_HZ,
        }  # fmt: skip
        infos = [camera_from_info(m) for _, _, m in recording.messages(["/camera/camera_info"])]
        images = [
            (header_stamp_ns(m, t), decode_image(m)) for _, t, m in recording.messages(["/camera/image_raw/compressed"])
        ]
    assert all(info == SMALL for info in infos)
    assert [stamp - FIRST_STAMP_NS for stamp, _ in images] == [0, 250_000_000, 500_000_000, 750_000_000]
    # The second image is the room, seen from the second pose: same edges, whatever the sensor did to the tones.
    room = Room.generate(3)
    exact = render(room, SMALL, way.T_world_camera[10], Lighting.daylight(room), with_depth=False).image_rgb
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (exact, images[1][1])]
    shift_px, response = cv2.phaseCorrelate(*(cv2.Laplacian(cv2.GaussianBlur(g, (5, 5), 0), cv2.CV_32F) for g in grey))
    assert np.hypot(*shift_px) < 0.1
    assert response > 0.5


def test_a_dataset_of_it_has_the_true_poses_and_no_distortion(bag, tmp_path):
    dataset_from_bags([bag], tmp_path / "room", BagOptions(fps=0))
    dataset = SceneDataset(tmp_path / "room")
    way = PLAN.walk(Room.generate(3))
    assert len(dataset) == 4
    assert dataset.info.scale == "metric"
    for index, frame in enumerate(dataset.frames):
        assert dataset.camera(frame).model == "pinhole"
        np.testing.assert_allclose(frame.T_world_camera, way.T_world_camera[10 * index], atol=1e-6)


def test_an_existing_bag_is_kept(bag):
    with pytest.raises(InputError, match="overwrite"):
        record(PLAN, bag)


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(InputError, match="daylight or evening"):
        RecordingPlan(0, 0, light="moonlight")
    with pytest.raises(InputError, match="divisor"):
        RecordingPlan(0, 0, image_hz=7)
