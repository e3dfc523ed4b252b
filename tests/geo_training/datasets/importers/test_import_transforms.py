"""transforms.json: OpenGL axes, intrinsics in every form, missing images, lenses."""

import json

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.importers.lenses import camera_of
from geo_training.datasets.scene import SceneDataset
from image_files import write_image

from geo_perception.errors import InputError

IDENTITY = np.eye(4).tolist()


def write(root, content: dict, images=("images/1.jpg",), size=(64, 48), name="transforms.json"):
    for image in images:
        write_image(root / image, size_px=size)
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


@pytest.mark.parametrize(
    "model",
    [
        "EQUIRECTANGULAR", "FISHEYE624", "ORTHOPHOTO", "VR180_L", "OMNIDIRECTIONALSTEREO_L", "FOV", "EUCM",
        "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE", "PANORAMA_FISHEYE", "NOT_A_FISHEYE", "PINHOLE2",
        "", 5, ["OPENCV"], True,
    ],
)  # fmt: skip
def test_a_model_that_is_not_known_is_refused_by_name(tmp_path, model):
    content = {"fl_x": 50.0, "camera_model": model, "frames": [frame("images/1.jpg")]}
    with pytest.raises(InputError, match=r"frame 0: the camera model .* is not known") as refused:
        import_dataset(write(tmp_path / "scene", content), tmp_path / "out")
    assert repr(model) in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "ours"),
    [
        ("SIMPLE_PINHOLE", "plumb_bob"),
        ("PINHOLE", "plumb_bob"),
        ("SIMPLE_RADIAL", "plumb_bob"),
        ("RADIAL", "plumb_bob"),
        ("OPENCV", "plumb_bob"),
        ("opencv", "plumb_bob"),
        ("FULL_OPENCV", "rational_polynomial"),
        ("OPENCV_FISHEYE", "equidistant"),
        ("SIMPLE_RADIAL_FISHEYE", "equidistant"),
        ("RADIAL_FISHEYE", "equidistant"),
        ("FISHEYE", "equidistant"),
    ],
)
def test_every_known_model(model, ours):
    fields = {"camera_model": model, "fl_x": 250.0, "fl_y": 240.0, "cx": 160.0, "cy": 121.0, "k1": -0.1, "k2": 0.02}
    camera = camera_of(fields, (320, 240), "here", set())
    assert (camera.model, camera.distortion[:2]) == (ours, (-0.1, 0.02))
    assert (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (250, 240, 159.5, 120.5)


def test_coefficients_take_their_places():
    lens = {"k1": 0.1, "k2": 0.2, "k3": 0.3, "p1": 0.01, "p2": 0.02}
    assert camera_of({"fl_x": 9, **lens}, (8, 8), "", set()).distortion == (0.1, 0.2, 0.01, 0.02, 0.3)
    full = {"fl_x": 9, **lens, "k4": 0.4, "k5": 0.5, "k6": 0.6, "camera_model": "FULL_OPENCV"}
    assert camera_of(full, (8, 8), "", set()).distortion == (0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6)
    fish = {"fl_x": 9, "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4, "is_fisheye": True}
    assert camera_of(fish, (8, 8), "", set()).distortion == (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fl_x": 50, "camera_model": "OPENCV_FISHEYE", "p1": 0.1}, "p1 is 0.1"),
        ({"fl_x": 50, "camera_model": "OPENCV", "k5": 0.1}, "k5 is 0.1"),
        ({"fl_x": 50, "camera_model": "PINHOLE", "is_fisheye": True}, "contradict each other"),
        ({"fl_x": 50, "is_fisheye": "no"}, "write true or false"),
        ({"fl_x": 50, "ftheta_p0": 1.0}, "ftheta_p0"),
        ({"is_fisheye": True, "camera_angle_x": 1.0}, "no focal length of a fisheye"),
        ({"fl_x": -50}, "frame 0: focal length -50"),
        ({"fl_x": float("nan")}, "frame 0: focal length nan"),
        ({"fl_x": 50, "w": float("inf")}, "not a number"),
        ({"fl_x": 50, "k1": float("nan")}, "frame 0: "),
        ({"camera_angle_x": float("nan")}, "no field of view"),
        ({"camera_angle_x": 180}, "no field of view"),
        ({"camera_angle_x": -0.7}, "no field of view"),
        ({"camera_angle_x": 3.0}, "172 degrees"),
        ({"fl_x": True}, "not a number"),
        ({"fl_x": 0.9}, "cannot be that of 64x48 pixels"),
        ({"fl_x": 1e-300}, "cannot be that of 64x48 pixels"),
        ({"fl_x": 1e7}, "cannot be that of 64x48 pixels"),
        ({"fl_x": 50, "k1": 1e300}, r"1\.jpg: distortion"),
        ({"fl_x": 50, "train_filenames": 5}, "train_filenames is no list"),
        ({"fl_x": 50, "k1": "wide"}, "not a number"),
    ],
)
def test_lenses_that_cannot_be_are_answered(tmp_path, fields, words):
    content = {**fields, "frames": [frame("images/1.jpg")]}
    with pytest.raises(InputError, match=words) as refused:
        import_dataset(write(tmp_path / "scene", content), tmp_path / "out")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("angle", "degrees"), [(90, True), (np.pi / 2, False), (60.0, True), (4.0, True)])
def test_angles_above_pi_are_degrees_and_said_to_be(tmp_path, angle, degrees):
    content = {"camera_angle_x": angle, "frames": [frame("images/1.jpg")]}
    result = import_dataset(write(tmp_path / "scene", content), tmp_path / "out")
    radians = np.deg2rad(angle) if degrees else angle
    assert only_camera(tmp_path / "out").fx_px == pytest.approx(32 / np.tan(radians / 2))
    assert any("read as degrees" in note for note in result["notes"]) is degrees


def test_one_bad_pose_costs_its_frame_the_pose(tmp_path):
    bad = {
        "1": np.diag([2.0, 2, 2, 1]), "2": np.diag([-1.0, 1, 1, 1]), "3": np.full((4, 4), 1e300), "4": np.zeros((4, 4)),
        "5": np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "6": np.full((4, 4), np.nan),
        "7": np.vstack([np.eye(4)[:3], [0, 0, 1, 1]]), "8": np.eye(3),
    }  # fmt: skip
    good = np.eye(4)
    good[:3, :3] += 0.004  # rounded to two decimals
    frames = [frame(f"images/{name}.jpg", matrix.tolist()) for name, matrix in bad.items()]
    frames += [frame("images/9.jpg", good.tolist()), {"file_path": "images/10.jpg"}, frame("images/11.jpg", "x")]
    images = [f"images/{number}.jpg" for number in range(1, 12)]
    result = import_dataset(write(tmp_path / "scene", {"fl_x": 50, "frames": frames}, images), tmp_path / "out")
    assert (result["frames"], result["posed_frames"]) == (11, 1)
    posed = next(f for f in SceneDataset(tmp_path / "out").frames if f.T_world_camera is not None)
    assert posed.name.endswith("/9.jpg")
    np.testing.assert_allclose(posed.T_world_camera[:3, :3].T @ posed.T_world_camera[:3, :3], np.eye(3), atol=1e-7)
    note = next(note for note in result["notes"] if " poses, " in note)
    assert "found 11 poses, used 1, left out: 9 no rigid pose (the first: " in note
    assert "transforms.json frame 0 is not a rigid pose" in note
    assert "1 without numbers (tracking was lost)" in note


def test_names_of_windows_and_frames_without_a_file(tmp_path):
    frames = [frame("images\\1.jpg"), {"transform_matrix": IDENTITY}, 7]
    result = import_dataset(write(tmp_path / "scene", {"fl_x": 50, "frames": frames}), tmp_path / "out")
    assert result["frames"] == 1
    assert any("found 3 images, used 1, left out: 2 without a file_path" in note for note in result["notes"])


def test_masks_and_depth_of_another_meaning_are_counted(tmp_path):
    frames = [frame("images/1.jpg", mask_path="masks/1.png", depth_path="depth/1.png")]
    result = import_dataset(write(tmp_path / "scene", {"fl_x": 50, "frames": frames}), tmp_path / "out")
    notes = " ".join(result["notes"])
    assert "found 1 masks, used 0, left out: 1 that say which pixels to leave out, not which object" in notes
    assert "found 1 depth images, used 0, left out: 1 of a depth_path, whose unit is not known" in notes


def test_depth_says_its_unit(tmp_path):
    frames = [
        frame("images/1.jpg", depth_file_path="depth/1.png"),
        frame("images/2.jpg", depth_file_path="depth/2.png"),
    ]
    content = {"fl_x": 50, "depth_unit_scale_factor": 0.0002, "frames": frames}
    root = write(tmp_path / "scene", content, ["images/1.jpg", "images/2.jpg"])
    (root / "depth").mkdir()
    cv2.imwrite(str(root / "depth" / "1.png"), np.full((48, 64), 10000, np.uint16))
    result = import_dataset(root, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.depth_m(dataset.frames[0])[0, 0] == pytest.approx(2.0)
    assert "Depth: 5000 units a metre (depth_unit_scale_factor); the median is 2 m." in result["notes"]
    assert any(
        "found 2 depth images, used 1, left out: 1 that do not exist (depth/2.png)" in n for n in result["notes"]
    )
    content["depth_unit_scale_factor"] = "mm"
    (root / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="depth_unit_scale_factor is 'mm'"):
        import_dataset(root, tmp_path / "bad")


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
