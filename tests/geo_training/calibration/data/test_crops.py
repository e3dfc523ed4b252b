"""A crop shows every direction at the pixel that hand computation says, and says its camera exactly."""

import cv2
import numpy as np
import pytest
from geo_training.calibration.data import crops as crops_module
from geo_training.calibration.data.crops import (
    PAPER_DISTRIBUTION,
    ROBOT_DISTRIBUTION,
    CropDistribution,
    CropSpec,
    _directions,
    render_crop,
)
from geo_training.calibration.data.panorama_files import with_border
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from geo_perception.errors import InputError
from geo_perception.geometry import fov_rad, horizon_line, horizon_midpoint

HEIGHT, WIDTH = 512, 1024
SIDE, FOCAL = 260, 100.0


def panorama_with_dot(azimuth_deg, elevation_deg, radius_deg=2.0):
    """Black, with a white disc on the sphere around one direction, its edge soft."""
    azimuth = 2 * np.pi * ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5)[None]
    elevation = np.pi * (0.5 - (np.arange(HEIGHT) + 0.5) / HEIGHT)[:, None]
    at_azimuth, at_elevation = np.radians([azimuth_deg, elevation_deg])
    cosine = np.sin(elevation) * np.sin(at_elevation)
    cosine = cosine + np.cos(elevation) * np.cos(at_elevation) * np.cos(azimuth - at_azimuth)
    distance_deg = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    grey = np.clip(255 * (radius_deg + 0.5 - distance_deg), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def dot_pixel(crop_hw3):
    """The brightness-weighted mean pixel (x, y)."""
    weight_hw = crop_hw3[..., 0].astype(float)
    assert weight_hw.max() > 200, "the dot is not in the crop"
    rows, columns = np.mgrid[: crop_hw3.shape[0], : crop_hw3.shape[1]]
    return (weight_hw * columns).sum() / weight_hw.sum(), (weight_hw * rows).sum() / weight_hw.sum()


def camera(pitch_deg=0.0, roll_deg=0.0, yaw_deg=0.0, width=SIDE, height=SIDE, focal=FOCAL):
    return CropSpec(width, height, focal, *np.radians([pitch_deg, roll_deg, yaw_deg]).tolist())


TAN15, TAN20 = np.tan(np.radians(15)), np.tan(np.radians(20))
S2 = np.sqrt(0.5)


@pytest.mark.parametrize(
    ("spec", "direction_deg", "pixel"),
    [
        pytest.param(camera(), (0, 0), (0, 0), id="level: straight ahead is the centre"),
        pytest.param(camera(), (45, 0), (100, 0), id="level: 45 degrees to the right is one focal length to the right"),
        pytest.param(camera(), (0, 30), (0, -100 * np.tan(np.pi / 6)), id="level: up is up"),
        pytest.param(camera(pitch_deg=20), (0, 20), (0, 0), id="pitch: the axis is at its elevation"),
        pytest.param(camera(pitch_deg=20), (0, 0), (0, 100 * TAN20), id="pitch up: the horizon is below the centre"),
        pytest.param(camera(pitch_deg=-15), (0, 0), (0, -100 * TAN15), id="pitch down: the horizon is above it"),
        pytest.param(camera(roll_deg=30), (-30, 0), (-50, 100 / np.sqrt(12)), id="roll +: the left sinks"),
        pytest.param(camera(roll_deg=90), (-20, 0), (0, 100 * TAN20), id="quarter roll: the left is below"),
        pytest.param(camera(roll_deg=-90), (0, 20), (100 * TAN20, 0), id="quarter roll back: up is on the right"),
        pytest.param(camera(20, 45), (0, 0), (100 * TAN20 * S2, 100 * TAN20 * S2), id="pitch and roll: Rz of pitch"),
        pytest.param(camera(yaw_deg=60), (60, 0), (0, 0), id="yaw: turned to the right"),
        pytest.param(camera(yaw_deg=60), (15, 0), (-100, 0), id="yaw: what was ahead is on the left"),
        pytest.param(camera(yaw_deg=180), (180, 0), (0, 0), id="seam: in the centre"),
        pytest.param(camera(yaw_deg=170), (-175, 0), (100 * np.tan(np.radians(15)), 0), id="seam: beyond it"),
        pytest.param(camera(pitch_deg=90), (0, 90), (0, 0), id="zenith: in the centre"),
        pytest.param(camera(pitch_deg=-90), (0, -90), (0, 0), id="nadir: in the centre"),
        pytest.param(camera(pitch_deg=-90), (0, -75), (0, -100 * TAN15), id="nadir: ahead is at the top"),
        pytest.param(camera(pitch_deg=-90), (180, -75), (0, 100 * TAN15), id="nadir: behind is at the bottom"),
        pytest.param(camera(pitch_deg=70), (90, 75), None, id="near the zenith"),
        pytest.param(camera(-50, -40, 120, 300, 180, 150.0), (100, -40), None, id="everything at once"),
    ],
)  # fmt: skip
def test_a_direction_appears_at_its_pixel(spec, direction_deg, pixel):
    found = dot_pixel(render_crop(panorama_with_dot(*direction_deg), spec))
    if pixel is None:  # by rotation matrices, written out here: level ray, then Rx(-pitch), then Rz(-roll)
        azimuth, elevation = np.radians(direction_deg[0]) - spec.yaw_rad, np.radians(direction_deg[1])
        level = [np.cos(elevation) * np.sin(azimuth), -np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        cp, sp, cr, sr = (f(a) for a in (spec.pitch_rad, spec.roll_rad) for f in (np.cos, np.sin))
        tilted = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]]) @ level
        x, y, z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]]) @ tilted
        pixel = spec.focal_px * x / z, spec.focal_px * y / z
    expected = pixel[0] + (spec.width_px - 1) / 2, pixel[1] + (spec.height_px - 1) / 2
    # A disc seen aslant is an ellipse whose mean lies a little farther out than its centre.
    assert found == pytest.approx(expected, abs=0.45)


def sky_and_ground():
    panorama = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    panorama[: HEIGHT // 2] = 255
    return panorama


@pytest.mark.parametrize("pitch_deg", [-25, 0, 12])
@pytest.mark.parametrize("roll_deg", [-35, 0, 20])
def test_the_horizon_is_the_straight_line_that_geometry_says(pitch_deg, roll_deg):
    spec = camera(pitch_deg, roll_deg, yaw_deg=77, width=240, height=160, focal=120.0)
    crop = render_crop(sky_and_ground(), spec)[..., 0]
    a, b, c = horizon_line(spec.focal_px, (240 - 1) / 2, (160 - 1) / 2, spec.pitch_rad, spec.roll_rad)
    rows, columns = np.mgrid[:160, :240]
    above_hw = a * columns + b * rows + c
    assert (crop[above_hw > 1.5] == 255).all()
    assert (crop[above_hw < -1.5] == 0).all()
    # The share of sky in the middle column is where the line crosses it: to a quarter of a pixel.
    crossing_px = -(a * (240 - 1) / 2 + c) / b
    assert crop[:, 119:121].mean() / 255 * 160 - 0.5 == pytest.approx(crossing_px, abs=0.25)


def test_without_roll_the_horizon_crosses_the_middle_at_its_midpoint():
    spec = camera(pitch_deg=-20, width=240, height=160, focal=120.0)
    sky_px = render_crop(sky_and_ground(), spec)[:, 120, 0].mean() / 255 * 160
    assert 1 - 2 * sky_px / 160 == pytest.approx(horizon_midpoint(120.0, 160, np.radians(-20)), abs=0.005)
    assert 1 - 2 * sky_px / 160 == pytest.approx(2 * 120 / 160 * 0.36397, abs=0.005)


def test_positive_roll_lowers_the_left_end_of_the_horizon():
    crop = render_crop(sky_and_ground(), camera(roll_deg=25))
    sky_left, sky_right = (crop[:, column, 0].mean() for column in (5, SIDE - 6))
    assert sky_left > sky_right + 50


def checker(cell_px, width=2048):
    rows, columns = np.mgrid[: width // 2, :width]
    grey = (255 * ((rows // cell_px + columns // cell_px) % 2)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_a_wide_view_of_a_fine_checker_is_grey_and_not_aliased():
    spec = camera(width=120, height=120, focal=60.0)  # 5.4 panorama pixels a pixel in the centre
    centre = (slice(40, 80), slice(40, 80))
    smooth = render_crop(checker(1), spec)[centre].astype(float)
    nearest = render_crop(checker(1), spec, supersample=1)[centre].astype(float)
    assert smooth.mean() == pytest.approx(127.5, abs=4)
    assert smooth.std() < 8
    assert nearest.std() > 25


def test_a_panorama_far_finer_than_the_crop_is_averaged_too():
    spec = camera(width=32, height=32, focal=16.0)
    crop = render_crop(checker(2, 2048), spec)[8:24, 8:24].astype(float)  # 20 panorama pixels a pixel
    assert crop.mean() == pytest.approx(127.5, abs=4)
    assert crop.std() < 12


def test_a_shrunk_panorama_keeps_directions():
    panorama = cv2.resize(panorama_with_dot(20, 10, 4.0), (8192, 4096), interpolation=cv2.INTER_LINEAR)
    spec = camera(width=100, height=100, focal=50.0)
    x, y = dot_pixel(render_crop(panorama, spec))
    assert x == pytest.approx(49.5 + 50 * np.tan(np.radians(20)), abs=0.3)
    assert y == pytest.approx(49.5 - 50 * np.tan(np.radians(10)) / np.cos(np.radians(20)), abs=0.3)


def ramp():
    """A smooth picture on the sphere that has no seam: brightness by cos(azimuth), flattened towards the poles."""
    azimuth = 2 * np.pi * ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5)[None]
    elevation = np.pi * (0.5 - (np.arange(HEIGHT) + 0.5) / HEIGHT)[:, None]
    grey = 127.5 + 100 * np.cos(elevation) * np.cos(azimuth)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("spec", [camera(yaw_deg=180, focal=400.0), camera(pitch_deg=90, focal=400.0),
                                  camera(pitch_deg=-90, focal=400.0)], ids=["seam", "zenith", "nadir"])  # fmt: skip
def test_neither_the_seam_nor_a_pole_leaves_a_mark(spec):
    crop = render_crop(ramp(), spec)[..., 0].astype(int)
    assert np.abs(np.diff(crop, axis=0)).max() <= 2
    assert np.abs(np.diff(crop, axis=1)).max() <= 2


def test_a_panorama_with_its_border_gives_the_same_crop_as_a_plain_one():
    plain = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    spec = camera(pitch_deg=85, yaw_deg=175, width=48, height=48, focal=30.0)
    assert (render_crop(plain, spec) == render_crop(with_border(plain), spec)).all()


def test_another_picture_at_the_same_place_in_memory_is_not_mistaken():
    spec = camera(width=16, height=16, focal=4.0)  # coarse enough to be shrunk, and so kept
    first = render_crop(np.full((64, 128, 3), 10, np.uint8), spec)
    second = render_crop(np.full((64, 128, 3), 200, np.uint8), spec)
    assert first.mean() == pytest.approx(10, abs=1)
    assert second.mean() == pytest.approx(200, abs=1)


@pytest.mark.parametrize("shape", [(64, 100, 3), (64, 128), (64, 128, 4)])
def test_what_is_no_panorama_is_refused(shape):
    with pytest.raises(InputError, match="no panorama"):
        render_crop(np.zeros(shape, np.uint8), camera())


def test_the_crop_has_the_size_and_camera_of_its_spec():
    spec = camera(width=60, height=40, focal=30.0)
    assert render_crop(sky_and_ground(), spec).shape == (40, 60, 3)
    assert (spec.camera.cx_px, spec.camera.cy_px, spec.camera.fx_px, spec.camera.fy_px) == (29.5, 19.5, 30.0, 30.0)
    assert np.degrees(spec.vfov_rad) == pytest.approx(2 * 33.690, abs=1e-3)  # atan(20 / 30)


@pytest.mark.parametrize("distribution", [PAPER_DISTRIBUTION, ROBOT_DISTRIBUTION], ids=["paper", "robot"])
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_draws_stay_in_their_ranges_and_repeat(distribution, seed):
    spec = distribution.draw(np.random.default_rng(seed))
    assert spec == distribution.draw(np.random.default_rng(seed))
    assert (spec.width_px, spec.height_px) in distribution.sizes_px
    for value, low_high in ((spec.pitch_rad, distribution.pitch_deg), (spec.roll_rad, distribution.roll_deg)):
        assert low_high[0] <= np.degrees(value) <= low_high[1]
    assert -np.pi <= spec.yaw_rad <= np.pi
    longer = max(spec.width_px, spec.height_px)
    assert np.degrees(fov_rad(longer, spec.focal_px)) <= distribution.max_fov_deg + 1e-9
    if distribution.focal_px:
        assert distribution.focal_px[0] <= spec.focal_px <= distribution.focal_px[1]
    else:
        assert distribution.vfov_deg[0] - 1e-9 <= np.degrees(spec.vfov_rad) <= distribution.vfov_deg[1] + 1e-9


def test_draws_are_uniform():
    rng = np.random.default_rng(1)
    drawn = [PAPER_DISTRIBUTION.draw(rng) for _ in range(4000)]
    for values, (low, high) in (
        ([s.focal_px for s in drawn], (50, 500)),
        (np.degrees([s.pitch_rad for s in drawn]), (-90, 0)),
        (np.degrees([s.roll_rad for s in drawn]), (-45, 45)),
        (np.degrees([s.yaw_rad for s in drawn]), (-180, 180)),
    ):
        counts = np.histogram(values, 8, (low, high))[0]
        assert counts.sum() == 4000
        assert np.abs(counts - 500).max() < 100  # 4.8 standard deviations


def test_each_size_has_the_same_chance_whatever_max_fov_leaves_of_it():
    rng = np.random.default_rng(2)
    distribution = CropDistribution(sizes_px=((100, 100), (300, 100)), vfov_deg=(10, 100), max_fov_deg=100)
    wide = sum(distribution.draw(rng).width_px == 300 for _ in range(2000))
    assert abs(wide - 1000) < 110


def test_a_size_that_is_asked_for_obeys_max_fov_or_is_refused():
    distribution = CropDistribution(sizes_px=((100, 100),), focal_px=(50, 100), max_fov_deg=100)
    spec = distribution.draw(np.random.default_rng(0), size_px=(200, 100))
    assert (spec.width_px, spec.height_px) == (200, 100)
    assert np.degrees(fov_rad(200, spec.focal_px)) <= 100
    with pytest.raises(InputError, match="max_fov_deg"):
        distribution.draw(np.random.default_rng(0), size_px=(400, 100))  # 127 degrees at the longest focal length


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (15, 0), (10, -25)])
def test_a_stretched_world_is_higher_and_the_labels_hold(pitch_deg, roll_deg):
    # A dot at 20 degrees in a world 1.5 times as high stands at atan(1.5 tan 20) = 28.63 degrees, and so looks.
    spec = camera(pitch_deg, roll_deg)
    stretched = dot_pixel(render_crop(panorama_with_dot(5, 20), spec, stretch=1.5))
    higher = dot_pixel(render_crop(panorama_with_dot(5, 28.63), spec))
    assert stretched == pytest.approx(higher, abs=0.4)


def test_stretching_the_world_leaves_the_horizon():
    spec = camera(12, 20)
    plain, stretched = (render_crop(sky_and_ground(), spec, stretch=factor) for factor in (1.0, 1.6))
    assert np.abs(plain.astype(int) - stretched).max() <= 60  # only the blur of the edge differs
    assert np.abs(plain.astype(int) - stretched).mean() < 0.5


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"pitch_deg": (10, -10)}, "pitch_deg", "must be \\[low, high\\]"),
        ({"pitch_deg": (-91, 0)}, "pitch_deg", "between -90 and 90"),
        ({"roll_deg": (0, float("nan"))}, "roll_deg", "must be"),
        ({"focal_px": (0, 10)}, "focal_px", "between 0.001"),
        ({"focal_px": None, "vfov_deg": (20, 180)}, "vfov_deg", "between 0.1 and 174.9"),
        ({"sizes_px": ((4, 100),)}, "sizes_px", "8 to 4096 pixels"),
        ({"sizes_px": ()}, "sizes_px", "at least 1 item"),
        ({"vfov_deg": (20, 30)}, "", "either focal_px or vfov_deg"),
        ({"focal_px": None}, "", "either focal_px or vfov_deg"),
        ({"max_fov_deg": 20, "focal_px": (50, 60)}, "", "max_fov_deg 20 leaves nothing"),
        ({"fokal": 3}, "fokal", "Extra inputs"),
    ],
)
def test_a_wrong_distribution_is_refused_by_its_key(changes, key, words):
    fields = {"sizes_px": ((64, 64),), "focal_px": (50, 100)} | changes
    with pytest.raises(ValidationError, match=words) as caught:
        CropDistribution(**fields)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == key


@pytest.mark.parametrize("supersample", [1, 3])
@pytest.mark.parametrize("spec", [camera(20, -30, 170, 300, 200, 90.0), camera(-90, 10, -175, 64, 400, 300.0)])
def test_rays_are_those_of_rotation_matrices(spec, supersample):
    blocks = list(_directions(spec, supersample, stretch=1.3))
    assert [rows.start for rows, *_ in blocks] == [0, *(rows.stop for rows, *_ in blocks[:-1])]
    assert blocks[-1][0].stop == spec.height_px
    azimuth_hw, below_hw = (np.concatenate([block[part] for block in blocks]).astype(float) for part in (1, 2))
    # In double precision, matrix by matrix.
    x_w = (np.arange(spec.width_px * supersample) + 0.5) / supersample - spec.width_px / 2
    y_h = (np.arange(spec.height_px * supersample) + 0.5) / supersample - spec.height_px / 2
    (cp, sp), (cr, sr), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (spec.pitch_rad, spec.roll_rad, spec.yaw_rad))
    R_33 = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    R_33 = R_33 @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rays_hw3 = np.dstack([*np.meshgrid(x_w / spec.focal_px, y_h / spec.focal_px), np.ones(azimuth_hw.shape)])
    rays_hw3 = rays_hw3 @ R_33.T * [1.3, 1, 1.3]  # in the world before it was stretched
    rays_hw3 /= np.linalg.norm(rays_hw3, axis=2, keepdims=True)
    level_hw = np.cos(below_hw)
    found_hw3 = np.dstack([level_hw * np.sin(azimuth_hw), np.sin(below_hw), level_hw * np.cos(azimuth_hw)])
    assert np.linalg.norm(found_hw3 - rays_hw3, axis=2).max() < 1e-6
    assert azimuth_hw.min() >= -np.pi - 1e-6
    assert azimuth_hw.max() <= np.pi + 1e-6


def test_a_crop_does_not_depend_on_how_many_rows_are_made_at_once(monkeypatch):
    panorama = np.random.default_rng(0).integers(0, 255, (128, 256, 3), np.uint8)
    spec = camera(15, -20, 170, 90, 70, 60.0)
    crops = []
    for samples in (1, 1000, 1 << 30):
        monkeypatch.setattr(crops_module, "_SAMPLES_AT_ONCE", samples)
        crops.append(render_crop(panorama, spec, 3))
    assert np.array_equal(crops[0], crops[1])
    assert np.array_equal(crops[0], crops[2])
