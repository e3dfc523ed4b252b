"""How the points of a map look, by the features that the map was really made of."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from board_walk import write_dataset
from geo_training.mapping.build import MapOptions, build_map, save_map
from geo_training.mapping.features import FeatureOptions, descriptors_of_map
from geo_training.mapping.point_descriptors import mean_descriptors
from geo_training.mapping.scene_map import SceneMap

from geo_perception.errors import InputError
from geo_perception.localization.keypoints import KeypointDetector


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    dataset = write_dataset(tmp_path_factory.mktemp("walk") / "data", [("walk", 1, 6)], lambda i: "train")
    report, model = build_map(dataset, MapOptions(features=FeatureOptions(num_threads=2)))
    save_map(dataset, report, model)
    return dataset


@pytest.fixture(scope="module")
def scene(walk) -> SceneMap:
    return SceneMap.load(walk.root)


def test_a_point_looks_as_its_observations_do_on_average(walk, scene):
    mean_nc = mean_descriptors(walk.root, scene)
    tracks = scene.tracks
    found = list(descriptors_of_map(walk.root, scene.frame_names))
    for point in (0, 7, len(scene.points_world_n3) - 1):
        rows = np.flatnonzero(tracks.point_m == point)
        seen = np.stack([found[tracks.frame_m[row]][tracks.feature_m[row]] for row in rows]).astype(float)
        expected_c = (seen / np.linalg.norm(seen, axis=1, keepdims=True)).sum(axis=0)
        np.testing.assert_allclose(mean_nc[point], expected_c / np.linalg.norm(expected_c), atol=1e-5)
        # What is the same point looks alike: the features are those of the track.
        assert np.linalg.norm(expected_c) / len(rows) > 0.9


def test_the_robot_s_descriptors_are_those_of_the_map(walk, scene):
    """COLMAP describes the map and OpenCV the image: the nearest point in the map is the one that is seen there."""
    mean_nc, name = mean_descriptors(walk.root, scene), scene.frame_names[0]
    frame = next(frame for frame in walk.frames if frame.name == name)
    keypoints = KeypointDetector(described=True).detect(walk.image(frame))
    rows = np.flatnonzero(scene.tracks.frame_m == 0)
    off_kr = np.linalg.norm(keypoints.pixels_k2[:, None] - scene.tracks.pixels_m2[rows][None], axis=2)
    near_k = off_kr.min(axis=1) < 0.5
    assert near_k.sum() > 50
    points_k = scene.tracks.point_m[rows][off_kr.argmin(axis=1)]
    nearest_k = (keypoints.descriptors_kc @ mean_nc.T).argmax(axis=1)
    assert (nearest_k == points_k)[near_k].mean() > 0.6


def test_a_part_of_the_frames_is_described_by_its_own_observations(walk, scene):
    half = scene.restricted_to(scene.frame_names[:3])
    assert len(half.tracks.feature_m) == len(half.tracks)
    mean_nc = mean_descriptors(walk.root, half)
    np.testing.assert_allclose(np.linalg.norm(mean_nc, axis=1), 1.0, atol=1e-5)
    found = list(descriptors_of_map(walk.root, half.frame_names))
    alone = np.flatnonzero(np.bincount(half.tracks.point_m) == 1)[0]
    row = np.flatnonzero(half.tracks.point_m == alone)[0]
    only_c = found[half.tracks.frame_m[row]][half.tracks.feature_m[row]].astype(float)
    np.testing.assert_allclose(mean_nc[alone], only_c / np.linalg.norm(only_c), atol=1e-5)


def test_features_that_are_gone_or_are_others_are_said(walk, scene, tmp_path):
    with pytest.raises(InputError, match="are gone"):
        mean_descriptors(tmp_path, scene)
    tracks = scene.tracks
    with pytest.raises(InputError, match=r"does not say which features .* run geo-train map again"):
        mean_descriptors(walk.root, replace(scene, tracks=replace(tracks, feature_m=None)))
    with pytest.raises(InputError, match="are not those of its map"):
        mean_descriptors(walk.root, replace(scene, tracks=replace(tracks, feature_m=tracks.feature_m + 100_000)))
    shutil.copytree(walk.root / ".cache", tmp_path / ".cache")
    renamed = {f"other {name}": T for name, T in scene.T_world_camera.items()}
    with pytest.raises(InputError, match="are not those of its map"):
        mean_descriptors(tmp_path, replace(scene, T_world_camera=renamed))
