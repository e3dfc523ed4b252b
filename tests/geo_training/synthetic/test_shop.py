"""A shop of repeated racks: alike to the pixel where a kind is repeated, in another order, and free to walk in."""

import numpy as np
import pytest
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.shop import AISLE_M, RACK_M, Shop

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(160, 120, 115.0, 115.0, 79.5, 59.5)
# The same light everywhere: no lamp, and nothing near enough to shut a point in.
EVEN = Lighting((), (1.0, 1.0, 1.0), sky_rays=1, sky_reach_m=0.001)


@pytest.fixture(scope="module")
def shop():
    return Shop.generate(0)


def before(shop, row, unit):
    """The pose of a camera 1.1 m before the middle of a unit, and the object that the unit is."""
    aisle, side = divmod(row, 2)
    away = 1 if side == 0 else -1
    x = (unit - (shop.kind_ru.shape[1] - 1) / 2) * RACK_M[0]
    y = shop.middle_y_m(aisle) + away * (AISLE_M / 2 - 1.1)
    racks = [
        number for number, name in enumerate(shop.room.instances) if name.startswith("rack ") and "end" not in name
    ]
    # Units are built from left to right as one faces them, those of the other side along the aisle, too.
    return camera_pose(np.array([x, y, 1.1]), away * np.pi / 2), racks[row * shop.kind_ru.shape[1] + unit]


def test_a_kind_is_the_same_to_the_pixel_wherever_it_stands(shop):
    kind = shop.kind_ru[0, 2]
    places = [tuple(place) for place in np.argwhere(shop.kind_ru == kind)]
    assert len({row for row, _ in places}) >= 3
    seen = []
    for row, unit in (places[0], places[1], places[-1]):
        T_world_camera, thing = before(shop, row, unit)
        got = render(shop.room, CAMERA, T_world_camera, EVEN)
        own = got.instance_hw == thing
        assert own[:, 30:130].mean() > 0.9
        seen.append((own, got.image_rgb.astype(int), got.depth_m))
    for own, image, depth_m in seen[1:]:
        both = own & seen[0][0]
        both[:, [0, -1]] = False
        assert np.abs(image - seen[0][1])[both].max() <= 1
        np.testing.assert_allclose(depth_m[both], seen[0][2][both], rtol=1e-4)
    row, unit = np.argwhere(shop.kind_ru != kind)[0]
    other = render(shop.room, CAMERA, before(shop, row, unit)[0], EVEN).image_rgb
    assert np.abs(other - seen[0][1]).mean() > 20


def test_every_aisle_has_every_kind_once_in_an_order_of_its_own(shop):
    assert shop.kind_ru.shape == (10, 6)
    orders = shop.kind_ru.reshape(5, 12)
    assert (np.sort(orders, axis=1) == np.arange(12)).all()
    assert len({tuple(order) for order in orders}) == 5


def test_the_same_seed_gives_the_same_shop_and_another_another(shop):
    T_world_camera = camera_pose(np.array([-2.0, shop.middle_y_m(1), 1.4]), 0.5)
    own = render(shop.room, CAMERA, T_world_camera, EVEN).image_rgb
    again, other = (render(Shop.generate(seed).room, CAMERA, T_world_camera, EVEN).image_rgb for seed in (0, 1))
    assert (own == again).all()
    assert np.abs(own.astype(int) - other).mean() > 10


def test_walks_keep_to_their_aisles_and_off_the_racks(shop):
    free, origin_2 = shop.room.free_space(0.3)
    for seed in range(3):
        way = shop.walk((3, 1), seed, 40)
        columns, rows = np.rint((way.T_world_camera[:, :2, 3] - origin_2) / 0.05).astype(int).T
        assert free[rows, columns].all()
        middles = np.repeat([shop.middle_y_m(3), shop.middle_y_m(1)], 20)
        assert np.abs(way.T_world_camera[:, 1, 3] - middles).max() < 0.4
        assert (np.diff(way.stamps_s) > 0).all()
        R_n33 = way.T_world_camera[:, :3, :3]
        np.testing.assert_allclose(R_n33.transpose(0, 2, 1) @ R_n33, np.tile(np.eye(3), (40, 1, 1)), atol=1e-9)
    assert not np.allclose(shop.walk((3, 1), 0, 40).T_world_camera, shop.walk((3, 1), 1, 40).T_world_camera)


def test_from_two_aisles_no_rack_of_two_others_is_seen(shop):
    """Rows 2a and 2a + 1 are those of aisle a: whoever maps aisles 0 and 1 never sees what stands at 3 and 4."""
    racks = [
        number for number, name in enumerate(shop.room.instances) if name.startswith("rack ") and "end" not in name
    ]
    row_of = {number: index // shop.kind_ru.shape[1] for index, number in enumerate(racks)}
    seen = {}
    for aisles in ((0, 1), (3, 4)):
        way = shop.walk(aisles, 1, 16)
        numbers = [np.unique(render(shop.room, CAMERA, T, EVEN, 1).instance_hw) for T in way.T_world_camera]
        seen[aisles] = {row_of[number] for number in np.concatenate(numbers) if number in row_of}
    assert seen[0, 1] == {0, 1, 2, 3}
    assert seen[3, 4] == {6, 7, 8, 9}


def test_what_is_no_shop_or_no_walk_is_refused(shop):
    with pytest.raises(InputError, match="0 aisles"):
        Shop.generate(0, aisles=0)
    with pytest.raises(InputError, match="aisles 0 to 4, not 5"):
        shop.walk((5,), 0, 40)
    with pytest.raises(InputError, match="3 frames are too few"):
        shop.walk((0,), 0, 3)
