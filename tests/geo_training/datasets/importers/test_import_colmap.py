"""COLMAP models, written by the real pycolmap: poses, pixel centres, lenses, sequences."""

from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from geo_training.datasets.colmap_model import camera_from_colmap, read_reconstruction
from geo_training.datasets.importers import guess_format, import_dataset
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


@pytest.mark.parametrize("text", [False, True])
def test_names_with_blanks_and_other_characters_are_whole(tmp_path, text):
    """In images.txt a name is all the rest of the line."""
    names = ["first floor/a b.jpg", "first floor/a  c #2.jpg", "first floor/# é 図.jpg", "first floor/d'e\"f?.jpg"]
    root = write_model(tmp_path / "my house", names, text=text)
    result = import_dataset(root, tmp_path / "out")
    assert result["frames"] == 4
    stems = {Path(name).stem for name in names}
    assert {Path(frame.name).stem for frame in SceneDataset(tmp_path / "out").frames} == stems


def test_a_text_model_by_hand_keeps_its_names_and_an_image_without_points(tmp_path):
    root = write_model(tmp_path / "house", ["a b.jpg", "c d.jpg"], text=True)
    images = root / "sparse" / "0" / "images.txt"
    images.write_text(
        "# made by hand\r\n\r\n1 1 0 0 0 0 0 0 1 a b.jpg\r\n\r\n"
        "2  1 0 0 0  1 0 0  1\tc d.jpg\r\n3.0 4.0 -1 5.0 6.0 -1\r\n"
    )
    (root / "sparse" / "0" / "frames.txt").unlink(missing_ok=True)
    (root / "sparse" / "0" / "rigs.txt").unlink(missing_ok=True)
    model = read_reconstruction(root / "sparse" / "0")
    assert {number: image.name for number, image in model.images.items()} == {1: "a b.jpg", 2: "c d.jpg"}


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
        ("SIMPLE_FISHEYE", (50, 32, 24)),
        ("FISHEYE", (50, 51, 32, 24)),
        ("OPENCV_FISHEYE", (50, 51, 32, 24, 0.05, -0.01, 0.002, -0.001)),
    ],
)
def test_every_lens_projects_as_colmap_does(name, params):
    colmap_camera = pycolmap.Camera(model=name, width=64, height=48, params=list(params), camera_id=1)
    points_n3 = np.array([[0.0, 0, 1], [0.4, -0.3, 1.0], [-0.2, 0.35, 1.0], [0.5, 0.4, 1.0]])
    expected_n2 = np.array([colmap_camera.img_from_cam(point) for point in points_n3]).reshape(-1, 2) - 0.5
    np.testing.assert_allclose(camera_from_colmap(colmap_camera).project(points_n3), expected_n2, atol=1e-6)


KNOWN = {
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE", "OPENCV_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(pycolmap.CameraModelId.__members__) - {"INVALID"} - KNOWN))
def test_every_other_model_of_colmap_is_refused_by_name(name):
    """Those of a later COLMAP, too: nothing is taken for its neighbour."""
    camera = pycolmap.Camera.create_from_model_id(1, getattr(pycolmap.CameraModelId, name), 50.0, 64, 48)
    with pytest.raises(InputError, match=f"the lens model {name}, which OpenCV lacks"):
        camera_from_colmap(camera)


def test_only_cameras_that_are_used_must_be_known(tmp_path):
    root = write_model(tmp_path / "house", ["a.jpg"])
    model = pycolmap.Reconstruction(str(root / "sparse" / "0"))
    other = pycolmap.Camera(model="FOV", width=64, height=48, params=[50, 50, 32, 24, 0.5], camera_id=2)
    model.add_camera_with_trivial_rig(other)
    model.write_binary(str(root / "sparse" / "0"))
    assert import_dataset(root, tmp_path / "out")["frames"] == 1


def test_names_lead_nowhere_but_into_the_dataset(tmp_path):
    root = write_model(tmp_path / "house", ["a/x.jpg", "a_x/x.jpg", "../up.jpg", "a b/x.jpg", "a_b/x.jpg"])
    result = import_dataset(root, tmp_path / "out")
    assert sorted(result["sequences"]) == ["a", "a_b", "a_b_2", "a_x", "sequence"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["house", "out"]


def test_images_that_the_model_does_not_name_are_counted(tmp_path):
    root = write_model(tmp_path / "house", ["a.jpg", "b.jpg"])
    (root / "images" / "b.jpg").rename(root / "images" / "c.jpg")
    result = import_dataset(root, tmp_path / "out")
    assert result["notes"][0] == (
        "house: found 3 images, used 1, left out: 1 images of the model do not exist (b.jpg), "
        "1 that the model does not name (c.jpg)."
    )


@pytest.mark.parametrize("quaternion", ["0 0 0 0", "1e300 1e300 0 0", "3 4 0 0", "-0.5 0 0 0"])
def test_a_quaternion_that_is_none_costs_its_image_the_pose(tmp_path, quaternion):
    root = write_model(tmp_path / "house", ["a.jpg", "b.jpg"], text=True)
    for name, at in (("images.txt", 1), ("frames.txt", 2)):
        file = root / "sparse" / "0" / name
        lines = [line.split() for line in file.read_text().splitlines()]
        for words in lines:
            if words and words[0] == "2" and len(words) > 8:
                words[at : at + 4] = quaternion.split()
        file.write_text("\n".join(map(" ".join, lines)) + "\n")
    result = import_dataset(root, tmp_path / "out")
    first, second = SceneDataset(tmp_path / "out").frames
    np.testing.assert_allclose(first.T_world_camera, invert_pose(T_CAMERA_WORLD), atol=1e-8)
    assert second.T_world_camera is None
    assert "found 2 poses, used 1, left out: 1 no rigid pose" in result["notes"][1]
    assert "image b.jpg is not a pose" in result["notes"][1]


@pytest.mark.parametrize("mark", [1, 3, 6, 8])
def test_colmap_works_on_the_files_own_rows(tmp_path, mark):
    """COLMAP does not apply marks: its camera and pose are of the pixels as stored, and turn with them."""
    from PIL import Image

    root = write_model(tmp_path / "house", ["a.png"], params=(50.0, 51.0, 30.0, 20.0))
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = mark
    Image.fromarray(pixels).save(root / "images" / "a.png", exif=exif)
    np.testing.assert_array_equal(pycolmap.Bitmap.read(str(root / "images" / "a.png"), True).to_array(), pixels)
    import_dataset(root, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    frame = dataset.frames[0]
    point_world = invert_pose(T_CAMERA_WORLD) @ [0.1, 0.05, 1.0, 1.0]
    x, y = np.rint(np.array([50 * 0.1 + 29.5, 51 * 0.05 + 19.5])).astype(int)
    seen = dataset.camera(frame).project((invert_pose(frame.T_world_camera) @ point_world)[:3])[0]
    column, row = np.rint(seen).astype(int)
    near = dataset.image(frame)[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3).tolist()
    assert pixels[y, x].tolist() in near


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
    images.write_bytes(b"\xff" * 8 + images.read_bytes()[8:])  # a count of images that no memory holds
    with pytest.raises(InputError, match="cannot be read"):
        import_dataset(tmp_path / "cut", tmp_path / "out", "colmap")
    assert not (tmp_path / "out").exists()
