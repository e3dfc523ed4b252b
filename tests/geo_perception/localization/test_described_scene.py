"""One image to one pose in a small scene whose map points are described as keypoints, too."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from geo_perception.geometry import pose_error
from geo_perception.localization.confidence import ConfidenceModel
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_perception.localization.keypoints import KeypointDetector
from geo_perception.localization.map_keypoints import MapKeypoints
from geo_perception.localization.result import Verdict
from geo_perception.localization.scene import Scene


@pytest.fixture(scope="module")
def described(tiny_scene) -> Scene:
    """The scene with the mean descriptor of those keypoints of the learned frames that lie on a point's projection."""
    scene, dataset = Scene.load(tiny_scene.scene_path), tiny_scene.dataset
    points, detector = scene.points, KeypointDetector(described=True)
    _, first_p = np.unique(points.point_a, return_index=True)
    total_pc = 1e-3 * np.abs(np.random.default_rng(0).normal(size=(len(first_p), 128)))
    for frame in dataset.of_split("train")[::2]:
        camera, T = dataset.camera(frame), frame.T_world_camera
        keypoints = detector.detect(dataset.image(frame))
        pixels_p2 = camera.project((points.points_map_a3[first_p] - T[:3, 3]) @ T[:3, :3])
        seen_p = np.flatnonzero(camera.contains(pixels_p2))
        off_n, nearest_n = cKDTree(keypoints.pixels_k2).query(pixels_p2[seen_p])
        total_pc[seen_p[off_n < 1]] += keypoints.descriptors_kc[nearest_n[off_n < 1]]
    total_pc /= np.linalg.norm(total_pc, axis=1, keepdims=True)
    scene.points = replace(points, keypoints=MapKeypoints.compressed(total_pc.astype(np.float32)))
    return scene


@pytest.fixture(scope="module")
def queries(tiny_scene):
    dataset = tiny_scene.dataset
    return [(dataset.image(f), dataset.camera(f), f.T_world_camera) for f in dataset.of_split("test")]


@pytest.fixture(scope="module")
def localizer(described) -> Localizer:
    localizer = Localizer(described, "cpu")
    localizer.warm_up()
    return localizer


def test_poses_are_exact_by_keypoints_that_look_like_their_points(localizer, queries):
    for image, camera, T_true in queries:
        result = localizer.estimate(image, camera)
        assert result.localized, result.detail
        distance_m, angle_rad = pose_error(T_true, result.T_map_camera)
        assert distance_m < 0.02
        assert np.degrees(angle_rad) < 0.5
        look, evidence = localizer.looks(image, camera)[0]
        assert look.keypoints >= 30
        assert evidence.strays <= 5
        assert evidence.agreeing == look.agreeing >= look.keypoints


def test_where_landmarks_find_nothing_keypoints_do(described, queries):
    nothing = LocalizerOptions(min_score=2.0, places=0)  # no landmark is so sure
    image, camera, T_true = queries[0]
    result = Localizer(described, "cpu", nothing).estimate(image, camera)
    assert pose_error(T_true, result.T_map_camera)[0] < 0.02
    plain = replace(described, points=replace(described.points, keypoints=None))
    assert not Localizer(plain, "cpu", nothing).estimate(image, camera).localized


def test_a_saved_scene_gives_the_same_pose(described, localizer, queries, tmp_path):
    described.save(tmp_path / "scene.safetensors")
    image, camera, _ = queries[0]
    again = Localizer.load(tmp_path / "scene.safetensors", "cpu").estimate(image, camera)
    np.testing.assert_allclose(again.T_map_camera, localizer.estimate(image, camera).T_map_camera, atol=1e-3)


@pytest.mark.parametrize(("offset", "asked", "localized"), [(9.0, 0, True), (0.0, 1, False), (-9.0, 0, False)])
def test_strays_are_asked_for_where_they_can_matter_and_speak_against_a_pose(
    described, queries, monkeypatch, offset, asked, localized
):
    model = ConfidenceModel(offset, 0, 0, 0, 0, 0, 0, strays=-2.0)
    localizer = Localizer(described, "cpu", LocalizerOptions(confidence=model, places=0))
    count = []
    monkeypatch.setattr(localizer._looker, "strays", lambda look, image: count.append(look) or 60)
    result = localizer.estimate(*queries[0][:2])
    assert len(count) >= asked
    assert (len(count) > 0) == (asked > 0)
    assert result.localized == localized
    if asked:
        assert result.verdict is Verdict.NO_CONSENSUS
        assert result.confidence == pytest.approx(1 / (1 + 7.0**2))
