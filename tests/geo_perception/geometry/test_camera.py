"""Cameras: pixels and directions, resizing and cropping, lens distortion both ways."""

import cv2
import numpy as np
import pytest

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, SizeMismatch, same_shape, so3_exp

LENSES = {
    "pinhole": (),
    "plumb_bob": (-0.28, 0.07, 0.0012, -0.0007, 0.01),
    "rational_polynomial": (0.9, 0.4, 0.0005, -0.0002, 0.03, 1.1, 0.6, 0.1),
    "equidistant": (0.02, -0.004, 0.001, -0.0003),
}


def lens(model: str) -> Camera:
    return Camera(640, 480, 420.0, 418.0, 321.5, 236.0, model, LENSES[model])


def test_a_pinhole_projects_by_hand():
    camera = Camera(640, 480, 500.0, 400.0, 320.0, 240.0)
    np.testing.assert_allclose(camera.project([[0.2, -0.1, 2.0]]), [[370.0, 220.0]])
    np.testing.assert_allclose(camera.normalize([[370.0, 220.0]]), [[0.1, -0.05]])
    np.testing.assert_allclose(camera.bearings([[320.0, 240.0]]), [[0, 0, 1]])
    np.testing.assert_array_equal(camera.K, [[500, 0, 320], [0, 400, 240], [0, 0, 1]])


def test_points_beside_or_behind_the_camera_have_no_pixel():
    for model in LENSES:
        pixels_n2 = lens(model).project([[0, 0, 1.0], [0, 0, -1.0], [1.0, 0, 0]])
        np.testing.assert_array_equal(np.isnan(pixels_n2).all(axis=1), [False, True, True])
    assert np.isnan(lens("plumb_bob").project([[0, 0, -1.0]])).all()
    assert lens("pinhole").project(np.zeros((0, 3))).shape == (0, 2)
    assert lens("plumb_bob").normalize(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("model", LENSES)
def test_distortion_goes_there_and_back(model):
    camera = lens(model)
    columns, rows = np.meshgrid(np.linspace(0, 639, 9), np.linspace(0, 479, 7))
    pixels_n2 = np.stack([columns.ravel(), rows.ravel()], axis=1)
    rays_n3 = camera.bearings(pixels_n2)
    np.testing.assert_allclose(np.linalg.norm(rays_n3, axis=1), 1.0)
    np.testing.assert_allclose(camera.project(3.7 * rays_n3), pixels_n2, atol=1e-4)


def test_an_equidistant_lens_without_coefficients_is_linear_in_the_angle():
    camera = Camera(1000, 1000, 300.0, 300.0, 500.0, 500.0, "equidistant", (0.0, 0.0, 0.0, 0.0))
    angle_rad = np.deg2rad([10.0, 45.0, 80.0])
    points_n3 = np.stack([np.sin(angle_rad), np.zeros(3), np.cos(angle_rad)], axis=1)
    np.testing.assert_allclose(camera.project(points_n3)[:, 0], 500 + 300 * angle_rad, atol=1e-9)
    np.testing.assert_allclose(camera.bearings(camera.project(points_n3)), points_n3, atol=1e-6)


def test_one_radial_coefficient_by_hand():
    camera = Camera(640, 480, 100.0, 100.0, 0.0, 0.0, "plumb_bob", (0.1, 0.0, 0.0, 0.0))
    # r^2 = 0.25, so x' = 0.5 (1 + 0.1 * 0.25).
    np.testing.assert_allclose(camera.project([[0.5, 0.0, 1.0]]), [[51.25, 0.0]])


def test_resizing_keeps_the_corners_of_the_image():
    camera = Camera(640, 480, 500.0, 500.0, 319.5, 239.5).resized(320, 240)
    # The centre of an image lies at (width - 1) / 2, whatever its size.
    assert (camera.cx_px, camera.cy_px, camera.fx_px) == (159.5, 119.5, 250.0)
    twice = Camera(4, 4, 1.0, 1.0, 0.0, 0.0).resized(8, 8)
    assert (twice.cx_px, twice.cy_px) == (0.5, 0.5)


def test_resizing_agrees_with_opencv_resize():
    image = np.zeros((80, 80), np.float32)
    image[40:48, 24:32] = 1.0
    camera = Camera(80, 80, 60.0, 60.0, 27.5, 43.5)  # the principal point is the middle of the block
    small = cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA)
    rows, columns = np.mgrid[:20, :20]
    resized = camera.resized(20, 20)
    np.testing.assert_allclose((small * columns).sum() / small.sum(), resized.cx_px)
    np.testing.assert_allclose((small * rows).sum() / small.sum(), resized.cy_px)


def test_cropping_moves_the_principal_point():
    camera = Camera(640, 480, 500.0, 500.0, 320.0, 240.0, "plumb_bob", (0.1, 0, 0, 0)).cropped(100, 40, 200, 100)
    assert (camera.width_px, camera.height_px, camera.cx_px, camera.cy_px) == (200, 100, 220.0, 200.0)
    assert camera.distortion == (0.1, 0, 0, 0)


def test_contains_counts_half_a_pixel_beyond_the_centres():
    camera = Camera(10, 8, 5.0, 5.0, 4.5, 3.5)
    pixels_n2 = np.array([[-0.5, -0.5], [9.5, 7.5], [9.6, 3.0], [np.nan, 3.0], [4.0, 4.0]])
    np.testing.assert_array_equal(camera.contains(pixels_n2), [True, True, False, False, True])
    np.testing.assert_array_equal(camera.contains(pixels_n2, border_px=1.0), [False, False, False, False, True])


@pytest.mark.parametrize("model", LENSES)
def test_remapping_shows_what_the_target_would_have_seen(model):
    recorded = lens(model)
    target = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
    # An image whose grey values are the coordinates of its pixels, so that each says where it came from.
    columns, rows = np.meshgrid(np.arange(640, dtype=np.float32), np.arange(480, dtype=np.float32))
    maps = recorded.remap_to(target)
    assert maps[0].shape == (48, 64)
    seen = cv2.remap(np.dstack([columns, rows]), *maps, cv2.INTER_LINEAR)
    ray_3 = target.bearings([[40.0, 30.0]])[0]
    np.testing.assert_allclose(seen[30, 40], recorded.project([ray_3])[0], atol=0.05)


LONG_LENSES = {
    **{name: (name, distortion) for name, distortion in LENSES.items()},
    "thin prism": ("rational_polynomial", (*LENSES["rational_polynomial"], 0.01, -0.02, 0.003, 0.004)),
    "tilted sensor": ("rational_polynomial", (*LENSES["rational_polynomial"], 0.01, -0.02, 0.003, 0.004, 0.02, -0.01)),
    "folding": ("plumb_bob", (-0.3, 0.0, 0.0, 0.0)),
    "folding fisheye": ("equidistant", (-0.3, 0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("turn_3", [(0, 0, 0), (0.1, 0.3, 0.2), (0, 2.0, 0), (3.0, 0, 0)], ids=str)
@pytest.mark.parametrize("target_model", ["pinhole", "plumb_bob"])
@pytest.mark.parametrize("lens_name", LONG_LENSES)
def test_every_pixel_of_a_map_is_where_its_ray_is_projected(lens_name, target_model, turn_3):
    """Also beside and behind the camera and where a lens model folds back: no pixel of the image is shown there."""
    camera = Camera(640, 480, 420.0, 418.0, 321.5, 236.0, *LONG_LENSES[lens_name])
    target = Camera(60, 44, 14.0, 15.0, 28.0, 23.0, target_model, (-0.01, 0, 0, 0) if target_model != "pinhole" else ())
    R_camera_target = so3_exp(np.array(turn_3, float))
    maps_hw2 = np.stack(camera.remap_to(target, R_camera_target), axis=2)
    columns, rows = np.meshgrid(np.arange(60), np.arange(44))
    rays_n3 = target.bearings(np.stack([columns.ravel(), rows.ravel()], axis=1)) @ R_camera_target.T
    expected_hw2 = camera.project(rays_n3).reshape(44, 60, 2)
    unseen_hw = np.isnan(expected_hw2).any(axis=2)
    assert maps_hw2.dtype == np.float32
    np.testing.assert_allclose(maps_hw2[~unseen_hw], expected_hw2[~unseen_hw], rtol=1e-6, atol=1e-3)
    assert not camera.contains(maps_hw2[unseen_hw], border_px=-1000.0).any()
    if turn_3 == (3.0, 0, 0):
        assert unseen_hw.all()


def test_zero_distortion_is_a_pinhole_but_never_for_a_fisheye():
    K_33 = np.diag([500.0, 500.0, 1.0])
    assert Camera.from_K(K_33, 640, 480, "plumb_bob", [0.0] * 5).model == "pinhole"
    assert Camera.from_K(K_33, 640, 480, "plumb_bob", []).model == "pinhole"
    assert Camera.from_K(K_33, 640, 480, "equidistant", [0.0] * 4).model == "equidistant"
    assert lens("plumb_bob").without_distortion() == Camera(640, 480, 420.0, 418.0, 321.5, 236.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 480, 500, 500, 320, 240), "0 x 480"),
        ((640, 480, 0, 0, 0, 0), "not calibrated"),
        ((640, 480, float("nan"), 500, 320, 240), "not calibrated"),
        ((640, 480, -500, 500, 320, 240), "not positive"),
        ((640, 480, 500, 500, 320, 240, "kannala", ()), "equidistant"),
        ((640, 480, 500, 500, 320, 240, "plumb_bob", (0.1, 0.2)), "4 or 5 coefficients, 2 were given"),
        ((640, 480, 500, 500, 320, 240, "pinhole", (0.1,)), "takes 0"),
    ],
)
def test_an_impossible_camera_is_refused_in_one_line(arguments, words):
    with pytest.raises(InputError, match=words) as refused:
        Camera(*arguments)
    assert "\n" not in str(refused.value)


def test_a_lens_that_folds_back_does_not_show_what_lies_outside_its_view():
    camera = Camera(640, 480, 400.0, 400.0, 319.5, 239.5, "plumb_bob", (-0.3, 0.0, 0.0, 0.0))
    # r (1 - 0.3 r^2) grows until r = 1 / sqrt(0.9) = 1.054, and is 0 again at r = 1.826.
    inside, folded = camera.project([[1.0, 0, 1.0], [1.8, 0, 1.0]])
    np.testing.assert_allclose(inside, [319.5 + 400 * 0.7, 239.5])
    assert np.isnan(folded).all()
    fisheye = Camera(640, 480, 300.0, 300.0, 319.5, 239.5, "equidistant", (-0.3, 0.0, 0.0, 0.0))
    assert np.isnan(fisheye.project([[np.tan(1.2), 0, 1.0]])).all()
    assert np.isfinite(fisheye.project([[np.tan(1.0), 0, 1.0]])).all()


def test_a_camera_is_fitted_to_half_the_size_by_hand():
    camera = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
    half = camera.fitted(320, 240)
    np.testing.assert_allclose([half.fx_px, half.cx_px, half.cy_px], [250.0, 159.5, 119.5])
    assert camera.fitted(640, 480) is camera


@pytest.mark.parametrize("size_px", [(640, 400), (480, 480), (320, 256)])
def test_a_camera_of_another_shape_is_refused(size_px):
    with pytest.raises(SizeMismatch, match="another shape"):
        Camera(640, 480, 500.0, 500.0, 319.5, 239.5).fitted(*size_px)


@pytest.mark.parametrize(("size_px", "other_px"), [
    ((640, 480), (640, 480)), ((256, 192), (1920, 1440)), ((304, 228), (640, 480)), ((1242, 375), (1241, 376)),
    ((416, 125), (832, 251)), ((1283, 723), (320, 180)),
])  # fmt: skip
def test_sizes_that_differ_by_rounding_are_of_one_shape(size_px, other_px):
    assert same_shape(size_px, other_px)
    assert same_shape(other_px, size_px)


@pytest.mark.parametrize("size_px", [(640, 360), (480, 640), (512, 512)])
def test_cropped_and_turned_sizes_are_of_another_shape(size_px):
    assert not same_shape(size_px, (640, 480))
