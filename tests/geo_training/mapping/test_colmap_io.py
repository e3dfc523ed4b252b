"""COLMAP's cameras and poses and ours say the same, to the last pixel."""

import numpy as np
import pycolmap
import pytest
from geo_training.datasets.colmap_model import camera_from_colmap
from geo_training.mapping.colmap_io import from_rigid, read_model, to_pycolmap, to_rigid

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose, so3_exp

CAMERAS = [
    Camera(640, 480, 500, 510, 319.5, 239.5),
    Camera(640, 480, 500, 510, 320, 240, "plumb_bob", (0.1, -0.05, 0.001, -0.002)),
    Camera(640, 480, 500, 510, 320, 240, "plumb_bob", (0.1, -0.05, 0.001, -0.002, 0.01)),
    Camera(640, 480, 500, 510, 320, 240, "rational_polynomial", (0.1, -0.05, 0.001, -0.002, 0.01, 0.02, 0.003, 0.001)),
    Camera(640, 480, 300, 310, 320, 240, "equidistant", (0.01, -0.005, 0.001, 0.0002)),
]
POINTS = np.array([[0.0, 0, 1], [0.3, -0.2, 1.1], [-0.4, 0.25, 1.3]])


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: f"{c.model}{len(c.distortion)}")
def test_a_point_projects_half_a_pixel_further_in_colmap(camera):
    theirs = np.array([to_pycolmap(camera).img_from_cam(point) for point in POINTS])
    np.testing.assert_allclose(theirs, camera.project(POINTS) + 0.5, atol=1e-6)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: f"{c.model}{len(c.distortion)}")
def test_a_camera_comes_back_as_it_went(camera):
    back = camera_from_colmap(to_pycolmap(camera))
    np.testing.assert_allclose(back.project(POINTS), camera.project(POINTS), atol=1e-9)
    assert (back.width_px, back.height_px, back.cx_px) == (640, 480, camera.cx_px)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("SIMPLE_PINHOLE", [500, 320, 240]),
        ("SIMPLE_RADIAL", [500, 320, 240, 0.05]),
        ("RADIAL", [500, 320, 240, 0.05, -0.01]),
        ("SIMPLE_RADIAL_FISHEYE", [300, 320, 240, 0.02]),
        ("RADIAL_FISHEYE", [300, 320, 240, 0.02, -0.01]),
    ],
)
def test_every_model_that_colmap_estimates_projects_alike(model, params):
    theirs = pycolmap.Camera(model=model, width=640, height=480, params=params)
    expected = np.array([theirs.img_from_cam(point) for point in POINTS]) - 0.5
    np.testing.assert_allclose(camera_from_colmap(theirs).project(POINTS), expected, atol=1e-6)


def test_a_guessed_lens_becomes_the_one_coefficient_that_is_nearest():
    lens = Camera(640, 480, 500, 500, 319.5, 239.5, "plumb_bob", (-0.2, 0.0, 0.0, 0.0))
    assert to_pycolmap(lens, known=False).params[3] == pytest.approx(-0.2, abs=1e-3)
    bent = Camera(640, 480, 500, 500, 319.5, 239.5, "plumb_bob", (-0.2, 0.05, 0.0, 0.0))
    assert -0.2 < to_pycolmap(bent, known=False).params[3] < -0.15


def test_a_guessed_camera_is_one_that_colmap_refines():
    guess = to_pycolmap(Camera(640, 480, 500, 510, 319.5, 239.5), known=False)
    assert guess.model.name == "SIMPLE_RADIAL"
    assert not guess.has_prior_focal_length
    np.testing.assert_allclose(guess.params, [505, 320, 240, 0])
    assert to_pycolmap(CAMERAS[0]).has_prior_focal_length


def test_a_lens_without_a_name_in_ros_is_refused():
    with pytest.raises(InputError, match="FOV, which OpenCV lacks"):
        camera_from_colmap(pycolmap.Camera(model="FOV", width=640, height=480, params=[500, 500, 320, 240, 0.9]))
    with pytest.raises(InputError, match="12-coefficient"):
        to_pycolmap(Camera(640, 480, 500, 500, 320, 240, "rational_polynomial", (0.1,) * 12))


def test_poses_are_the_inverse_of_colmaps():
    T_world_camera = make_pose(so3_exp(np.array([0.2, -0.7, 0.4])), np.array([1.0, 2.0, -0.5]))
    cam_from_world = to_rigid(T_world_camera)
    np.testing.assert_allclose(cam_from_world.matrix(), invert_pose(T_world_camera)[:3], atol=1e-12)
    np.testing.assert_allclose(from_rigid(cam_from_world), T_world_camera, atol=1e-12)


def test_a_missing_or_damaged_model_is_answered(tmp_path):
    with pytest.raises(InputError, match="run `geo-train map`"):
        read_model(tmp_path)
    for name in ("cameras.bin", "images.bin", "points3D.bin", "rigs.bin", "frames.bin"):
        (tmp_path / name).write_bytes(b"\x07\x00\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_model(tmp_path)
