"""Who sees a landmark, by depth that was completed from COLMAP's own points: a real map of boards at known places."""

import json
import shutil

import numpy as np
import pytest
from board_walk import write_dataset
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.fused import completed_depth, load_fused
from geo_training.mapping.build import MapOptions, build_map, save_map
from geo_training.mapping.features import FeatureOptions
from geo_training.mapping.landmark_set import FILE_NAME, SEEN, LandmarkSet
from geo_training.mapping.scene_map import SceneMap
from geo_training.mapping.visibility import three_states
from geo_training.storage.images import write_depth


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A mapped walk whose depth is known to the test alone, and completed by relative depth of another unit."""
    root = tmp_path_factory.mktemp("fused") / "data"
    dataset = write_dataset(root, [("walk", 1, 8)], depth=True)
    exact = {frame.name: dataset.depth_m(frame) for frame in dataset.frames}
    shutil.rmtree(root / "depth")
    save_map(dataset, *build_map(dataset, MapOptions(features=FeatureOptions(num_threads=2))))
    for frame in dataset.frames:
        write_depth(root.parent / "relative" / frame.name, 0.3 * exact[frame.name])
    result = invoke(train, "fuse", root, "--known", "sparse", "--depth", root.parent / "relative", "--measure", 1)
    assert result.exit_code == 0, result.stderr
    return dataset, exact


def seen(dataset, *arguments):
    result = invoke(train, "landmarks", dataset.root, "--count", 60, *arguments)
    assert result.exit_code == 0, result.stderr
    return LandmarkSet.load(dataset.root / FILE_NAME), result.output


def test_points_of_the_map_become_depth_of_every_pixel(walk):
    dataset, exact = walk
    assert json.loads((dataset.root / "fused" / "fused.json").read_text())["unit"] == "m"
    for frame in dataset.frames:
        depth_hw, _ = load_fused(dataset.root, frame)
        known_hw = (exact[frame.name] > 0) & (depth_hw > 0)
        assert known_hw.mean() > 0.9
        assert np.median(np.abs(depth_hw[known_hw] / exact[frame.name][known_hw] - 1)) < 0.01


def test_landmarks_say_what_they_were_seen_by(walk):
    dataset, _ = walk
    assert "visibility from tracks\n" in seen(dataset, "--depth", "none")[1]
    assert "visibility from tracks and depth" in seen(dataset)[1]


def test_completed_depth_sees_more_than_tracks_and_is_right(walk):
    dataset, exact = walk
    scene, by_name = SceneMap.load(dataset.root), {frame.name: frame for frame in dataset.frames}
    points = np.arange(len(scene.points_world_n3))
    tracks, truth, fused = (
        three_states(scene, points, depth_of).state_fl == SEEN
        for depth_of in (None, exact.get, lambda name: completed_depth(dataset, by_name[name], 0.05))
    )
    assert fused.sum() > 1.1 * tracks.sum()
    assert (fused & truth).sum() > 0.98 * fused.sum()
    assert (fused & truth).sum() > 0.9 * truth.sum()


def test_completed_depth_that_is_not_there_is_asked_for(walk, tmp_path):
    dataset, _ = walk
    shutil.copytree(dataset.root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "fused")
    result = invoke(train, "landmarks", tmp_path / "copy", "--depth", "fused")
    assert result.exit_code == 1
    assert "run `geo-train fuse" in " ".join(result.stderr.split())
