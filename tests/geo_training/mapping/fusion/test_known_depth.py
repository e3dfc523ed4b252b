"""Depth with holes: COLMAP's maps, COLMAP's points, a depth camera."""

import numpy as np
import pytest
from flat_dataset import FLAT_CAMERA, make_flat_dataset
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.mapping.fusion.known_depth import (
    SparseDepth,
    at_image_size,
    find_known_depth,
    make_dense,
    read_colmap_depth,
)
from geo_training.mapping.scene_map import SceneMap, Tracks

from geo_perception.errors import InputError
from geo_perception.geometry import make_pose

SIZE_HW = FLAT_CAMERA.height_px, FLAT_CAMERA.width_px


def write_colmap_depth(path, depth_hw, channels=1):
    """As COLMAP's Mat<float>::Write does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = depth_hw.shape
    path.write_bytes(f"{width}&{height}&{channels}&".encode() + depth_hw.astype("<f4").tobytes())


def measured_dataset(root):
    with SceneWriter(root, sources=["test"]) as writer:
        camera_id = writer.add_camera(FLAT_CAMERA)
        image_hw3 = np.full((*SIZE_HW, 3), 90, np.uint8)
        writer.add_frame("s", 0, camera_id, image_rgb=image_hw3, depth_m=np.full(SIZE_HW, 2.0, np.float32))
    return SceneDataset(root)


def map_of(points_n3, seen, error_px=None, frames=3):
    """Frames s/0.jpg ... 0.1 m apart along x, and points that the frames in `seen` (one tuple a point) saw."""
    poses = [make_pose(np.eye(3), [0.1 * index, 0, 0]) for index in range(frames)]
    rows = [(point, frame) for point, own in enumerate(seen) for frame in own]
    points_n3 = np.asarray(points_n3, np.float64)
    pixels_m2 = np.array([FLAT_CAMERA.project(points_n3[[p]] - poses[f][:3, 3])[0] for p, f in rows])
    names = [f"s/{index}.jpg" for index in range(frames)]
    return SceneMap(
        dict(zip(names, poses, strict=True)),
        dict.fromkeys(names, FLAT_CAMERA),
        points_n3,
        np.full(len(points_n3), 0.5) if error_px is None else np.asarray(error_px),
        Tracks(np.array([p for p, _ in rows], np.int32), np.array([f for _, f in rows], np.int32), pixels_m2),
        True,
    )


def frame_named(name):
    class Named:
        pass

    Named.name = name
    return Named


def test_a_map_of_colmap_is_read_row_by_row_and_what_is_not_positive_is_unknown(tmp_path):
    depth_hw = np.arange(12, dtype=np.float32).reshape(3, 4) - 2
    write_colmap_depth(tmp_path / "a.bin", depth_hw)
    found_hw = read_colmap_depth(tmp_path / "a.bin")
    np.testing.assert_array_equal(found_hw, np.maximum(depth_hw, 0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no depth", "is no depth map of COLMAP"),
        (b"4&3&1&" + b"\0" * 12, "is no depth map of COLMAP"),
        (b"2&1&3&" + b"\0" * 8, "has 3 channels"),
    ],
)
def test_another_file_is_refused(tmp_path, content, said):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_colmap_depth(tmp_path / "a.bin")


def test_points_lie_where_their_track_says_with_their_depth_in_that_frame():
    """(0.4, -0.2, 2) m is at u = 15.5 + 30 * 0.2, v = 11.5 - 30 * 0.1 of the first frame, and 1.5 pixels to the left of
    that in the second."""
    known = SparseDepth(map_of([[0.4, -0.2, 2.0]], [(0, 1, 2)]))
    first_hw, second_hw = known(frame_named("s/0.jpg")), known(frame_named("s/1.jpg"))
    assert np.argwhere(first_hw > 0).tolist() == [[8, 22]]
    assert first_hw[8, 22] == 2.0
    assert np.argwhere(second_hw > 0).tolist() == [[8, 20]]
    assert known(frame_named("s/9.jpg")) is None


def test_only_points_of_three_views_and_small_errors_count():
    scene = map_of([[0, 0, 2.0], [0.5, 0, 2.0], [-0.5, 0, 2.0]], [(0, 1), (0, 1, 2), (0, 1, 2)], [0.5, 0.5, 3.0])
    depth_hw = SparseDepth(scene)(frame_named("s/0.jpg"))
    assert (depth_hw > 0).sum() == 1


def test_of_two_points_at_a_pixel_the_nearer_counts():
    scene = map_of([[0, 0, 4.0], [0, 0, 2.0]], [(0, 1, 2), (0, 1, 2)])
    depth_hw = SparseDepth(scene)(frame_named("s/0.jpg"))
    assert depth_hw[depth_hw > 0].tolist() == [2.0]


def test_measured_depth_is_found_where_nothing_denser_is(tmp_path):
    dataset = measured_dataset(tmp_path / "d")
    known = find_known_depth(dataset)
    assert (known.kind, known.unit) == ("measured", "m")
    np.testing.assert_array_equal(known.depth_of(dataset.frames[0]), 2.0)


def test_without_depth_or_map_it_says_what_to_run(tmp_path):
    dataset = make_flat_dataset(tmp_path / "d", s=2)
    with pytest.raises(InputError, match="run `geo-train map"):
        find_known_depth(dataset)
    with pytest.raises(InputError, match="has no measured depth"):
        find_known_depth(dataset, "measured")
    with pytest.raises(InputError, match="is no dense workspace"):
        find_known_depth(dataset, "dense")
    with pytest.raises(InputError, match="is no dense workspace"):
        find_known_depth(dataset, dense=tmp_path)
    with pytest.raises(InputError, match="choose auto, dense, sparse, measured"):
        find_known_depth(dataset, "lidar")


def test_dense_depth_without_cuda_is_refused(tmp_path):
    import pycolmap

    if pycolmap.has_cuda:
        pytest.skip("this pycolmap has CUDA")
    with pytest.raises(InputError, match="built without CUDA"):
        make_dense(make_flat_dataset(tmp_path / "d", s=2), tmp_path / "dense")
    assert not (tmp_path / "dense").exists()


def test_smaller_depth_is_brought_to_its_image_and_another_shape_is_refused():
    small_hw = np.array([[1.0, 0.0], [3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(at_image_size(small_hw, 4, 4, "a"), small_hw.repeat(2, axis=0).repeat(2, axis=1))
    with pytest.raises(InputError, match="another shape"):
        at_image_size(small_hw, 4, 3, "a")
