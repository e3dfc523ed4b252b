"""transforms.json: OpenGL axes, intrinsics in every form, missing images, lenses."""

import json

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.scene import SceneDataset

from geo_perception.errors import InputError

IDENTITY = np.eye(4).tolist()


def write(root, content: dict, images=("images/1.jpg",), size=(64, 48), name="transforms.json"):
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / image), np.full((size[1], size[0], 3), 90, np.uint8))
    root.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return root


def frame(path, matrix=IDENTITY, **fields) -> dict:
    return {"file_path": path, "transform_matrix": matrix, **fields}


def only_camera(out):
    dataset = SceneDataset(out)
    return dataset.camera(dataset.frames[0])


def test_opengl_axes_become_ours(tmp_path):
    # An OpenGL camera at (1, 2, 3) without rotation looks along -z with y up.
    matrix = np.eye(4)
    matrix[:3, 3] = 1, 2, 3
    root = write(tmp_path / "scene", {"fl_x": 50.0, "frames": [frame("images/1.jpg", matrix.tolist())]})
    import_dataset(root, tmp_path / "out")
    T = SceneDataset(tmp_path / "out").frames[0].T_world_camera
    np.testing.assert_allclose(T @ [0, 0, 1, 1], [1, 2, 2, 1])
    np.testing.assert_allclose(T @ [0, 1, 0, 1], [1, 1, 3, 1])
    assert SceneDataset(tmp_path / "out").info.scale == "unknown"


def test_principal_points_move_half_a_pixel(tmp_path):
    content = {"fl_x": 50.0, "fl_y": 51.0, "cx": 31.0, "cy": 22.0, "w": 64, "h": 48, "frames": [frame("images/1.jpg")]}
    import_dataset(write(tmp_path / "scene", content), tmp_path / "out")
    camera = only_camera(tmp_path / "out")
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (50, 51, 30.5, 21.5)


def test_a_view_angle_gives_the_focal_length_and_suffixes_are_found(tmp_path):
    content = {"camera_angle_x": np.pi / 2, "frames": [frame("./images/1")]}
    import_dataset(write(tmp_path / "scene", content, images=["images/1.png"]), tmp_path / "out")
    camera = only_camera(tmp_path / "out")
    assert camera.fx_px == pytest.approx(32.0)
    assert (camera.cx_px, camera.cy_px) == (31.5, 23.5)


def test_intrinsics_of_a_frame_come_before_those_of_the_file(tmp_path):
    content = {"fl_x": 50.0, "frames": [frame("images/1.jpg", fl_x=60.0), frame("images/2.jpg")]}
    import_dataset(write(tmp_path / "scene", content, images=["images/1.jpg", "images/2.jpg"]), tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [dataset.camera(each).fx_px for each in dataset.frames] == [60.0, 50.0]


def test_K_of_larger_images_is_scaled(tmp_path):
    content = {"fl_x": 100.0, "cx": 64.0, "cy": 48.0, "w": 128, "h": 96, "frames": [frame("images/1.jpg")]}
    result = import_dataset(write(tmp_path / "scene", content), tmp_path / "out")
    camera = only_camera(tmp_path / "out")
    assert (camera.fx_px, camera.cx_px, camera.cy_px) == (50.0, 31.5, 23.5)
    assert any("scaled to the images of 64x48" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("lens", "model"),
    [
        ({"k1": -0.2, "k2": 0.05, "p1": 0.001, "p2": -0.001}, "plumb_bob"),
        ({"k1": 0.05, "k2": -0.01, "k3": 0.0, "k4": 0.0, "camera_model": "OPENCV_FISHEYE"}, "equidistant"),
        ({"k1": 0.05, "is_fisheye": True}, "equidistant"),
    ],
)
def test_bent_images_are_undistorted_and_the_lens_is_kept(tmp_path, lens, model):
    content = {"fl_x": 250.0, "w": 320, "h": 240, **lens, "frames": [frame("images/1.jpg")]}
    result = import_dataset(write(tmp_path / "scene", content, size=(320, 240)), tmp_path / "out")
    assert result["undistorted_images"] == 1
    assert only_camera(tmp_path / "out").model == "pinhole"
    recorded = json.loads((tmp_path / "out" / "cameras.json").read_text())["camera0"]["recorded"]
    assert recorded["model"] == model
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.image(dataset.frames[0]).min() > 80  # no black rim


def test_a_lens_that_bends_nothing_is_copied(tmp_path):
    content = {"fl_x": 50.0, "k1": 1e-6, "frames": [frame("images/1.jpg")]}
    result = import_dataset(write(tmp_path / "scene", content), tmp_path / "out")
    assert result["undistorted_images"] == 0


def test_splits_come_from_the_files_or_from_the_lists(tmp_path):
    content = {"fl_x": 50.0, "frames": [frame("train/1")]}
    root = write(tmp_path / "blender", content, ["train/1.jpg"], name="transforms_train.json")
    write(root, {"fl_x": 50.0, "frames": [frame("test/1")]}, ["test/1.jpg"], name="transforms_test.json")
    import_dataset(root, tmp_path / "a")
    assert {f.name: f.split for f in SceneDataset(tmp_path / "a").frames} == {
        "train/1.jpg": "train",
        "test/1.jpg": "test",
    }
    content = {"fl_x": 50.0, "frames": [frame("images/1.jpg")], "test_filenames": ["images/1.jpg"]}
    import_dataset(write(tmp_path / "studio", content), tmp_path / "b")
    assert SceneDataset(tmp_path / "b").frames[0].split == "test"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"frames": [frame("images/9.jpg")]}, "none of the 1 images"),
        ({"frames": [{"file_path": "images/1.jpg"}]}, "lacks file_path or transform_matrix"),
        ({"frames": [frame("images/1.jpg", [[1, 2], [3, 4]])]}, "4 numbers"),
        ({"frames": [frame("images/1.jpg", "x")]}, "not a matrix"),
        ({"frames": [frame("images/1.jpg")], "fl_x": "long"}, "not a number"),
        ({"frames": [frame("images/1.jpg")], "fl_x": 50, "k4": 0.1}, "k4"),
        ({"frames": [frame("images/1.jpg")], "fl_x": 50, "w": 64, "h": 64}, "another shape"),
        ({"pictures": []}, "no list of frames"),
    ],
)
def test_broken_files_are_answered_in_one_line(tmp_path, content, words):
    root = write(tmp_path / "scene", content)
    with pytest.raises(InputError, match=words) as refused:
        import_dataset(root, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_json_is_answered(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "transforms.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        import_dataset(tmp_path / "broken", tmp_path / "out", "transforms")


def test_the_fox_imports_and_says_what_is_missing(shared_data, tmp_path):
    assert guess_format(shared_data / "fox") == "transforms"
    result = import_dataset(shared_data / "fox", tmp_path / "fox", "transforms", ImportOptions())
    assert (result["frames"], result["posed_frames"], result["scale"]) == (50, 50, "unknown")
    assert any("lists 67 images, of which 50 exist" in note for note in result["notes"])
    assert result["cameras_known"] is True
    assert result["undistorted_images"] == 50
