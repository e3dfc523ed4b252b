"""Matches held out of a map: whole tracks, out of a real COLMAP database; their errors against values by hand."""

import numpy as np
import pycolmap
import pytest
from geo_training.mapping.held_out import SHARE, HeldOutMatches

from geo_perception.geometry import Camera, make_pose

CAMERA = Camera(64, 48, 100.0, 100.0, 31.5, 23.5)
KEYPOINTS = 400


@pytest.fixture
def database_path(tmp_path):
    """Three images with KEYPOINTS each, of which number i is the same in all; each pair is matched."""
    path = tmp_path / "database.db"
    with pycolmap.Database.open(path) as database:
        camera = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[100, 100, 32, 24])
        number = database.write_camera(camera)
        for image in range(3):
            written = database.write_image(pycolmap.Image(name=f"{image}.png", camera_id=number))
            keypoints_n2 = np.c_[np.arange(KEYPOINTS) % 64, np.full(KEYPOINTS, 10 + image)].astype(np.float32)
            database.write_keypoints(written, keypoints_n2 + 0.5)
        for a, b in ((1, 2), (1, 3), (2, 3)):
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.inlier_matches = np.repeat(np.arange(KEYPOINTS, dtype=np.uint32)[:, None], 2, axis=1)
            database.write_two_view_geometry(a, b, geometry)
    return path


def left(path):
    """By pair the indices of its matches."""
    with pycolmap.Database.open(path) as database:
        pair_ids, geometries = database.read_two_view_geometries()
        return {
            pycolmap.pair_id_to_image_pair(i): np.asarray(g.inlier_matches)[:, 0].tolist()
            for i, g in zip(pair_ids, geometries, strict=True)
        }


def test_a_track_is_taken_from_all_its_pairs(database_path):
    held_out = HeldOutMatches.take_from(database_path)
    kept = left(database_path)
    assert kept[1, 2] == kept[1, 3] == kept[2, 3]
    assert [(a, b) for a, b, *_ in held_out.pairs] == [("0.png", "1.png"), ("0.png", "2.png"), ("1.png", "2.png")]
    for _, _, xy_a_m2, xy_b_m2 in held_out.pairs:
        assert len(xy_a_m2) == len(xy_b_m2) == KEYPOINTS - len(kept[1, 2])
    assert len(kept[1, 2]) / KEYPOINTS == pytest.approx(1 - SHARE, abs=0.04)
    # COLMAP's pixel centres are at a half, ours at whole numbers.
    assert set(held_out.pairs[0][2][:, 1]) == {10.0}
    assert set(held_out.pairs[0][3][:, 1]) == {11.0}


def test_a_database_without_matches_has_none_to_hold_out(database_path):
    with pycolmap.Database.open(database_path) as database:
        database.clear_two_view_geometries()
    assert HeldOutMatches.take_from(database_path).pairs == []


def matches_of(xy_a, xy_b):
    return HeldOutMatches([("a", "b", np.array([xy_a], float), np.array([xy_b], float))])


POSES = {"a": np.eye(4), "b": make_pose(np.eye(3), [0.1, 0, 0])}
CAMERAS = {"a": CAMERA, "b": CAMERA}


def test_errors_are_those_by_hand():
    # The camera moved to the right: what is 2 m away moves 0.1 / 2 * 100 = 5 px to the left.
    held_out = matches_of((40, 20), (35, 23))
    # Off the row by 3 px, which both images share: 3 / sqrt(2).
    assert held_out.errors_px(POSES, CAMERAS)[0] == pytest.approx([3 / np.sqrt(2)])
    by_true, by_still = held_out.transfer_errors_px((POSES, POSES | {"b": np.eye(4)}), CAMERAS, depth_of(2.0))
    assert by_true == pytest.approx([3.0])
    assert by_still == pytest.approx([np.hypot(5, 3)])


def test_without_pose_or_depth_there_is_no_error():
    held_out = matches_of((40, 20), (35, 23))
    assert len(held_out.errors_px({"a": np.eye(4)}, CAMERAS)[0]) == 0
    assert len(held_out.transfer_errors_px(({"a": np.eye(4)},), CAMERAS, depth_of(2.0))[0]) == 0
    assert len(held_out.transfer_errors_px((POSES,), CAMERAS, lambda name: None)[0]) == 0
    assert len(held_out.transfer_errors_px((POSES,), CAMERAS, depth_of(0.0))[0]) == 0


def depth_of(metres):
    return lambda name: np.full((48, 64), metres, np.float32)
