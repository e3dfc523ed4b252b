"""The rendered room is exact: its pixels, depths and objects are where geometry says."""

import cv2
import numpy as np
import pytest
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose, walk
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from geo_training.synthetic.sensor import Sensor, turn_rates
from geo_training.synthetic.surfaces import Place, Surfaces, Texture

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose

CAMERA = Camera(240, 180, 180.0, 180.0, 119.5, 89.5)
LENS = Camera(240, 180, 180.0, 180.0, 118.0, 91.0, "plumb_bob", (-0.2, 0.05, 0.001, -0.0008, 0.0))


@pytest.fixture(scope="module")
def room():
    return Room.generate(3)


@pytest.fixture(scope="module")
def day(room):
    return Lighting.daylight(room)


def bare_room(quads, size_m=(6.0, 4.5, 2.7)):
    return Room(0, size_m, tuple(quads), ("nothing", "card"), (), (), (), ())


def card(corner_3, right_3, down_3, image):
    surfaces = Surfaces()
    surfaces.quad(Place(), corner_3, right_3, down_3, lambda h, w: cv2.resize(image, (w, h)), 1)
    return surfaces.quads[0]


def test_depth_of_a_wall_is_the_analytic_one():
    wall = card((-50, 2.0, 50), (100, 0, 0), (0, 0, -100), np.full((8, 8, 3), 128, np.uint8))
    T_world_camera = camera_pose(np.array([0.3, -0.5, 1.4]), np.pi / 2 + 0.3, 0.1, 0.05)
    light = Lighting((), (1.0, 1.0, 1.0))
    for camera in (CAMERA, LENS):
        got = render(bare_room([wall]), camera, T_world_camera, light)
        pixels_n2 = np.stack(np.meshgrid(np.arange(240), np.arange(180)), -1).reshape(-1, 2)
        rays_n3 = np.concatenate([camera.normalize(pixels_n2), np.ones((len(pixels_n2), 1))], 1)
        # The wall is y = 2: z (R ray)_y + t_y = 2.
        expected = (2.0 + 0.5) / (rays_n3 @ T_world_camera[1, :3])
        np.testing.assert_allclose(got.depth_m.ravel(), expected, rtol=1e-6)
        assert (got.instance_hw == 1).all()


@pytest.mark.parametrize("camera", [CAMERA, LENS])
def test_a_known_corner_shows_where_it_projects(camera):
    """The edge of a black card before a white wall crosses half grey on its projection, to a hundredth of a pixel."""
    white = card((-50, 2.0, 50), (100, 0, 0), (0, 0, -100), np.full((8, 8, 3), 255, np.uint8))
    black = card((-0.4, 1.9, 1.8), (0.9, 0, 0), (0, 0, -0.7), np.zeros((8, 8, 3), np.uint8))
    T_world_camera = camera_pose(np.array([0.2, -0.3, 1.45]), np.pi / 2)
    got = render(bare_room([white, black]), camera, T_world_camera, Lighting((), (1.0, 1.0, 1.0)), supersample=8)
    brightness = got.radiance_hw3[..., 0] / got.radiance_hw3[..., 0].max()
    T_camera_world = invert_pose(T_world_camera)
    for corner_3 in ((-0.4, 1.9, 1.4), (0.5, 1.9, 1.4)):
        pixel_2 = camera.project((T_camera_world[:3, :3] @ corner_3 + T_camera_world[:3, 3])[None])[0]
        row = round(pixel_2[1])
        dark = (
            int((brightness[row] < 0.01).argmax())
            if corner_3[0] < 0
            else int(240 - (brightness[row, ::-1] < 0.01).argmax())
        )
        cut = slice(dark - 4, dark + 4)
        white_share = brightness[row, cut].sum()
        edge = dark - 4 - 0.5 + white_share if corner_3[0] < 0 else dark + 4 - 0.5 - white_share
        slope = 0.0 if camera is CAMERA else 0.03  # the lens bends the edge a little within the row
        assert edge == pytest.approx(pixel_2[0], abs=0.07 + slope)


def test_textures_are_sampled_with_perspective():
    """The middle of a receding card's texture shows where that middle projects, not in the middle of its outline."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[112:144, 112:144] = 255
    floor = card((-1, 4.0, 0), (2, 0, 0), (0, -3.0, 0), image)
    T_world_camera = camera_pose(np.array([0, -0.2, 1.5]), np.pi / 2, -0.5)
    got = render(bare_room([floor]), CAMERA, T_world_camera, Lighting((), (1.0, 1.0, 1.0)), supersample=4)
    weight = got.radiance_hw3[..., 0]
    y, x = np.mgrid[0:180, 0:240]
    centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    T = invert_pose(T_world_camera)
    corners = [(sx * 0.125, 2.5 + sy * 0.1875, 0) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    outline = CAMERA.project(np.array(corners) @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    moments = cv2.moments(outline)
    expected = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    np.testing.assert_allclose(centroid, expected, atol=0.25)


def test_two_views_agree_through_depth(room, day):
    """A pixel lifted by its depth and seen from elsewhere has the depth that is rendered there, but for occlusion."""
    T_a, T_b = camera_pose(np.array([-0.5, 0, 1.4]), 0.4), camera_pose(np.array([-0.1, 0.25, 1.5]), 0.25, -0.05)
    a, b = (render(room, CAMERA, T, day) for T in (T_a, T_b))
    pixels_n2 = np.stack(np.meshgrid(np.arange(240), np.arange(180)), -1).reshape(-1, 2)
    rays_n3 = np.concatenate([CAMERA.normalize(pixels_n2), np.ones((len(pixels_n2), 1))], 1)
    world_n3 = (rays_n3 * a.depth_m.reshape(-1, 1)) @ T_a[:3, :3].T + T_a[:3, 3]
    T = invert_pose(T_b)
    camera_n3 = world_n3 @ T[:3, :3].T + T[:3, 3]
    seen_n2 = CAMERA.project(camera_n3)
    inside = CAMERA.contains(seen_n2, 2) & (a.depth_m.ravel() > 0)
    # Render b's rays exactly at those places would be needed for equality; on one plane 1/z is linear between pixels.
    inverse_b = np.where(b.depth_m > 0, 1 / np.maximum(b.depth_m, 1e-6), 0).astype(np.float32)
    sampled = cv2.remap(
        inverse_b, *(seen_n2[inside][None, :, i].astype(np.float32) for i in range(2)), cv2.INTER_LINEAR
    )[0]
    corner = np.floor(seen_n2[inside]).astype(int)
    ids = [b.instance_hw[corner[:, 1] + dy, corner[:, 0] + dx] for dy in (0, 1) for dx in (0, 1)]
    wall = [i for i, name in enumerate(room.instances) if name in ("wall", "floor", "ceiling")]
    here = a.instance_hw.ravel()[inside]
    same = np.isin(here, wall) & np.all([i == here for i in ids], axis=0)
    depth_error_m = np.abs(1 / sampled[same] - camera_n3[inside][same, 2])
    assert same.sum() > 3000
    assert np.mean(depth_error_m < 1e-3) > 0.99


def test_nearer_things_hide_farther_ones(room, day):
    """Nothing that is rendered lies behind a wall, and every pixel of a closed room shows something."""
    for yaw in np.arange(6):
        got = render(room, CAMERA, camera_pose(np.array([0, 0, 1.4]), yaw), day)
        assert (got.instance_hw > 0).all()
        assert (got.depth_m > 0.2).all()
        assert got.depth_m.max() < np.linalg.norm(room.size_m)


def test_other_light_changes_pixels_and_nothing_else(room, day):
    T_world_camera = camera_pose(np.array([-0.4, 0, 1.4]), 0.3)
    a = render(room, CAMERA, T_world_camera, day)
    b = render(room, CAMERA, T_world_camera, Lighting.evening(room))
    assert np.abs(a.image_rgb.astype(int) - b.image_rgb).mean() > 8
    np.testing.assert_array_equal(a.depth_m, b.depth_m)
    np.testing.assert_array_equal(a.instance_hw, b.instance_hw)


def test_the_same_seed_gives_the_same_room_and_another_another(room, day):
    again, other = Room.generate(3), Room.generate(4)
    assert [q.instance for q in again.quads] == [q.instance for q in room.quads]
    for a, b in zip(room.quads, again.quads, strict=True):
        np.testing.assert_array_equal(a.corners_43, b.corners_43)
        np.testing.assert_array_equal(a.texture.levels[0], b.texture.levels[0])
    pictures = [render(r, CAMERA, camera_pose(np.array([0, 0, 1.4]), 1.0), day).depth_m for r in (again, other)]
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.05


def test_a_textured_room_gives_features_all_round(room, day):
    """Every direction has corners to hold on to."""
    for yaw in np.arange(8) * np.pi / 4:
        picture = render(room, CAMERA, camera_pose(np.array([0, 0, 1.4]), yaw), day, with_depth=False).image_rgb
        corners = cv2.goodFeaturesToTrack(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 200, 0.02, 5)
        assert len(corners) > 40


def test_texture_levels_halve_and_keep_their_mean():
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    levels = Texture.of(image).levels
    assert [level.shape[:2] for level in levels[:3]] == [(64, 96), (32, 48), (16, 24)]
    assert abs(float(levels[3].mean()) - float(image.mean())) < 1.5


def test_rooms_too_small_to_walk_in_are_refused():
    with pytest.raises(InputError, match=r"3.5 to 30 m"):
        Room.generate(0, (2.0, 2.0, 2.5))


@pytest.mark.parametrize("seed", range(3))
def test_walks_keep_off_what_stands_in_the_room(seed):
    room = Room.generate(seed)
    way = walk(room, seed, 30.0, 4.0)
    free, origin_2 = room.free_space(0.2)
    xy_n2 = way.T_world_camera[:, :2, 3]
    cells = np.rint((xy_n2 - origin_2) / 0.05).astype(int)
    assert free[cells[:, 1], cells[:, 0]].all()
    assert way.T_world_camera[:, 2, 3].min() > 1.2
    assert way.T_world_camera[:, 2, 3].max() < 1.6
    steps_m = np.linalg.norm(np.diff(way.T_world_camera[:, :3, 3], axis=0), axis=1)
    assert steps_m.max() < 0.25
    length_m = steps_m.sum()
    assert 9 < length_m < 16
    assert np.rad2deg(np.linalg.norm(turn_rates(way.stamps_s, way.T_world_camera), axis=1)).max() < 150


def test_walks_are_seeded_and_rigid(room):
    a, b, c = (walk(room, seed, 8.0, 5.0).T_world_camera for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.5
    R = a[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1.0)
    with pytest.raises(InputError, match="positive"):
        walk(room, 0, -1.0, 5.0)


def test_look_follows_the_conventions():
    """Heading 0 looks along +x; a positive pitch looks up; a positive roll lowers the left end of the horizon."""
    T = camera_pose(np.zeros(3), 0.0, 0.2)
    np.testing.assert_allclose(T[:3, 2], [np.cos(0.2), 0, np.sin(0.2)], atol=1e-12)
    rolled = invert_pose(camera_pose(np.zeros(3), 0.0, 0.0, 0.1))
    left, right = CAMERA.project(np.array([[5.0, 1, 0], [5.0, -1, 0]]) @ rolled[:3, :3].T)
    assert left[0] < right[0]
    assert left[1] > right[1]


def test_the_sensor_meters_blurs_and_is_seeded(room, day):
    picture = render(room, CAMERA, camera_pose(np.array([0, 0, 1.4]), 0.5), day, with_depth=False)
    calm = Sensor(noise=0.0).expose(picture.radiance_hw3, CAMERA, np.random.default_rng(0))
    dim = Sensor(noise=0.0).expose(0.2 * picture.radiance_hw3, CAMERA, np.random.default_rng(0))
    assert abs(float(calm.mean()) - float(dim.mean())) < 3
    turning = Sensor(noise=0.0).expose(picture.radiance_hw3, CAMERA, np.random.default_rng(0), np.array([0, 3.0, 0]))
    sharpness = [cv2.Laplacian(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for i in (calm, turning)]
    assert sharpness[1] < 0.5 * sharpness[0]
    noisy = [Sensor().expose(picture.radiance_hw3, CAMERA, np.random.default_rng(s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert (noisy[0] != noisy[2]).mean() > 0.3
