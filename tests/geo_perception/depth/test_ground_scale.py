"""The scale from the floor, on rooms whose every depth is exact."""

import numpy as np
import pytest
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room

from geo_perception.depth.ground_scale import scale_from_ground
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(160, 120, 120.0, 120.0, 79.5, 59.5)
LIGHT = Lighting((), (1.0, 1.0, 1.0), cell_m=1.0, sky_rays=4)  # coarse light is quick
UNIT = 0.37  # metres in one unit of the relative depth; nobody tells


@pytest.fixture(scope="module")
def room():
    return Room.generate(3)


def relative(depth_m, camera=CAMERA):
    depth_hw = np.where(depth_m > 0, depth_m, np.nan) / UNIT
    return RelativeDepth(DepthVerdict.ESTIMATED, camera=camera, depth_hw=depth_hw.astype(np.float32))


def seen(room, T_world_camera):
    """The relative depth of the room from there, and up in the camera's frame."""
    depth_m = render(room, CAMERA, T_world_camera, LIGHT, supersample=1).depth_m
    return relative(depth_m), T_world_camera[2, :3]


def level_view(*planes, pitch_rad=-0.2):
    """Exact depth of horizontal patches (height above the floor, x low, x high, z low, z high), x to the right and z
    ahead of a camera 1.2 m above the floor; up in its frame."""
    T = camera_pose(np.array([0.0, 0.0, 1.2]), np.pi / 2, pitch_rad)
    columns, rows = np.meshgrid(np.arange(160), np.arange(120))
    pixels_n2 = np.stack([columns.ravel(), rows.ravel()], 1)
    rays_n3 = np.column_stack([CAMERA.normalize(pixels_n2), np.ones(len(pixels_n2))]) @ T[:3, :3].T
    best_n = np.full(len(rays_n3), np.inf)
    for height_m, left, right, near, far in planes:
        with np.errstate(divide="ignore", invalid="ignore"):
            z_n = np.where(rays_n3[:, 2] < 0, (height_m - 1.2) / rays_n3[:, 2], np.inf)
            x_n, y_n = z_n * rays_n3[:, 0], z_n * rays_n3[:, 1]
        hit_n = (x_n >= left) & (x_n <= right) & (y_n >= near) & (y_n <= far)
        best_n = np.where(hit_n, np.minimum(best_n, z_n), best_n)
    wall_n = 6.0 / rays_n3[:, 1]
    return relative(np.minimum(best_n, wall_n).reshape(120, 160)), T[2, :3]


@pytest.mark.parametrize("yaw_rad", [0.0, 0.8, 1.5, 3.0])
@pytest.mark.parametrize(("height_m", "pitch_rad", "roll_rad"), [(1.4, -0.35, 0.0), (0.5, 0.0, 0.1), (1.1, -0.5, -0.4)])
def test_camera_height_gives_the_scale_of_a_furnished_room(room, yaw_rad, height_m, pitch_rad, roll_rad):
    depth, up_3 = seen(room, camera_pose(np.array([0.4, -0.9, height_m]), yaw_rad, pitch_rad, roll_rad))
    got = scale_from_ground(depth, up_3, 0.005, height_m, 0.005)
    assert np.exp(got.log_scale) == pytest.approx(UNIT, rel=0.05)
    assert got.source == "ground"
    assert got.support > 0.03 * 160 * 120
    assert 0.01 < got.sigma < 0.12


def test_wall_only_view_gives_nothing(room):
    depth, up_3 = seen(room, camera_pose(np.array([0.4, 0.0, 2.0]), 0.0, 0.0))
    assert scale_from_ground(depth, up_3, 0.005, 2.0, 0.005) is None


def test_ceiling_is_no_floor(room):
    depth, up_3 = seen(room, camera_pose(np.array([0.0, 0.0, 1.0]), 0.3, 1.2))
    assert scale_from_ground(depth, up_3, 0.005, 1.0, 0.005) is None


def test_table_larger_in_the_image_than_the_floor_does_not_win():
    floor, table = (0.0, -9, 9, 0, 9), (0.7, -0.7, 0.7, 0.6, 2.2)
    depth, up_3 = level_view(floor, table)
    height_hw = (1.2 - 0.7) / UNIT
    rays = CAMERA.bearings(np.stack(np.meshgrid(np.arange(160), np.arange(120)), -1).reshape(-1, 2))
    below_n = -(rays / rays[:, 2:] @ up_3) * depth.depth_hw.ravel()
    on_table, on_floor = (np.isclose(below_n, h, rtol=1e-3).sum() for h in (height_hw, 1.2 / UNIT))
    assert on_table > 1.2 * on_floor > 0
    got = scale_from_ground(depth, up_3, 0.005, 1.2, 0.005)
    assert np.exp(got.log_scale) == pytest.approx(UNIT, rel=0.02)


def test_table_above_things_that_lie_deeper_is_not_taken_for_the_floor():
    depth, up_3 = level_view((0.7, -0.5, 0.5, 0.6, 1.5))  # the wall behind it goes on down
    assert scale_from_ground(depth, up_3, 0.005, 1.2, 0.005) is None


def test_uncertain_tilt_and_height_make_the_scale_uncertain():
    depth, up_3 = level_view((0.0, -9, 9, 0, 9))
    sure = scale_from_ground(depth, up_3, 0.0, 1.2, 0.0).sigma
    high = scale_from_ground(depth, up_3, 0.0, 1.2, 0.12).sigma
    assert high == pytest.approx(np.hypot(sure, 0.1))
    tilted = scale_from_ground(depth, up_3, 0.05, 1.2, 0.0).sigma
    # The floor in view is some 2 to 3 heights ahead: an error of 0.05 rad is one of 10 % and more.
    assert 0.08 < tilted < 0.25


def test_stated_uncertainty_covers_a_wrong_tilt():
    depth, up_3 = level_view((0.0, -9, 9, 0, 9))
    for tilt_rad in (-0.05, 0.05):
        c, s = np.cos(tilt_rad), np.sin(tilt_rad)
        wrong_3 = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ up_3
        got = scale_from_ground(depth, wrong_3, 0.05, 1.2, 0.01)
        assert 0.02 < abs(got.log_scale - np.log(UNIT)) < 2 * got.sigma


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -2.0])
def test_map_without_depth_gives_nothing(value):
    depth = RelativeDepth(DepthVerdict.ESTIMATED, camera=CAMERA, depth_hw=np.full((120, 160), value, np.float32))
    assert scale_from_ground(depth, np.array([0.0, -1.0, 0.0]), 0.01, 1.0, 0.01) is None


def test_without_map_or_camera_there_is_nothing():
    up_3 = np.array([0.0, -1.0, 0.0])
    assert scale_from_ground(RelativeDepth(DepthVerdict.NO_STRUCTURE), up_3, 0.01, 1.0, 0.01) is None
    assert scale_from_ground(relative(np.ones((120, 160)), camera=None), up_3, 0.01, 1.0, 0.01) is None
    tiny = RelativeDepth(DepthVerdict.ESTIMATED, camera=CAMERA.resized(2, 2), depth_hw=np.ones((2, 2), np.float32))
    assert scale_from_ground(tiny, up_3, 0.01, 1.0, 0.01) is None


@pytest.mark.parametrize(("up_3", "up_sigma_rad", "height_m", "height_sigma_m", "words"), [
    ([0, 0, 0], 0.1, 1.0, 0.1, "direction"), ([0, np.nan, 0], 0.1, 1.0, 0.1, "direction"),
    ([0, -1], 0.1, 1.0, 0.1, "direction"), ([0, -1, 0], 0.1, 0.0, 0.1, "height"),
    ([0, -1, 0], 0.1, np.nan, 0.1, "height"), ([0, -1, 0], -0.1, 1.0, 0.1, "deviations"),
    ([0, -1, 0], 0.1, 1.0, np.inf, "deviations"),
])  # fmt: skip
def test_what_cannot_be_is_refused(up_3, up_sigma_rad, height_m, height_sigma_m, words):
    with pytest.raises(InputError, match=words):
        scale_from_ground(relative(np.ones((120, 160))), up_3, up_sigma_rad, height_m, height_sigma_m)
