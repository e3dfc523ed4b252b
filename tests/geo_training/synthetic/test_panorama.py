"""Rendered panoramas show every direction at its column and row, and the folder of a seed is always the same."""

import csv

import cv2
import numpy as np
import pytest
from geo_training.synthetic import panorama_set
from geo_training.synthetic.finishes import random_colour, stripes, tiles, varied
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.panorama import panorama_radiance, render_panorama
from geo_training.synthetic.panorama_set import graded, planned_views, training_panoramas
from geo_training.synthetic.render import _sample_levels
from geo_training.synthetic.room import Room
from geo_training.synthetic.surfaces import Place, Surfaces

from geo_perception.errors import InputError

WIDTH_PX = 512
EVEN_LIGHT = Lighting((), (1.0, 1.0, 1.0), sky_rays=1)


def square_facing(position_3, target_3, side_m):
    """A white square, turned a little, with its middle at `target_3` whose front looks at `position_3`."""
    towards = np.asarray(position_3, float) - target_3
    towards /= np.linalg.norm(towards)
    # Askew, so that its edges cross the grid of samples everywhere.
    aside = [1.0, 0.3, 0] if abs(towards[2]) > 0.9 else [0.3, 0.2, 1.0]
    right = np.cross(aside, towards)
    right *= side_m / np.linalg.norm(right)
    down = np.cross(right, towards)  # right x down points away from who sees the front
    surfaces = Surfaces()
    white = lambda h, w: np.full((h, w, 3), 255, np.uint8)  # noqa: E731
    surfaces.quad(Place(), np.asarray(target_3) - (right + down) / 2, right, down, white, 1)
    return surfaces.quads[0]


def scene(*quads):
    return Room(0, (20.0, 20.0, 10.0), tuple(quads), ("nothing", "square"), (), (), (), ())


def middle_direction(light_hw3):
    """The mean direction (azimuth, elevation) of the light, weighted by solid angle."""
    height, width = light_hw3.shape[:2]
    azimuth = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    elevation = np.pi * (0.5 - (np.arange(height) + 0.5) / height)
    weight = light_hw3[..., 0] * np.cos(elevation)[:, None]
    x = (weight * np.cos(elevation)[:, None] * np.cos(azimuth)).sum()
    y = (weight * np.cos(elevation)[:, None] * np.sin(azimuth)).sum()
    z = (weight * np.sin(elevation)[:, None]).sum()
    return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))


def errors_px(azimuth, elevation):
    """How far right and up of its place the middle of a square shows that lies in a direction, and its solid angle."""
    position_3, yaw = np.array([0.5, -1.0, 4.0]), 0.7
    heading = yaw - azimuth  # azimuth grows clockwise, headings counter-clockwise
    away = np.array([np.cos(elevation) * np.cos(heading), np.cos(elevation) * np.sin(heading), np.sin(elevation)])
    light = panorama_radiance(
        scene(square_facing(position_3, position_3 + 3 * away, 0.3)), position_3, yaw, EVEN_LIGHT, WIDTH_PX
    )
    got_azimuth, got_elevation = middle_direction(light)
    pixel_rad = 2 * np.pi / WIDTH_PX
    turn = np.angle(np.exp(1j * (got_azimuth - azimuth))) * np.cos(elevation)
    rows = np.cos(np.pi * (0.5 - (np.arange(WIDTH_PX // 2) + 0.5) / (WIDTH_PX // 2)))
    covered_sr = (light[..., 0] * rows[:, None]).sum() / light.max() * pixel_rad**2
    return turn / pixel_rad, (got_elevation - elevation) / pixel_rad, covered_sr


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg"),
    [(0, 0), (30, 20), (90, -35), (-90, 10), (44.9, 0), (135, 40), (179.9, 5), (-120, -70), (20, 86), (-60, -87)],
)
def test_a_known_direction_shows_at_its_pixel(azimuth_deg, elevation_deg):
    """Forward, to the sides, on the edges of cube faces, on the seam and near the poles. The edges of the square are
    sampled twice a pixel, so each is true to a quarter of a pixel, and the middle to 0.15."""
    right_px, up_px, covered_sr = errors_px(*np.deg2rad([azimuth_deg, elevation_deg]))
    assert abs(right_px) < 0.15
    assert abs(up_px) < 0.15
    assert covered_sr == pytest.approx(0.01, rel=0.06)  # 0.3 m square at 3 m


def test_directions_have_no_systematic_error():
    rng = np.random.default_rng(0)
    drawn = [errors_px(rng.uniform(-np.pi, np.pi), np.arcsin(rng.uniform(-0.95, 0.95))) for _ in range(24)]
    right_px, up_px, covered_sr = np.mean(drawn, axis=0)
    assert abs(right_px) < 0.03
    assert abs(up_px) < 0.03
    assert covered_sr == pytest.approx(0.01, rel=0.015)


def test_the_layout_is_the_documented_one():
    """A square to the right of the heading lies in the right half, one above in the upper half."""
    position_3 = np.array([0.0, 0.0, 4.0])
    right_above = square_facing(position_3, [2.0, -2.0, 5.0], 0.4)  # heading 0 is +x, so -y is to the right
    light = panorama_radiance(scene(right_above), position_3, 0.0, EVEN_LIGHT, 256)[..., 0]
    rows, columns = np.nonzero(light > 0.5 * light.max())
    assert columns.mean() == pytest.approx(128 + 32 - 0.5, abs=0.5)  # 45 degrees are an eighth of 256
    expected_row = 64 - 128 * np.arctan2(1.0, np.hypot(2.0, 2.0)) / np.pi - 0.5
    assert rows.mean() == pytest.approx(expected_row, abs=0.5)


@pytest.fixture(scope="module")
def room():
    return Room.generate(2, (4.0, 3.8, 2.5))


def test_nothing_is_seen_of_the_seam_and_of_the_cube(room):
    """Columns on both sides of the seam differ no more than others do, and turning by whole columns only shifts."""
    light = Lighting.daylight(room)
    position_3, width = np.array([0.2, 0.3, 1.3]), 256
    picture = panorama_radiance(room, position_3, 0.4, light, width)
    steps = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2))
    assert np.abs(picture[:, 0] - picture[:, -1]).mean() < 1.5 * np.quantile(steps, 0.9)
    turned = panorama_radiance(room, position_3, 0.4 - 2 * np.pi * 37 / width, light, width)
    difference = np.abs(np.roll(turned, 37, axis=1) - picture)
    # Edges are sampled elsewhere within the pixel; everything else is the same.
    assert np.median(difference) < 0.004
    assert difference.mean() < 0.015
    assert np.abs(turned - picture).mean() > 0.1


def test_exposure_is_automatic_and_shifted(room):
    position_3 = np.array([0.2, 0.3, 1.3])
    bright, dim = (
        render_panorama(room, position_3, 0.0, Lighting.daylight(room, brightness), 64) for brightness in (1.0, 0.3)
    )
    assert bright.shape == (32, 64, 3)
    assert bright.dtype == np.uint8
    assert abs(float(bright.mean()) - float(dim.mean())) < 4
    darker = render_panorama(room, position_3, 0.0, Lighting.daylight(room), 64, exposure_ev=-1.0)
    assert darker.mean() < 0.85 * bright.mean()


@pytest.mark.parametrize("width_px", [255, 8, 20000])
def test_widths_that_cannot_be_are_refused(room, width_px):
    with pytest.raises(InputError, match="even width"):
        render_panorama(room, np.array([0.0, 0.0, 1.0]), 0.0, EVEN_LIGHT, width_px)


@pytest.mark.parametrize("position", [(2.1, 0, 1), (0, -1.95, 1), (0, 0, 2.6), (0, 0, -0.1), (np.nan, 0, 1), (0, 0)])
def test_places_outside_the_room_are_refused(room, position):
    with pytest.raises(InputError, match="outside the room"):
        render_panorama(room, np.array(position), 0.0, EVEN_LIGHT, 64)


def test_a_plan_keeps_the_share_of_each_domain_and_grows_at_its_end():
    views = planned_views(160, 3, 0.45)
    assert len(views) == len({view.file_name for view in views}) == 160
    for stretch in (views, views[:60]):
        assert np.mean([view.domain == "outdoor" for view in stretch]) == pytest.approx(0.45, abs=0.04)
    assert planned_views(50, 3, 0.45) == views[:50]
    assert {view.domain for view in planned_views(20, 3, 0.0)} == {"indoor"}
    assert {view.domain for view in planned_views(20, 3, 1.0)} == {"outdoor"}


@pytest.fixture
def rendered(monkeypatch, room):
    """The views that were rendered; one small room stands for all scenes, to be quick."""
    made, draw = [], panorama_set._view_picture
    monkeypatch.setattr(panorama_set, "_scene", lambda seed, domain, scene: (room, (EVEN_LIGHT,)))
    monkeypatch.setattr(panorama_set, "_view_picture", lambda view, width: made.append(view) or draw(view, width))
    return made


def test_a_set_is_listed_resumed_and_the_same_for_a_seed(tmp_path, rendered):
    first = training_panoramas(tmp_path / "a", 2, seed=5, outdoor_share=0.0, width_px=64)
    assert [cv2.imread(str(path)).shape for path in first] == [(32, 64, 3)] * 2
    with (tmp_path / "a" / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"file": path.name, "domain": "indoor"} for path in first]
    kept = first[0].read_bytes()
    first[1].unlink()
    first[0].write_bytes(kept + b"kept")  # a file that is there is not made again
    again = training_panoramas(tmp_path / "a", 3, seed=5, outdoor_share=0.0, width_px=64)
    assert [view.view for view in rendered] == [0, 1, 1, 2]
    assert first[0].read_bytes() == kept + b"kept"
    assert len(list(tmp_path.glob("a/*.jpg"))) == 3
    assert not list(tmp_path.glob("a/.*"))
    assert (tmp_path / "a" / "index.csv").read_text().count("indoor_5_0000") == 3
    wider = training_panoramas(tmp_path / "a", 1, seed=5, outdoor_share=0.0, width_px=128)  # another width is made
    assert cv2.imread(str(wider[0])).shape == (64, 128, 3)
    other = training_panoramas(tmp_path / "b", 2, seed=5, outdoor_share=0.0, width_px=64)
    assert other[0].read_bytes() == kept
    assert other[1].read_bytes() == again[1].read_bytes()


def test_finishes_are_seeded_and_leave_the_shell_where_it_is(room):
    first, again, other = (varied(room, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(first.quads) == len(again.quads)
    for a, b in zip(first.quads, again.quads, strict=True):
        np.testing.assert_array_equal(a.texture.levels[0], b.texture.levels[0])
    for made in (first, other):
        shell = [
            [quad.corners_43 for quad in r.quads if r.instances[quad.instance] in ("wall", "floor", "ceiling")]
            for r in (room, made)
        ]
        np.testing.assert_array_equal(*shell)
    floors = [next(q for q in r.quads if r.instances[q.instance] == "floor") for r in (room, first, other)]
    means = [quad.texture.levels[-1].mean(axis=(0, 1)) for quad in floors]
    assert min(np.abs(means[0] - means[1]).max(), np.abs(means[1] - means[2]).max()) > 3


def test_tiles_have_joints_where_their_size_says():
    image = tiles(np.random.default_rng(0), 100, 100, 50.0, (0.5, 0.4), ((200, 200, 200),) * 2, (0, 0, 0))
    dark = image[..., 0] < 60
    assert dark[:, [0, 25, 50, 75]].all()  # 0.5 m at 50 pixels a metre
    assert dark[[0, 20, 40, 60, 80]].all()
    assert not dark[2:19, 3:24].any()


def test_checks_alternate_and_a_stagger_shifts_every_other_row():
    rng, black = np.random.default_rng(0), (0, 0, 0)
    checked = tiles(rng, 80, 100, 50.0, (0.5, 0.4), ((240, 240, 240), (90, 90, 90)), black, checks=True)[..., 0]
    light = checked[10::20, 12::25] > 165
    np.testing.assert_array_equal(light, np.add.outer(range(4), range(4)) % 2 == 0)
    bricks = tiles(rng, 40, 100, 50.0, (0.5, 0.4), ((200, 200, 200),) * 2, black, stagger=0.5)[..., 0]
    assert (bricks[10, [0, 25, 50]] < 60).all()
    assert (bricks[30, [13, 38, 63]] < 60).all()  # half a brick further: 12.5 pixels
    assert (bricks[30, [5, 30, 55]] > 60).all()


def test_stripes_stand_upright_and_repeat_at_their_step():
    image = stripes(np.random.default_rng(0), 60, 100, 50.0, ((240, 240, 240), (60, 60, 60)), 0.4)
    dark_w = (image[..., 0] < 150).mean(axis=0)
    assert set(dark_w) == {0.0, 1.0}
    np.testing.assert_array_equal(dark_w[:80], dark_w[20:])  # 0.4 m at 50 pixels a metre
    assert 0.2 <= dark_w.mean() <= 0.7


def test_paint_is_within_what_a_camera_can_show():
    rng = np.random.default_rng(0)
    colours = np.array([random_colour(rng) for _ in range(500)])
    assert (colours.min(), colours.max()) == (12, 250)
    assert np.median(np.ptp(colours, axis=1)) < 80  # mostly not very saturated


@pytest.mark.parametrize(("count", "share"), [(0, 0.5), (3, 1.5), (3, -0.1), (3, float("nan"))])
def test_sets_that_cannot_be_are_refused(tmp_path, count, share):
    with pytest.raises(InputError, match="share of 0 to 1"):
        training_panoramas(tmp_path, count, outdoor_share=share)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        training_panoramas(tmp_path / "file" / "folder", 1)


def test_grading_keeps_greys_nearly_grey_and_turns_colours():
    rng = np.random.default_rng(0)
    ramp = np.repeat(np.arange(0, 256, 15, dtype=np.uint8)[:, None, None], 3, axis=2)
    for _ in range(20):
        grey = graded(ramp, rng)
        assert (np.diff(grey.astype(int), axis=0) >= 0).all()
        assert np.ptp(grey.astype(int), axis=2).max() < 110
    red = np.full((1, 1, 3), (200, 40, 40), np.uint8)
    drawn = np.array([graded(red, rng)[0, 0] for _ in range(30)], int)
    assert drawn.std(axis=0).min() > 5


def test_a_texture_may_be_seen_from_near_and_far_and_nowhere_between():
    """Samples at the first and the third level, none at the second: each gets the colour of its own level."""
    levels = tuple(np.full((size, size, 3), value, np.uint8) for size, value in ((16, 10), (8, 20), (4, 30), (2, 40)))
    half = np.full(2, 0.5)
    colours = _sample_levels(levels, half, half, np.array([0.0, 2.5]))
    np.testing.assert_allclose(colours, [[10] * 3, [35] * 3])
