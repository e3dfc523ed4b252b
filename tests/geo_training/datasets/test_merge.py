"""Several datasets as one: names, cameras, poses and depth, and what cannot go together."""

from dataclasses import replace

import numpy as np
import pytest
from geo_training.datasets.merge import merge_datasets
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from tiny_walk import CAMERA, make_walk, walk_pose

from geo_perception.errors import InputError


def test_frames_of_all_parts_with_their_poses_and_depth(tmp_path):
    parts = [make_walk(tmp_path / "a", 3), make_walk(tmp_path / "b", 2)]
    sequences = merge_datasets(parts, ["a", "b"], tmp_path / "all")
    assert sequences == [["walk"], ["b_walk"]]
    merged = SceneDataset(tmp_path / "all")
    assert [frame.name for frame in merged.frames] == [
        "b_walk/000000.jpg", "b_walk/000001.jpg", "walk/000000.jpg", "walk/000001.jpg", "walk/000002.jpg",
    ]  # fmt: skip
    assert len(merged.cameras) == 1
    last = merged.frames[-1]
    np.testing.assert_allclose(last.T_world_camera, walk_pose(2))
    np.testing.assert_array_equal(merged.depth_m(last), parts[0].depth_m(parts[0].frames[2]))
    np.testing.assert_array_equal(merged.image(last), parts[0].image(parts[0].frames[2]))
    assert (merged.info.scale, merged.info.scale_source) == ("metric", "made so")


def test_cameras_that_differ_stay_apart_and_a_guess_stays_one(tmp_path):
    parts = [make_walk(tmp_path / "a", 2)]
    with SceneWriter(tmp_path / "b", ["b"]) as writer:
        camera_id = writer.add_camera(replace(CAMERA, fx_px=50.0, fy_px=50.0), known=False)
        writer.add_frame("other", 0, camera_id, image_rgb=np.zeros((64, 64, 3), np.uint8))
    merge_datasets([*parts, SceneDataset(tmp_path / "b")], ["a", "b"], tmp_path / "all")
    merged = SceneDataset(tmp_path / "all")
    assert {frame.sequence: merged.camera(frame).fx_px for frame in merged.frames} == {"walk": 60.0, "other": 50.0}
    guessed = '"known": false'
    assert (tmp_path / "all" / "cameras.json").read_text().count(guessed) == 1
    # The part without poses says nothing of the scale.
    assert merged.info.scale == "metric"


def test_poses_of_two_worlds_are_refused(tmp_path):
    parts = [make_walk(tmp_path / "a", 2), make_walk(tmp_path / "b", 2)]
    parts[1].info = parts[1].info.model_copy(update={"world_frame": "odom"})
    with pytest.raises(InputError, match="poses in map, odom"):
        merge_datasets(parts, ["a", "b"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_two_recordings_of_one_name_are_refused(tmp_path):
    parts = [make_walk(tmp_path / place / "walk", 2) for place in "abc"]
    with pytest.raises(InputError, match="two recordings are named walk"):
        merge_datasets(parts, ["walk"] * 3, tmp_path / "all")
