"""COLMAP models, written by the real pycolmap: poses, pixel centres, lenses, sequences."""

import cv2
import numpy as np
import pycolmap
import pytest
from geo_training.datasets.importers import guess_format, import_dataset
from geo_training.datasets.importers.colmap import camera_from_colmap
from geo_training.datasets.scene import SceneDataset

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, make_pose, so3_exp

T_CAMERA_WORLD = make_pose(so3_exp([0.1, -0.4, 0.2]), [1.0, 2.0, 3.0])


def write_model(root, names, model="PINHOLE", params=(50.0, 51.0, 32.0, 24.0), folder="sparse/0", text=False):
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model=model, width=64, height=48, params=list(params), camera_id=1)
    reconstruction.add_camera_with_trivial_rig(camera)
    pose = pycolmap.Rigid3d(T_CAMERA_WORLD[:3])
    for number, name in enumerate(names, start=1):
        image = pycolmap.Image(name=name, camera_id=1, image_id=number)
        reconstruction.add_image_with_trivial_frame(image, pose)
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "images" / name), np.full((48, 64, 3), 90, np.uint8))
    (root / folder).mkdir(parents=True)
    if text:
        reconstruction.write_text(str(root / folder))
    else:
        reconstruction.write_binary(str(root / folder))
    return root


@pytest.mark.parametrize("text", [False, True])
def test_a_model_becomes_a_dataset(tmp_path, text):
    root = write_model(tmp_path / "house", ["b.jpg", "a.jpg"], text=text)
    assert guess_format(root) == "colmap"
    result = import_dataset(root, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [frame.name for frame in dataset.frames] == ["house/a.jpg", "house/b.jpg"]
    np.testing.assert_allclose(dataset.frames[0].T_world_camera, invert_pose(T_CAMERA_WORLD), atol=1e-8)
    camera = dataset.camera(dataset.frames[0])
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (50, 51, 31.5, 23.5)
    assert result["scale"] == "unknown"


def test_folders_are_sequences_and_missing_images_are_counted(tmp_path):
    root = write_model(tmp_path / "house", ["day/1.jpg", "day/2.jpg", "night/1.jpg"])
    (root / "images" / "day" / "2.jpg").unlink()
    result = import_dataset(root, tmp_path / "out")
    assert result["sequences"] == {"day": 1, "night": 1}
    assert any("1 images of the model do not exist" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("SIMPLE_PINHOLE", (50, 32, 24)),
        ("SIMPLE_RADIAL", (50, 32, 24, -0.1)),
        ("RADIAL", (50, 32, 24, -0.1, 0.02)),
        ("OPENCV", (50, 51, 32, 24, -0.1, 0.02, 0.001, -0.002)),
        ("FULL_OPENCV", (50, 51, 32, 24, -0.1, 0.02, 0.001, -0.002, 0.01, 0.02, 0.01, 0.005)),
        ("SIMPLE_RADIAL_FISHEYE", (50, 32, 24, 0.05)),
        ("RADIAL_FISHEYE", (50, 32, 24, 0.05, -0.01)),
        ("OPENCV_FISHEYE", (50, 51, 32, 24, 0.05, -0.01, 0.002, -0.001)),
    ],
)
def test_every_lens_projects_as_colmap_does(name, params):
    colmap_camera = pycolmap.Camera(model=name, width=64, height=48, params=list(params), camera_id=1)
    points_n3 = np.array([[0.0, 0, 1], [0.4, -0.3, 1.0], [-0.2, 0.35, 1.0], [0.5, 0.4, 1.0]])
    expected_n2 = np.array([colmap_camera.img_from_cam(point) for point in points_n3]).reshape(-1, 2) - 0.5
    np.testing.assert_allclose(camera_from_colmap(colmap_camera).project(points_n3), expected_n2, atol=1e-6)


def test_a_bent_lens_is_undistorted(tmp_path):
    root = write_model(tmp_path / "house", ["a.jpg"], "SIMPLE_RADIAL", (50, 32, 24, -0.2))
    assert import_dataset(root, tmp_path / "out")["undistorted_images"] == 1
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.camera(dataset.frames[0]).model == "pinhole"


def test_the_largest_model_is_taken(tmp_path):
    root = write_model(tmp_path / "house", ["a.jpg"])
    write_model(root, ["a.jpg", "b.jpg"], folder="sparse/1")
    result = import_dataset(root, tmp_path / "out")
    assert result["frames"] == 2
    assert any("Of 2 COLMAP models the largest was taken: sparse/1" in note for note in result["notes"])


def test_what_cannot_be_imported_is_answered(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no COLMAP model"):
        import_dataset(tmp_path / "empty", tmp_path / "out", "colmap")
    root = write_model(tmp_path / "house", ["a.jpg"])
    (root / "images" / "a.jpg").unlink()
    with pytest.raises(InputError, match="none of the 1 images"):
        import_dataset(root, tmp_path / "out", "colmap")
    bent = write_model(tmp_path / "fov", ["a.jpg"], "FOV", (50, 50, 32, 24, 0.5))
    with pytest.raises(InputError, match="image_undistorter"):
        import_dataset(bent, tmp_path / "out", "colmap")
    (bent / "sparse" / "0" / "cameras.bin").write_bytes(b"\x01")
    with pytest.raises(InputError):
        import_dataset(bent, tmp_path / "out", "colmap")
    images = write_model(tmp_path / "cut", ["a.jpg"]) / "sparse" / "0" / "images.bin"
    images.write_bytes(images.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be read"):
        import_dataset(tmp_path / "cut", tmp_path / "out", "colmap")
    assert not (tmp_path / "out").exists()
