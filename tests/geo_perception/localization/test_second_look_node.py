"""What the localization node tells of the second look: a scene that carries map points, hosted in the test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from geo_training.localization.map_points import MapPointBuilder
from geo_training.mapping.landmark_set import FILE_NAME, SEEN, LandmarkSet
from geo_training.mapping.scene_map import SceneMap, Tracks
from geometry_msgs.msg import PoseWithCovarianceStamped
from localization_peer import NAME
from node_peer import HostingPeer
from ros_support import CAMERA_QOS, stamped
from sensor_msgs.msg import Image

from geo_perception.localization.node import LocalizationNode
from geo_perception.localization.scene import Scene
from geo_perception.ros.codec import fill_image


@pytest.fixture(scope="module")
def scene_path(tiny_scene, tmp_path_factory) -> Path:
    """The small scene with its landmarks as map points, too."""
    dataset, scene = tiny_scene.dataset, Scene.load(tiny_scene.scene_path)
    landmarks = LandmarkSet.load(tiny_scene.dataset_root / FILE_NAME)
    frames = dataset.of_split("train")
    point_m, frame_m = np.nonzero(landmarks.visibility_fl.T == SEEN)
    tracks = Tracks(point_m, frame_m, landmarks.pixels_fl2[frame_m, point_m])
    points_l3 = landmarks.points_world_l3.astype(float)
    poses = {frame.name: frame.T_world_camera for frame in frames}
    cameras = {frame.name: dataset.camera(frame) for frame in frames}
    scene_map = SceneMap(poses, cameras, points_l3, np.zeros(len(points_l3)), tracks, True)
    builder = MapPointBuilder(scene_map, scene.backbone.strides)
    for frame in frames:
        image_b3hw = torch.from_numpy(dataset.image(frame)).permute(2, 0, 1)[None].float().contiguous()
        with torch.inference_mode():
            maps = scene.backbone(image_b3hw)
        builder.add(frame.name, maps, dataset.camera(frame), frame.T_world_camera)
    scene.points = builder.build(1_000_000)
    path = tmp_path_factory.mktemp("points") / "scene.safetensors"
    scene.save(path)
    return path


def told(tiny_scene, scene_path: Path, **parameters) -> dict[str, str]:
    """The diagnostics after one picture of the scene."""
    dataset = tiny_scene.dataset
    frame = dataset.of_split("test")[0]
    camera = dataset.camera(frame)
    given = {
        "camera.k": camera.K.reshape(-1).tolist(), "camera.width_px": camera.width_px,
        "camera.height_px": camera.height_px, "scene": str(scene_path), "lazy": False, "device": "cpu",
        "agreeing_frames": 1,
    }  # fmt: skip
    with HostingPeer(LocalizationNode, **given, **parameters) as peer:
        assert peer.name == NAME
        images = peer.node.create_publisher(Image, "image", CAMERA_QOS)
        peer.start(images)
        images.publish(stamped(fill_image(Image(), dataset.image(frame)), 10 * 10**9, "camera"))
        values = peer.wait_for(lambda values: values["processed"] == "1")
        peer.reset()
        after = peer.wait_for()
        assert {after[name] for name in ("map points agreeing", "map points searched", "confidence")} == {"none"}
        return values


def test_map_points_that_agree_and_that_were_searched_are_told(tiny_scene, scene_path):
    values = told(tiny_scene, scene_path)
    agreeing, searched = int(values["map points agreeing"]), int(values["map points searched"])
    assert 25 <= agreeing <= searched <= 64
    assert values["last verdict"].startswith(f"localized: {agreeing} of {searched} map points and ")


def test_without_second_look_the_landmarks_alone_decide(tiny_scene, scene_path):
    values = told(tiny_scene, scene_path, second_look=False, min_confidence=1.0)
    assert values["last verdict"].startswith("localized: ")
    assert "map points" not in values["last verdict"]
    assert values["map points searched"] == "none"


def test_a_pose_with_too_little_confidence_is_refused(tiny_scene, scene_path):
    values = told(tiny_scene, scene_path, min_confidence=1.0)
    agreeing, searched = values["map points agreeing"], values["map points searched"]
    assert values["last verdict"] == (
        f"the detections do not agree on a pose: {agreeing} of {searched} map points are where the likeliest pose has "
        f"them; its confidence is {values['confidence']}, 1.00 is needed"
    )
    assert values["good share"] == "0.000"


def test_a_pose_is_published_when_a_second_frame_agrees_and_again_after_being_lost(tiny_scene):
    dataset = tiny_scene.dataset
    frames = dataset.of_split("test")
    camera, black = dataset.camera(frames[0]), np.zeros_like(dataset.image(frames[0]))
    given = {
        "camera.k": camera.K.reshape(-1).tolist(), "camera.width_px": camera.width_px,
        "camera.height_px": camera.height_px, "scene": str(tiny_scene.scene_path), "lazy": False, "device": "cpu",
    }  # fmt: skip
    with HostingPeer(LocalizationNode, **given) as peer:
        images = peer.node.create_publisher(Image, "image", CAMERA_QOS)
        poses = peer.collect(PoseWithCovarianceStamped, f"{NAME}/pose")
        peer.start(images)
        verdicts = []
        seen = [dataset.image(frame) for frame in frames]
        for number, picture in enumerate([seen[0], seen[1], *[black] * 4, seen[2], seen[3]]):
            images.publish(stamped(fill_image(Image(), picture), (10 + number) * 10**9, "camera"))
            values = peer.wait_for(lambda values, number=number: values["processed"] == str(number + 1))
            verdicts.append(values["last verdict"].split(":")[0])
        lost = [verdict for verdict in verdicts if verdict.startswith(("too few", "the detections"))]
        assert verdicts == ["waits for frames that agree", "localized", *lost, verdicts[0], verdicts[1]]
        assert len(lost) == 4
        assert peer.spin_until(lambda: len(poses) == 2, 5)
        assert [pose.header.stamp.sec for pose in poses] == [11, 17]
