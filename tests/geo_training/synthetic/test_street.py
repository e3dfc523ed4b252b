"""Outdoor scenes: what is upright looks upright, shadows fall away from the sun, skies go round without a seam."""

import numpy as np
import pytest
from geo_training.synthetic.facades import Style, facade, house, tree
from geo_training.synthetic.lighting import AreaLight, Lighting, light_maps
from geo_training.synthetic.panorama import panorama_radiance
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from geo_training.synthetic.sky import Sky
from geo_training.synthetic.street import LAYOUTS, SIZE_M, generate_street, outdoor_lighting
from geo_training.synthetic.surfaces import Place, Surfaces

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(240, 180, 180.0, 180.0, 119.5, 89.5)


def scene(surfaces, size_m=SIZE_M):
    return Room(0, size_m, tuple(surfaces.quads), tuple(surfaces.instances), (), (), (), ())


def paint(value):
    return lambda h, w: np.full((h, w, 3), value, np.uint8)


def test_the_edge_of_a_house_has_one_azimuth_from_top_to_bottom():
    """It is at the azimuth that its corner has on the map, in every row between foot and top."""
    surfaces = Surfaces()
    surfaces.box(Place(6.0, 4.0, 0.0, 0.3), (5.0, 4.0, 9.0), paint(255), surfaces.instance("house"))
    position_3, width = np.array([1.0, -2.0, 1.6]), 1024
    light = panorama_radiance(scene(surfaces), position_3, 0.2, Lighting((), (1.0, 1.0, 1.0), sky_rays=1), width)
    corners_n2 = np.array([q.corners_43[:, :2] for q in surfaces.quads[:4]]).reshape(-1, 2) - position_3[:2]
    azimuth_n = 0.2 - np.arctan2(corners_n2[:, 1], corners_n2[:, 0])  # clockwise from the heading
    solid = light[..., 0] > 0.5 * light[..., 0].max()
    middle = width // 4
    for rows in (slice(middle - 60, middle), slice(middle, middle + 20)):
        first = solid[rows].argmax(axis=1)
        last = width - 1 - solid[rows, ::-1].argmax(axis=1)
        assert np.ptp(first) <= 1
        assert np.ptp(last) <= 1
        # The edge lies between the centres of the last dark and the first bright column.
        assert first.mean() - 0.5 == pytest.approx(width * (azimuth_n.min() / (2 * np.pi) + 0.5) - 0.5, abs=1.0)
        assert last.mean() + 0.5 == pytest.approx(width * (azimuth_n.max() / (2 * np.pi) + 0.5) - 0.5, abs=1.0)


def test_a_triangle_is_the_half_of_its_parallelogram():
    """A right triangle with legs of 2 m at 4 m distance covers half the pixels, on the side of its corner."""
    surfaces = Surfaces()
    surfaces.quad(Place(), (-1, 4, 2.5), (2, 0, 0), (0, 0, -2), paint(255), 1, triangle=True)
    light = Lighting((), (1.0, 1.0, 1.0), sky_rays=1)
    got = render(scene(surfaces), CAMERA, camera_pose(np.array([0, 0, 1.5]), np.pi / 2), light)
    shown = got.depth_m > 0
    assert shown.sum() == pytest.approx(90 * 90 / 2, rel=0.02)  # 2 m at 4 m are 90 pixels
    assert shown[50, 80]
    assert not shown[130, 160]


def test_shadows_of_a_triangle_are_triangles():
    surfaces = Surfaces()
    surfaces.quad(Place(), (-2, 2, 0), (4, 0, 0), (0, -4, 0), paint(255), 1, casts_shadow=False)
    surfaces.quad(Place(), (-2, 2, 1.0), (4, 0, 0), (0, -4, 0), paint(255), 1, triangle=True)
    sun = AreaLight((0.0, 0.0, 300.0), (0.1, 0, 0), (0, 0.1, 0), (90000.0,) * 3, faint=0.0)
    ground = light_maps(scene(surfaces), Lighting((sun,), (0.0, 0.0, 0.0), sky_rays=1))[0]
    assert ground[3, 3].max() < 0.01  # under the corner
    assert ground[-4, -4].min() == pytest.approx(1.0, abs=0.01)
    assert np.mean(ground[..., 0] > 0.5) == pytest.approx(0.5, abs=0.04)


def test_houses_throw_shadows_away_from_the_sun():
    surfaces = Surfaces()
    surfaces.quad(Place(), (-8, 8, 0), (16, 0, 0), (0, -16, 0), paint(255), 1, casts_shadow=False)
    surfaces.box(Place(), (2, 2, 4), paint(200), 1)
    sun_3 = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)  # in the east, 45 degrees high: the shadow is 4 m long
    sun = AreaLight(tuple(300 * sun_3), (0, 1.0, 0), (0, 0, 1.0), (90000.0,) * 3, faint=0.0)
    ground = light_maps(scene(surfaces), Lighting((sun,), (0.0, 0.0, 0.0), sky_rays=1))[0][..., 0]
    rows, columns = ground.shape
    at = lambda x, y: ground[int((8 - y) / 16 * rows), int((x + 8) / 16 * columns)]  # noqa: E731
    assert at(-3, 0) < 0.05
    assert at(3, 0) == pytest.approx(np.sqrt(0.5), rel=0.05)
    assert at(-6, 0) == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_what_no_surface_hides_is_sky_by_its_direction():
    """Each pixel without a surface has the radiance of its own ray."""
    light = Lighting((), (1.0, 1.0, 1.0), sky=lambda direction_n3: direction_n3.astype(np.float32) + 2)
    surfaces = Surfaces()
    surfaces.quad(Place(), (-20, 20, 0), (40, 0, 0), (0, -40, 0), paint(0), 1)
    light_hw3 = panorama_radiance(scene(surfaces), np.array([0, 0, 1.5]), 0.0, light, 128)
    for row, column in ((10, 20), (20, 64), (5, 120)):
        azimuth, elevation = 2 * np.pi * ((column + 0.5) / 128 - 0.5), np.pi * (0.5 - (row + 0.5) / 64)
        flat = np.cos(elevation)
        expected = np.array([flat * np.cos(azimuth), -flat * np.sin(azimuth), np.sin(elevation)]) + 2
        np.testing.assert_allclose(light_hw3[row, column], expected, atol=2e-3)
    assert light_hw3[60].max() < 0.01  # the black ground


@pytest.mark.parametrize("seed", range(4))
def test_skies_are_bright_finite_and_without_a_seam(seed):
    sky = Sky.draw(np.random.default_rng(seed), np.array([0.3, 0.5, 0.6]), np.ones(3), 0.4, 0.2)
    turn = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    for elevation in (-0.1, 0.0, 0.05, 0.4, 1.2):
        ring = np.cos(elevation) * np.cos(turn), np.cos(elevation) * np.sin(turn), np.full(720, np.sin(elevation))
        light = sky(np.stack(ring, axis=1))
        assert np.isfinite(light).all()
        assert light.min() > 0.01
        assert np.abs(light[0] - light[-1]).max() <= np.abs(np.diff(light, axis=0)).max() + 1e-6
    sunny, away = sky(np.array([[0.3, 0.5, 0.6], [-0.3, -0.5, 0.6]]) / np.sqrt(0.7))
    assert sunny.mean() > away.mean()


def test_the_same_seed_gives_the_same_street():
    first, again, other = (generate_street(seed, "scattered", 4) for seed in (4, 4, 5))
    for a, b in zip(first.quads, again.quads, strict=True):
        np.testing.assert_array_equal(a.corners_43, b.corners_43)
        np.testing.assert_array_equal(a.texture.levels[0], b.texture.levels[0])
    assert len(other.quads) != len(again.quads)
    skies = [outdoor_lighting(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    directions = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(skies[0].sky(directions), skies[1].sky(directions))
    assert skies[0].ambient_rgb != skies[2].ambient_rgb


def test_streets_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="street, square, scattered, park"):
        generate_street(0, "canal")
    with pytest.raises(InputError, match="1 to 100"):
        generate_street(0, "park", 0.2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_streets_hold_houses_and_leave_room_for_a_camera(layout):
    street = generate_street(4, layout, 4)
    assert street.instances.count("house") >= 2
    free, origin_2 = street.free_space(0.3, 0.1)
    assert free.mean() > 0.2
    # Nothing stands where the grid says free: every upright side lies on a cell that is taken, or outside.
    for quad in street.quads:
        if (
            street.instances[quad.instance] != "house"
            or abs(quad.normal_3[2]) > 0.1
            or quad.corners_43[2:, 2].min() > 0
        ):
            continue
        middle_2 = quad.corners_43[2:, :2].mean(axis=0)
        column, row = np.rint((middle_2 - origin_2) / 0.1).astype(int)
        if 0 <= row < free.shape[0] and 0 <= column < free.shape[1]:
            assert not free[row, column]


def test_a_house_stands_upright_on_its_ground():
    for seed in range(6):
        surfaces, rng = Surfaces(), np.random.default_rng(seed)
        house(surfaces, Place(3.0, 2.0, 0.0, 0.4), np.array([9.0, 7.0, 8.0]), rng)
        walls = surfaces.quads[:4]
        for wall in walls:
            assert wall.corners_43[:2, 2] == pytest.approx(8.0)
            assert wall.corners_43[2:, 2] == pytest.approx(0.0)
            assert np.dot(wall.normal_3, wall.corners_43.mean(0) - [3.0, 2.0, 4.0]) > 0  # fronts look outwards
        roofs = [quad for quad in surfaces.quads if quad.corners_43[:, 2].max() > 8.5]
        for quad in roofs:
            outwards = np.dot(quad.normal_3, quad.corners_43[[0, 1, 3]].mean(0) - [3.0, 2.0, 5.0])
            assert outwards > 0


def test_facades_differ_and_conifers_face_outwards():
    styles = [Style.draw(np.random.default_rng(seed)) for seed in range(30)]
    assert {style.wall for style in styles} == {"plaster", "brick", "slabs", "glass"}
    pictures = [facade(np.random.default_rng(0), style, 240, 320, 20.0) for style in styles[:6]]
    assert all(picture.shape == (240, 320, 3) and picture.std() > 8 for picture in pictures)
    for seed in range(10):
        surfaces = Surfaces()
        tree(surfaces, Place(1.0, 1.0), 6.0, np.random.default_rng(seed), 40)
        assert min(quad.corners_43[[0, 1, 3], 2].min() for quad in surfaces.quads) > -0.01
        for quad in surfaces.quads:
            if quad.triangle:
                assert np.dot(quad.normal_3[:2], quad.corners_43[[0, 1, 3], :2].mean(0) - 1.0) > 0
