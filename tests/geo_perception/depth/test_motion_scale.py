"""The scale from a known motion, on two exact views of a room."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room

from geo_perception.depth.motion_scale import MotionOptions, MotionScale
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(240, 180, 180.0, 180.0, 119.5, 89.5)
LIGHT = Lighting((), (1.0, 1.0, 1.0), cell_m=1.0, sky_rays=4)  # coarse light is quick
UNIT = 2.9  # metres in one unit of the relative depth; nobody tells
START = camera_pose(np.array([-0.8, -0.4, 1.4]), 0.7, -0.1)


@pytest.fixture(scope="module")
def see():
    room, known = Room.generate(3), {}

    def view(T_world_camera):
        key = T_world_camera.tobytes()
        if key not in known:
            got = render(room, CAMERA, T_world_camera, LIGHT)
            known[key] = RelativeDepth(
                DepthVerdict.ESTIMATED,
                camera=CAMERA,
                depth_hw=np.where(got.depth_m > 0, got.depth_m, np.nan) / np.float32(UNIT),
                view_hw3=got.image_rgb,
            )
        return known[key]

    return view


def moved(right_m=0.0, down_m=0.0, ahead_m=0.0, yaw_rad=0.0):
    """START after a way along its own axes and a turn."""
    T = START.copy()
    T[:3, 3] += START[:3, :3] @ [right_m, down_m, ahead_m]
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    T[:3, :3] = START[:3, :3] @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return T


@pytest.mark.parametrize("motion", [
    {"right_m": 0.25}, {"down_m": -0.2, "right_m": 0.1}, {"right_m": -0.25, "yaw_rad": 0.15}, {"ahead_m": 0.6},
])  # fmt: skip
def test_known_motion_gives_the_scale(see, motion):
    scales = MotionScale()
    assert scales.add(see(START), START, 0.0) is None
    got = scales.add(see(moved(**motion)), moved(**motion), 0.5)
    assert np.exp(got.log_scale) == pytest.approx(UNIT, rel=0.04)
    assert abs(got.log_scale - np.log(UNIT)) < 2 * got.sigma
    assert got.source == "odometry"
    assert got.support >= 15


def test_world_of_the_odometry_does_not_matter(see):
    end = moved(right_m=0.25)
    odom = camera_pose(np.array([30.0, -7.0, 2.0]), 2.0, 0.4, 0.3)
    here, there = MotionScale(), MotionScale()
    for k, T in enumerate((START, end)):
        first, second = here.add(see(T), T, k), there.add(see(T), odom @ T, k)
    assert second.log_scale == pytest.approx(first.log_scale, abs=1e-3)


def test_scale_follows_the_length_that_odometry_tells(see):
    scales, far = MotionScale(), moved(right_m=0.25)
    far[:3, 3] = START[:3, 3] + 2 * (far[:3, 3] - START[:3, 3])
    scales.add(see(START), START, 0.0)
    got = scales.add(see(moved(right_m=0.25)), far, 0.5)
    assert np.exp(got.log_scale) == pytest.approx(2 * UNIT, rel=0.05)


def test_standing_and_turning_on_the_spot_give_nothing(see):
    scales = MotionScale()
    for k in range(3):
        assert scales.add(see(START), START, 0.1 * k) is None
    for k in range(1, 4):
        T = moved(yaw_rad=0.1 * k)
        assert scales.add(see(T), T, 1.0 + 0.1 * k) is None


def test_odometry_that_says_moved_while_the_picture_stands_gives_nothing(see):
    scales, skidding = MotionScale(), moved(right_m=0.3)
    scales.add(see(START), START, 0.0)
    assert scales.add(see(START), skidding, 0.5) is None


@pytest.mark.parametrize("told", [
    {"right_m": 0.25, "ahead_m": 0.3}, {"right_m": 0.2, "down_m": 0.2}, {"ahead_m": 0.3}, {"right_m": -0.25},
])  # fmt: skip
def test_a_motion_that_most_corners_contradict_gives_nothing(see, told):
    """The camera moved 25 cm to the right. Some far corners fit what odometry told, and agree on a wrong scale."""
    scales, end = MotionScale(), moved(right_m=0.25)
    scales.add(see(START), START, 0.0)
    assert scales.add(see(end), moved(**told), 0.5) is None


def test_earlier_view_is_chosen_for_its_parallax(see):
    scales, founds = MotionScale(), []
    for k in range(7):
        T = moved(right_m=0.05 * k)
        founds.append(scales.add(see(T), T, 0.2 * k))
    late = founds[-1]
    assert np.exp(late.log_scale) == pytest.approx(UNIT, rel=0.04)
    # Only the neighbour to compare with, 5 cm away, tells less or nothing.
    near = MotionScale()
    for k in (5, 6):
        T = moved(right_m=0.05 * k)
        alone = near.add(see(T), T, 0.2 * k)
    assert alone is None or alone.sigma > late.sigma


def test_things_that_move_by_themselves_are_left_out(see):
    end = moved(right_m=0.25)
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 255, (12, 14, 3), np.uint8), (70, 60), interpolation=cv2.INTER_NEAREST)
    views = []
    for depth, row in ((see(START), 70), (see(end), 76)):
        view = depth.view_hw3.copy()
        view[row : row + 60, 90:160] = texture
        views.append(replace(depth, view_hw3=view))
    scales = MotionScale()
    scales.add(views[0], START, 0.0)
    got = scales.add(views[1], end, 0.5)
    assert np.exp(got.log_scale) == pytest.approx(UNIT, rel=0.06)


def test_zoom_size_change_and_clock_jump_forget_the_earlier_views(see):
    end = moved(right_m=0.25)
    zoomed = replace(see(end), camera=replace(CAMERA, fx_px=200.0, fy_px=200.0))
    small = CAMERA.resized(120, 90)
    shrunk = replace(see(end), camera=small, depth_hw=see(end).depth_hw[::2, ::2], view_hw3=see(end).view_hw3[::2, ::2])
    for depth, stamp_s in ((zoomed, 10.5), (shrunk, 10.5), (see(end), 3.0), (see(end), 99.0)):
        scales = MotionScale()
        scales.add(see(START), START, 10.0)
        assert scales.add(depth, end, stamp_s) is None


def test_reset_forgets_the_earlier_views(see):
    scales, end = MotionScale(), moved(right_m=0.25)
    scales.add(see(START), START, 0.0)
    scales.reset()
    assert scales.add(see(end), end, 0.5) is None


def test_useless_maps_views_and_poses_give_nothing_and_do_no_harm(see):
    scales, end = MotionScale(), moved(right_m=0.25)
    good = see(end)
    scales.add(see(START), START, 0.0)
    for value in (np.nan, np.inf, 0.0, -1.0):
        assert scales.add(replace(good, depth_hw=np.full_like(good.depth_hw, value)), end, 0.1) is None
    assert scales.add(replace(good, view_hw3=np.zeros_like(good.view_hw3)), end, 0.1) is None
    assert scales.add(replace(good, view_hw3=None), end, 0.1) is None
    assert scales.add(replace(good, camera=None), end, 0.1) is None
    assert scales.add(RelativeDepth(DepthVerdict.BAD_IMAGE), end, 0.1) is None
    assert scales.add(good, np.full((4, 4), np.nan), 0.1) is None
    assert scales.add(good, end, np.nan) is None
    got = scales.add(good, end, 0.5)
    assert np.exp(got.log_scale) == pytest.approx(UNIT, rel=0.04)


def test_wrong_shapes_and_options_are_refused(see):
    with pytest.raises(InputError, match="4 x 4"):
        MotionScale().add(see(START), np.eye(3), 0.0)
    with pytest.raises(InputError, match="view"):
        MotionScale().add(replace(see(START), view_hw3=np.zeros((9, 9, 3), np.uint8)), START, 0.0)
    with pytest.raises(InputError, match="give"):
        MotionOptions(views=0)
    with pytest.raises(InputError, match="give"):
        MotionOptions(min_baseline_m=-1.0)
