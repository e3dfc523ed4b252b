"""What an image must be before a network looks at it, and how it is resampled: to the mean of what a pixel covers."""

import cv2
import numpy as np
import pytest

from geo_perception.geometry import Camera, so3_exp
from geo_perception.runtime.image import Resampler, contrast_problem, image_problem, resized


def test_a_usable_image_has_no_problem():
    assert image_problem(np.zeros((32, 40, 3), np.uint8), 32) == ""
    assert image_problem(np.zeros((40, 80, 3), np.uint8)[:, ::-2], 32) == ""  # a view of another image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "not an array of uint8"),
        ([[1, 2], [3]], "not an array of uint8"),
        (np.zeros((64, 64, 3), np.float32), "not an array of uint8"),
        (np.zeros((64, 64, 3), np.int8), "not an array of uint8"),
        (np.zeros((64, 64), np.uint8), r"shape is (64, 64), not"),
        (np.zeros((64, 64, 4), np.uint8), r"shape is (64, 64, 4), not"),
        (np.zeros((), np.uint8), r"shape is (), not"),
        (np.zeros((31, 64, 3), np.uint8), "only 64 x 31 pixels"),
        (np.zeros((0, 64, 3), np.uint8), "only 64 x 0 pixels"),
        (np.zeros((32, 1 << 15, 3), np.uint8), "32768 x 32 pixels, more than can be resampled"),
    ],
)
def test_what_is_wrong_is_said(image, words):
    assert words in image_problem(image, 32)


def test_the_smallest_side_is_the_callers():
    image_hw3 = np.zeros((40, 40, 3), np.uint8)
    assert image_problem(image_hw3, 40) == ""
    assert "40 x 40" in image_problem(image_hw3, 41)


@pytest.mark.parametrize(("brighter", "problem"), [(105, "differ by 2.5 of 255"), (106, "")])
def test_an_image_with_hardly_any_grey_levels_shows_nothing(brighter, problem):
    """Half of it is 100, half brighter: the standard deviation is half the difference."""
    image_hw3 = np.full((4, 6, 3), 100, np.uint8)
    image_hw3[2:] = brighter
    found = contrast_problem(image_hw3)
    assert problem in found
    assert bool(found) == bool(problem)


def checkerboard(width_px: int, height_px: int, side_px: int = 1) -> np.ndarray:
    rows, columns = np.mgrid[:height_px, :width_px] // side_px
    return np.where((rows + columns) % 2, 255, 0).astype(np.uint8)


def noise(width_px: int, height_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3)).astype(np.uint8)


def area_means(image: np.ndarray, size_px, left_px=0.0, top_px=0.0, shrink=None) -> np.ndarray:
    """The exact mean of what each pixel of a window covers: sums over rectangles with fractional edges."""
    width_px, height_px = size_px
    sx, sy = shrink or (image.shape[1] / width_px, image.shape[0] / height_px)

    def along_rows(values, start, step, count):
        sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        edges = (start + step * np.arange(count + 1)).clip(0, len(values))
        below = np.minimum(edges.astype(int), len(values) - 1)
        share = (edges - below).reshape(-1, *[1] * (values.ndim - 1))
        return np.diff(sums[below] + share * values[below], axis=0) / step

    rows = along_rows(image.astype(float), top_px, sy, height_px)
    return np.moveaxis(along_rows(np.moveaxis(rows, 1, 0), left_px, sx, width_px), 0, 1)


def test_the_exact_means_by_hand():
    image = np.array([[10, 20, 30, 40, 50]], np.uint8)
    np.testing.assert_allclose(area_means(image, (2, 1)), [[(10 + 20 + 15) / 2.5, (15 + 40 + 50) / 2.5]])
    np.testing.assert_allclose(
        area_means(image, (2, 1), 0.5, 0.0, (2.0, 1.0)), [[(5 + 20 + 15) / 2, (15 + 40 + 25) / 2]]
    )


@pytest.mark.parametrize("size_px", [(48, 32), (40, 24), (37, 64), (96, 17), (90, 60), (5, 3), (1, 1)])
def test_an_image_that_shrinks_is_averaged(size_px):
    for image in (checkerboard(96, 64), noise(96, 64)):
        np.testing.assert_allclose(resized(image, size_px), area_means(image, size_px), atol=0.51)


def test_the_side_that_shrinks_is_averaged_where_the_other_grows():
    stripes = np.tile(np.array([0, 0, 0, 255], np.uint8), (8, 24))  # 96 x 8 pixels, a quarter of them white
    for view in (resized(stripes, (12, 20)), resized(stripes.T, (20, 12)).T):
        np.testing.assert_allclose(view, 255 / 4, atol=0.51)


def test_an_image_that_keeps_its_size_is_copied():
    image = noise(20, 10)
    copy = resized(image, (20, 10))
    np.testing.assert_array_equal(copy, image)
    assert not np.shares_memory(copy, image)


def pinhole(width_px: int, height_px: int, focal_px: float) -> Camera:
    return Camera(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)


def window_of(camera: Camera, shrink: float, left_px: float, top_px: float, width_px: int, height_px: int) -> Camera:
    """The pinhole that sees a window of a pinhole's image, whose upper left corner lies that far from the image's."""
    cx_px, cy_px = (camera.cx_px + 0.5 - left_px) / shrink - 0.5, (camera.cy_px + 0.5 - top_px) / shrink - 0.5
    return Camera(width_px, height_px, camera.fx_px / shrink, camera.fy_px / shrink, cx_px, cy_px)


@pytest.mark.parametrize(
    ("shrink", "left_px", "top_px"),
    [(1.0, 3.0, 0.0), (1.5, 6.0, 3.0), (2.0, 0.0, 0.0), (2.0, 5.5, 3.25), (2.5, 4.0, 1.0), (3.0, 0.0, 7.5),
     (3.0, 1.0, 2.0), (4.0, 2.0, 0.5), (8.0, 4.0, 2.0)],
)  # fmt: skip
@pytest.mark.parametrize("picture", [checkerboard, noise])
def test_a_window_of_an_image_is_made_of_exact_means(picture, shrink, left_px, top_px):
    image = picture(324, 212)
    camera = pinhole(324, 212, 300.0)
    target = window_of(camera, shrink, left_px, top_px, int(300 / shrink), int(190 / shrink))
    view = Resampler(camera, target).image(image)
    exact = area_means(image, (target.width_px, target.height_px), left_px, top_px, (shrink, shrink))
    np.testing.assert_allclose(view, exact, atol=1.01)


LENSES = {
    "pinhole": ("pinhole", ()),
    "barrel": ("plumb_bob", (-0.25, 0.06, 0.001, -0.0005)),
    "cushion": ("plumb_bob", (0.15, 0.0, 0.0, 0.0)),
    "fisheye": ("equidistant", (0.01, 0.0, 0.0, 0.0)),
}


def pixel_means(image: np.ndarray, camera: Camera, target: Camera, R_33: np.ndarray, rays: int = 8) -> np.ndarray:
    """What each pixel of the target covers, by brute force: the image's pixels that `rays` x `rays` rays meet."""
    fine = target.resized(target.width_px * rays, target.height_px * rays)
    columns, rows = np.meshgrid(np.arange(fine.width_px), np.arange(fine.height_px))
    pixels_n2 = camera.project(fine.bearings(np.stack([columns.ravel(), rows.ravel()], axis=1)) @ R_33.T)
    column_n, row_n = np.rint(pixels_n2).astype(int).T
    values = image[row_n, column_n].astype(float).reshape(target.height_px, rays, target.width_px, rays)
    return values.mean(axis=(1, 3))


@pytest.mark.parametrize("shrink", [1.5, 2.6, 7.0])
@pytest.mark.parametrize("turn_3", [(0, 0, 0), (0.05, 0.1, 0.7)], ids=["straight", "turned"])
@pytest.mark.parametrize("lens", LENSES)
def test_a_pixel_is_the_mean_of_what_it_covers_through_any_lens(lens, turn_3, shrink):
    camera = Camera(640, 480, 420.0, 420.0, 321.5, 236.0, *LENSES[lens])
    target = pinhole(round(60 / shrink) + 10, round(50 / shrink) + 10, 420.0 / shrink)
    R_33 = so3_exp(np.array(turn_3, float))
    resampler = Resampler(camera, target, R_33)
    assert resampler.covered_hw.min() == 1
    # White noise is the hardest: interpolating at the target's pixels alone is off by 0.45, 1.5 and 4 of its spread.
    image = noise(640, 480)[..., 0]
    expected = pixel_means(image, camera, target, R_33)
    error = resampler.image(image) - expected
    assert abs(error.mean()) < 1.5
    assert error.std() < {1.5: 0.47, 2.6: 0.35, 7.0: 0.7}[shrink] * expected.std()
    # Squares of one pixel are grey from afar; interpolation alone shows patterns of black and white, 42 levels strong.
    shades = resampler.image(checkerboard(640, 480)).astype(float)
    assert abs(shades.mean() - 127.5) < 1
    assert shades.std() < 6


@pytest.mark.parametrize("lens", LENSES)
def test_an_image_that_grows_is_interpolated_as_before(lens):
    camera = Camera(640, 480, 420.0, 420.0, 321.5, 236.0, *LENSES[lens])
    target = pinhole(120, 90, 500.0)
    image = cv2.GaussianBlur(noise(640, 480), (0, 0), 2)
    plain = cv2.remap(image, *camera.remap_to(target), cv2.INTER_LINEAR).astype(float)
    np.testing.assert_allclose(Resampler(camera, target).image(image), plain, atol=2)


@pytest.mark.parametrize("lens", LENSES)
def test_what_the_image_does_not_cover_is_black_and_said(lens):
    camera = Camera(64, 48, 42.0, 42.0, 31.5, 23.5, *LENSES[lens])
    target = pinhole(200, 160, 30.0)
    resampler = Resampler(camera, target)
    columns, rows = np.meshgrid(np.arange(200), np.arange(160))
    pixels_n2 = camera.project(target.bearings(np.stack([columns.ravel(), rows.ravel()], axis=1)))
    inside_hw = camera.contains(pixels_n2, border_px=1.5).reshape(160, 200)
    outside_hw = ~camera.contains(pixels_n2, border_px=-1.5).reshape(160, 200)
    assert (resampler.covered_hw[inside_hw] == 1).all()
    assert (resampler.covered_hw[outside_hw] == 0).all()
    white = resampler.image(np.full((48, 64, 3), 255, np.uint8))
    np.testing.assert_allclose(white[..., 1] / 255, resampler.covered_hw, atol=1e-6)
    replicated = resampler.image(np.full((48, 64, 3), 255, np.uint8), cv2.BORDER_REPLICATE)
    assert replicated.min() == 255


@pytest.mark.parametrize("lens", LENSES)
def test_what_lies_behind_the_camera_is_not_shown(lens):
    camera = Camera(64, 48, 42.0, 42.0, 31.5, 23.5, *LENSES[lens])
    backwards = Resampler(camera, pinhole(60, 50, 30.0), so3_exp(np.array([np.pi, 0.0, 0.0])))
    assert backwards.image(np.full((48, 64, 3), 255, np.uint8)).max() == 0
    sideways = Resampler(camera, pinhole(600, 50, 60.0), so3_exp(np.array([0.0, 1.2, 0.0])))
    # The left end looks into the camera's view, the middle past its side, the right end behind it.
    assert sideways.covered_hw[25, 20] == 1
    assert sideways.covered_hw[:, 300:].max() == 0


def test_depth_is_never_mixed_where_it_shrinks():
    depth_m = checkerboard(320, 240, 40).astype(np.float32) / 100 + 1
    camera = Camera(320, 240, 210.0, 210.0, 159.5, 119.5, *LENSES["barrel"])
    seen_m = Resampler(camera, pinhole(50, 40, 40.0)).nearest(depth_m)
    assert set(np.unique(seen_m)) == set(np.unique(depth_m))
    column, row = np.rint(camera.project(pinhole(50, 40, 40.0).bearings([[10.0, 12.0]]))[0]).astype(int)
    assert seen_m[12, 10] == depth_m[row, column]


def test_a_picture_whose_sides_no_whole_number_divides_is_averaged_to_its_last_pixel():
    # Shrinks by 9: averaged by 3 first, for which two columns and a row are missing.
    image = np.zeros((127, 190), np.uint8)
    image[:, 180:], image[117:] = 90, 90
    camera = pinhole(190, 127, 200.0)
    target = window_of(camera, 9.0, 0.0, 0.0, 21, 14)
    view = Resampler(camera, target).image(image)
    np.testing.assert_allclose(view[:-1, :-1], 0, atol=1)
    np.testing.assert_allclose(view[:-1, -1], 90, atol=1)
    np.testing.assert_allclose(view[-1], 90, atol=1)
