"""The eight orientation marks: every pixel, depth value, mask, K and pose in its exact place."""

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.orientation import turned_array, turned_camera, turned_pose
from geo_training.datasets.scene import SceneDataset
from PIL import Image

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose, so3_exp

STORED = np.array([[1, 2, 3], [4, 5, 6]])  # the file's rows
# What a viewer shows, written down by hand from the EXIF standard: where row 0 and column 0 of the file are.
SHOWN = {
    1: [[1, 2, 3], [4, 5, 6]],  # top, left
    2: [[3, 2, 1], [6, 5, 4]],  # top, right
    3: [[6, 5, 4], [3, 2, 1]],  # bottom, right
    4: [[4, 5, 6], [1, 2, 3]],  # bottom, left
    5: [[1, 4], [2, 5], [3, 6]],  # left, top
    6: [[4, 1], [5, 2], [6, 3]],  # right, top
    7: [[6, 3], [5, 2], [4, 1]],  # right, bottom
    8: [[3, 6], [2, 5], [1, 4]],  # left, bottom
}
# The same for an offset from the centre, x to the right and y down.
OFFSETS = {
    1: lambda x, y: (x, y),
    2: lambda x, y: (-x, y),
    3: lambda x, y: (-x, -y),
    4: lambda x, y: (x, -y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (-y, x),
    7: lambda x, y: (-y, -x),
    8: lambda x, y: (y, -x),
}
MIRRORED = (2, 4, 5, 7)
MARKS = tuple(SHOWN)
BLOCK = 16  # pixels a side for each number


def blocks(numbers) -> np.ndarray:
    return np.kron(np.array(numbers), np.ones((BLOCK, BLOCK), int))


def write_marked(path, numbers, mark):
    exif = Image.Exif()
    exif[0x0112] = mark
    grey = (blocks(numbers) * 40).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.dstack([grey] * 3)).save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))


@pytest.fixture(params=[STORED, np.array([[1, 2], [3, 4]])], ids=["oblong", "square"])
def stored(request):
    return request.param


def make_folder(root, numbers, mark, suffix=".png"):
    """An image with a mark, and K, depth, mask and pose of the file's own rows and columns."""
    write_marked(root / "images" / f"0{suffix}", numbers, mark)
    for kind, scale in (("depth", 1000), ("masks", 1)):
        (root / kind).mkdir()
        cv2.imwrite(str(root / kind / "0.png"), (blocks(numbers) * scale).astype(np.uint16))
    height_px, width_px = blocks(numbers).shape
    (root / "K.txt").write_text(f"50 0 {width_px / 2 + 1}\n0 60 {height_px / 2 - 3}\n0 0 1\n")
    T = make_pose(so3_exp([0.3, -0.2, 0.5]), [1.0, 2.0, 3.0])
    (root / "poses.txt").write_text(" ".join(map(repr, map(float, T[:3].ravel()))) + "\n")
    return Camera.from_K([[50, 0, width_px / 2 + 1], [0, 60, height_px / 2 - 3], [0, 0, 1]], width_px, height_px), T


@pytest.mark.parametrize("mark", MARKS)
def test_pixels_turn_as_the_standard_says(mark):
    assert turned_array(STORED, mark).tolist() == SHOWN[mark]


@pytest.mark.parametrize("mark", MARKS)
def test_image_depth_mask_camera_and_pose_turn_together(tmp_path, stored, mark):
    camera, T = make_folder(tmp_path / "photos", stored, mark)
    result = import_dataset(tmp_path / "photos", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    frame = dataset.frames[0]
    shown = blocks(SHOWN[mark] if stored is STORED else turned_array(stored, mark))
    np.testing.assert_array_equal(dataset.image(frame)[..., 1], shown * 40)
    np.testing.assert_array_equal(dataset.depth_m(frame), shown.astype(np.float32))
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "photos" / "0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, shown)
    with Image.open(dataset.image_path(frame)) as image:
        assert image.getexif().get(0x0112, 1) == 1
    turned = dataset.camera(frame)
    assert (turned.width_px, turned.height_px) == shown.shape[::-1]
    if mark in MIRRORED:
        assert frame.T_world_camera is None
        assert any("1 of images marked as mirrored" in note for note in result["notes"])
        return
    # A point that the camera of the file sees at a pixel is seen where that pixel is in the picture as shown.
    point_3 = np.array([0.11, -0.07, 1.0])
    offset = camera.project(point_3)[0] - [(camera.width_px - 1) / 2, (camera.height_px - 1) / 2]
    seen_4 = np.linalg.inv(frame.T_world_camera) @ T @ [*point_3, 1]
    turned_offset = turned.project(seen_4[:3])[0] - [(turned.width_px - 1) / 2, (turned.height_px - 1) / 2]
    np.testing.assert_allclose(turned_offset, OFFSETS[mark](*offset), atol=1e-6)


@pytest.mark.parametrize(
    ("mark", "numbers"),
    [
        (1, (96, 48, 50, 60, 40.0, 20.0)),
        (2, (96, 48, 50, 60, 55.0, 20.0)),
        (3, (96, 48, 50, 60, 55.0, 27.0)),
        (4, (96, 48, 50, 60, 40.0, 27.0)),
        (5, (48, 96, 60, 50, 20.0, 40.0)),
        (6, (48, 96, 60, 50, 27.0, 40.0)),
        (7, (48, 96, 60, 50, 27.0, 55.0)),
        (8, (48, 96, 60, 50, 20.0, 55.0)),
    ],
)
def test_K_by_hand(mark, numbers):
    camera = turned_camera(Camera(96, 48, 50, 60, 40.0, 20.0), mark)
    assert (camera.width_px, camera.height_px, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == numbers


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", (-0.2, 0.05, 0.02, -0.01, 0.01)),
        ("rational_polynomial", (-0.2, 0.05, 0.02, -0.01, 0.01, 0.02, 0.01, 0.005)),
        ("rational_polynomial", (-0.2, 0.05, 0.02, -0.01, 0.01, 0.02, 0.01, 0.005, 0.01, 0.002, -0.02, 0.003)),
        ("equidistant", (0.05, -0.01, 0.002, 0.0)),
    ],
)
def test_lenses_turn_with_the_picture(mark, model, distortion):
    """A ray through a turned lens lands on the turned pixel, whatever pulls to one side."""
    camera = Camera(96, 48, 50, 60, 40.0, 20.0, model, distortion)
    turned = turned_camera(camera, mark)
    centre, turned_centre = np.array([47.5, 23.5]), [(turned.width_px - 1) / 2, (turned.height_px - 1) / 2]
    for x, y in ((0.3, 0.2), (-0.4, 0.25), (0.1, -0.35)):
        offset = camera.project([[x, y, 1]])[0] - centre
        turned_offset = turned.project([[*OFFSETS[mark](x, y), 1]])[0] - turned_centre
        np.testing.assert_allclose(turned_offset, OFFSETS[mark](*offset), atol=1e-9)


def test_turned_poses_by_hand():
    # A quarter turn clockwise for the viewer: the camera's right is what was up in the file, so its y is the file's x.
    np.testing.assert_allclose(turned_pose(np.eye(4), 6)[:3, :3], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(turned_pose(np.eye(4), 8)[:3, :3], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(turned_pose(np.eye(4), 3)[:3, :3], np.diag([-1, -1, 1]))
    assert all(turned_pose(np.eye(4), mark) is None for mark in MIRRORED)


def test_K_of_the_picture_as_shown_is_told_by_its_centre(tmp_path):
    _, T = make_folder(tmp_path / "photos", STORED, 6)
    (tmp_path / "photos" / "K.txt").write_text("50 0 15\n0 60 24\n0 0 1\n")  # the centre of 32 x 48, not of 48 x 32
    shown = blocks(SHOWN[6])
    cv2.imwrite(str(tmp_path / "photos" / "depth" / "0.png"), (shown * 1000).astype(np.uint16))
    import_dataset(tmp_path / "photos", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    turned = dataset.camera(dataset.frames[0])
    assert (turned.fx_px, turned.fy_px, turned.cx_px, turned.cy_px) == (50, 60, 15, 24)
    np.testing.assert_allclose(dataset.frames[0].T_world_camera, T, atol=1e-8)
    np.testing.assert_array_equal(dataset.depth_m(dataset.frames[0]), shown)


@pytest.mark.parametrize("mark", [3, 6, 8])
def test_photographs_without_K_are_upright(tmp_path, mark):
    write_marked(tmp_path / "photos" / "a.jpg", STORED, mark)
    import_dataset(tmp_path / "photos", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    difference = dataset.image(dataset.frames[0])[..., 1].astype(int) - blocks(SHOWN[mark]) * 40
    assert np.abs(difference).max() <= 25  # JPEG, at the edges of the blocks
    assert dataset.camera(dataset.frames[0]).width_px == blocks(SHOWN[mark]).shape[1]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("deep", [False, True])
def test_tiffs_are_upright_too(tmp_path, mark, deep):
    """Readers disagree about marked TIFFs: one turns them, one refuses them."""
    exif = Image.Exif()
    exif[0x0112] = mark
    (tmp_path / "photos").mkdir()
    grey = blocks(STORED) * 10000 if deep else blocks(STORED) * 40
    image = grey.astype(np.uint16) if deep else np.dstack([grey.astype(np.uint8)] * 3)
    Image.fromarray(image).save(tmp_path / "photos" / "a.tif", exif=exif)
    import_dataset(tmp_path / "photos", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    expected = np.rint(blocks(SHOWN[mark]) * 10000 / 65535 * 255) if deep else blocks(SHOWN[mark]) * 40
    np.testing.assert_array_equal(dataset.image(dataset.frames[0])[..., 1], expected)


def test_a_mark_that_is_none_changes_nothing(tmp_path):
    for mark in (0, 9, 77):
        root = tmp_path / str(mark)
        write_marked(root / "a.png", STORED, mark)
        import_dataset(root, tmp_path / f"out{mark}")
        dataset = SceneDataset(tmp_path / f"out{mark}")
        np.testing.assert_array_equal(dataset.image(dataset.frames[0])[..., 1], blocks(STORED) * 40)


def test_a_lens_is_undistorted_upright(tmp_path):
    """The same scene, once stored upright and once on its side with a mark, gives the same picture and the same K."""
    import json

    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (240, 320, 3), np.uint8), (0, 0), 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = {"fl_x": 300.0, "fl_y": 310.0, "cx": 150.5, "cy": 122.5, "w": 320, "h": 240, "k1": -0.2, "p1": 0.01}
    content["frames"] = [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}]
    for name in ("plain", "marked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "transforms.json").write_text(json.dumps(content))
    Image.fromarray(picture).save(tmp_path / "plain" / "a.png")
    Image.fromarray(picture).save(tmp_path / "marked" / "a.png", exif=exif)
    results = []
    for name in ("plain", "marked"):
        import_dataset(tmp_path / name, tmp_path / f"out_{name}")
        dataset = SceneDataset(tmp_path / f"out_{name}")
        results.append((dataset.image(dataset.frames[0]), dataset.camera(dataset.frames[0])))
    (plain, plain_camera), (marked, marked_camera) = results
    assert marked.shape[:2] == plain.shape[1::-1]
    assert np.abs(turned_array(plain, 6).astype(int) - marked)[8:-8, 8:-8].mean() < 2
    expected = turned_camera(plain_camera, 6)
    got = marked_camera
    np.testing.assert_allclose(
        (got.fx_px, got.fy_px, got.cx_px, got.cy_px),
        (expected.fx_px, expected.fy_px, expected.cx_px, expected.cy_px),
        atol=1e-3,
    )


def test_depth_of_neither_grid_is_refused(tmp_path):
    make_folder(tmp_path / "photos", STORED, 6)
    cv2.imwrite(str(tmp_path / "photos" / "depth" / "0.png"), np.full((32, 32), 1000, np.uint16))
    with pytest.raises(InputError, match="32x32 for 48x32"):
        import_dataset(tmp_path / "photos", tmp_path / "out", options=ImportOptions())
    assert not (tmp_path / "out").exists()
