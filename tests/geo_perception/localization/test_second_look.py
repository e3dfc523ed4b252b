"""The second look, on made-up maps: poses, limits and keypoints whose answers are known."""

from concurrent.futures import Future
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made_up_points import CAMERA, CHANNELS, STRIDE, T_ROUGH, T_TRUE, MadeUp

from geo_perception.geometry import make_pose, pose_error, so3_exp
from geo_perception.localization import point_search
from geo_perception.localization.confidence import evidence_of
from geo_perception.localization.keypoint_search import KeypointSearch
from geo_perception.localization.keypoints import Keypoints
from geo_perception.localization.look import ImageLevels, LevelView, Proposal, SecondLookOptions
from geo_perception.localization.map_keypoints import MapKeypoints
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.pnp import refine_solution
from geo_perception.localization.point_search import PointSearch
from geo_perception.localization.second_look import SecondLooker

FEATURES_ONLY = SecondLookOptions(keypoints=False)


def search_of(points: MapPoints, options: SecondLookOptions = FEATURES_ONLY) -> PointSearch:
    return PointSearch(points, [STRIDE], torch.device("cpu"), options)


def looker_of(points: MapPoints, options: SecondLookOptions = FEATURES_ONLY) -> SecondLooker:
    return SecondLooker(points, [STRIDE], torch.device("cpu"), options)


def sigma_of(similarity_m: np.ndarray) -> np.ndarray:
    return np.full(len(similarity_m), 1.0)


def test_a_rough_pose_becomes_the_exact_one():
    world = MadeUp()
    look = search_of(world.map_points()).look(T_ROUGH, ImageLevels(world.level), sigma_of)
    distance_m, angle_rad = pose_error(T_TRUE, look.solution.T_map_camera)
    assert distance_m < 1e-3
    assert angle_rad < 5e-4
    assert (look.searched, look.agreeing) == (120, 120)
    assert look.share == 1.0
    np.testing.assert_array_equal(np.sort(look.matches.index_m), np.arange(120))
    np.testing.assert_allclose(look.matches.pixels_m2, world.pixels_n2[look.matches.index_m], atol=0.1)
    assert look.matches.similarity_m.min() > 0.99
    np.testing.assert_array_equal(look.matches.scale_m, 1.0)


def test_points_that_are_not_there_count_as_searched_but_not_as_agreeing():
    world = MadeUp()
    gone = np.arange(120) % 3 == 0
    world.row_n, world.column_n, kept = world.row_n[~gone], world.column_n[~gone], world.descriptors_nd[~gone]
    points = world.map_points()
    world.descriptors_nd = kept
    look = search_of(points).look(T_ROUGH, ImageLevels(world.level), sigma_of)
    assert pose_error(T_TRUE, look.solution.T_map_camera)[0] < 5e-3
    assert look.searched == 120
    assert 80 <= look.agreeing <= 86  # some of those that are gone look like what lies near their place
    assert set(np.flatnonzero(~gone)) <= set(look.matches.index_m[look.solution.inlier_n])


def test_a_map_of_several_strides_is_looked_at_at_the_finest():
    world = MadeUp()
    points = world.map_points()
    halves = np.concatenate([np.eye(CHANNELS) / 2, np.eye(CHANNELS)], axis=1).astype(np.float32)
    points = replace(points, projection_dc=halves, backbone_maps=(1, 2))

    def level(number: int) -> LevelView:
        view = world.level(number)
        coarse = torch.zeros(1, CHANNELS, view.camera.height_px // 8, view.camera.width_px // 8)
        return replace(view, maps=[torch.zeros(1, 3, 5, 5), coarse, view.maps[0]])

    look = PointSearch(points, [32, 8, STRIDE], torch.device("cpu"), FEATURES_ONLY).look(
        T_ROUGH, ImageLevels(level), sigma_of
    )
    assert pose_error(T_TRUE, look.solution.T_map_camera)[0] < 1e-3


def test_the_offset_belongs_to_what_is_compared():
    world = MadeUp()
    offset_d = np.linspace(-3, 3, CHANNELS).astype(np.float32)
    points = world.map_points(offset_d=offset_d)

    def level(number: int) -> LevelView:
        view = world.level(number)
        return replace(view, maps=[view.maps[0] - torch.from_numpy(offset_d)[:, None, None]])

    assert search_of(points).look(T_ROUGH, ImageLevels(level), sigma_of).matches.similarity_m.min() > 0.99


def test_another_place_agrees_with_few_points():
    world, other = MadeUp(), MadeUp(seed=1)
    look = search_of(world.map_points()).look(T_ROUGH, ImageLevels(other.level), sigma_of)
    assert look is None or look.share < 0.2


@pytest.mark.parametrize("count", [10, 24])
def test_fewer_points_than_must_agree_give_no_pose(count):
    world = MadeUp(count)
    assert search_of(world.map_points()).look(T_ROUGH, ImageLevels(world.level), sigma_of) is None


def test_a_pose_from_which_no_point_is_seen_gives_none():
    world = MadeUp()
    behind = make_pose(T_TRUE[:3, :3] @ so3_exp(np.array([0, np.pi, 0])), T_TRUE[:3, 3])
    assert search_of(world.map_points()).look(behind, ImageLevels(world.level), sigma_of) is None


def test_a_pose_that_is_too_rough_for_the_window_gives_none_or_few():
    world = MadeUp()
    far = make_pose(so3_exp(np.array([0, 0.2, 0])) @ T_TRUE[:3, :3], T_TRUE[:3, 3])  # 100 px
    look = search_of(world.map_points()).look(far, ImageLevels(world.level), sigma_of)
    assert look is None or look.share < 0.2


def test_points_twice_as_near_as_the_map_saw_them_are_found_in_the_half_of_the_image():
    world = MadeUp(seen_at=1)
    points = world.map_points(range_a2=np.repeat(2 * world.range_n[:, None], 2, axis=1))
    look = search_of(points).look(T_ROUGH, ImageLevels(world.level), sigma_of)
    assert pose_error(T_TRUE, look.solution.T_map_camera)[0] < 2e-3
    assert look.agreeing == 120
    np.testing.assert_array_equal(look.matches.scale_m, 2.0)
    np.testing.assert_allclose(look.matches.pixels_m2, world.pixels_n2[look.matches.index_m], atol=0.2)


def test_the_half_of_the_image_is_looked_at_only_where_a_point_needs_it():
    world = MadeUp()
    search_of(world.map_points()).look(T_ROUGH, ImageLevels(world.level), sigma_of)
    assert world.levels_asked == [0]  # and its features are made once


def test_points_are_searched_from_where_and_from_as_far_as_they_were_seen():
    world = MadeUp(4)
    to_the_side = so3_exp(np.array([0, 0.7, 0]))
    points = world.map_points()
    direction_a3 = points.direction_a3.copy()
    direction_a3[0] = to_the_side @ direction_a3[0]  # 0.7 rad or less away
    search = search_of(points)
    shown = lambda **changes: list(search_of(replace(points, **changes)).visible(T_TRUE, CAMERA)[0])  # noqa: E731 - short
    assert list(search.visible(T_TRUE, CAMERA)[0]) == [0, 1, 2, 3]
    turn_rad = np.arccos((direction_a3[0] * points.direction_a3[0]).sum())
    assert turn_rad > 0.46
    assert shown(direction_a3=direction_a3) == [1, 2, 3]
    # A cone as wide as what is beyond the slack of 0.45 lets it in.
    assert shown(direction_a3=direction_a3, cone_rad_a=np.array([turn_rad - 0.44, 0, 0, 0])) == [0, 1, 2, 3]
    assert shown(direction_a3=direction_a3, cone_rad_a=np.array([turn_rad - 0.46, 0, 0, 0])) == [1, 2, 3]
    # 1.7 times nearer than it was seen, or 1.7 times farther; in the half of the image a point looks twice as far.
    factors = np.array([1.69, 2 * 1.69, 1 / 1.69, 1.0])
    factor_a2 = np.repeat(factors[:, None], 2, axis=1)
    assert shown(range_a2=points.range_a2 * factor_a2) == [0, 1, 2, 3]
    for row, factor in ((1, 2 * 1.71), (2, 1 / 1.71)):
        beyond_a2 = factor_a2.copy()
        beyond_a2[row] = factor
        assert shown(range_a2=points.range_a2 * beyond_a2) == [n for n in range(4) if n != row]
    level_m = search_of(replace(points, range_a2=points.range_a2 * factor_a2)).visible(T_TRUE, CAMERA)[1]
    # 1.69 is nearer to 2 than to 1 (as factors), so the first is looked for in the half, too.
    assert list(level_m) == [1, 1, 0, 0]


def test_points_outside_the_image_are_not_searched():
    world = MadeUp(30)
    inside, _ = search_of(world.map_points()).visible(T_TRUE, CAMERA.cropped(0, 0, 320, 480))
    assert list(inside) == list(np.flatnonzero(world.pixels_n2[:, 0] <= 319.5))


def test_of_two_appearances_of_a_point_the_one_seen_from_nearer_by_is_searched():
    world = MadeUp(40)
    points = world.map_points()
    parts = ("points_map_a3", "descriptors_ad", "direction_a3", "cone_rad_a")
    doubled = {name: np.concatenate([getattr(points, name)] * 2) for name in parts}
    range_a2 = np.concatenate([points.range_a2 * 1.5, points.range_a2])  # first the worse ones
    both = replace(points, **doubled, point_a=np.tile(np.arange(40), 2), range_a2=range_a2)
    chosen, level_m = search_of(both).visible(T_TRUE, CAMERA)
    assert list(chosen) == list(range(40, 80))
    assert not level_m.any()


def test_of_many_points_the_same_ones_are_searched_every_time():
    world = MadeUp(200)
    search = search_of(world.map_points(), replace(FEATURES_ONLY, first_points=40, max_points=60))
    looks = [search.look(T_ROUGH, ImageLevels(world.level), sigma_of) for _ in range(2)]
    assert looks[0].searched == 60
    np.testing.assert_array_equal(looks[0].matches.index_m, looks[1].matches.index_m)
    np.testing.assert_array_equal(looks[0].solution.T_map_camera, looks[1].solution.T_map_camera)


def with_blobs(world: MadeUp, off_px: float) -> MadeUp:
    """An image with a blob at every point of `world`, whose features lie `off_px` to the right of them."""
    y_hw, x_hw = np.mgrid[:480, :640]
    grey_hw = np.full((480, 640), 60.0)
    for x_px, y_px in world.pixels_n2 - [off_px, 0]:
        grey_hw += 150 * np.exp(-((x_hw - x_px) ** 2 + (y_hw - y_px) ** 2) / (2 * 2.0**2))
    world.image_hw3 = cv2.cvtColor(grey_hw.clip(0, 255).round().astype(np.uint8), cv2.COLOR_GRAY2RGB)
    rays_n3 = CAMERA.bearings(world.pixels_n2 - [off_px, 0])
    world.points_n3 = rays_n3 * world.range_n[:, None] @ T_TRUE[:3, :3].T + T_TRUE[:3, 3]
    return world


def test_keypoints_of_the_image_make_the_pose_exact_where_features_are_off():
    world = with_blobs(MadeUp(60), off_px=1.5)
    looker = looker_of(world.map_points(), SecondLookOptions())
    image = ImageLevels(world.level)
    rough = looker.look(Proposal(T_ROUGH), image, sigma_of)
    exact = looker.exact(rough, image)
    assert rough.keypoints is None  # the map describes none
    assert pose_error(T_TRUE, rough.solution.T_map_camera)[1] > 2e-3  # 1.5 px of 500
    distance_m, angle_rad = pose_error(T_TRUE, exact.solution.T_map_camera)
    assert distance_m < 1.5e-3
    assert angle_rad < 4e-4
    assert (exact.searched, exact.agreeing) == (rough.searched, rough.agreeing)
    assert len(exact.matches) == len(exact.solution.inlier_n)
    np.testing.assert_allclose(exact.matches.pixels_m2, world.pixels_n2[exact.matches.index_m] - [1.5, 0], atol=0.25)


def described(world: MadeUp, clutter: int = 100) -> tuple[MapPoints, Keypoints]:
    """The map with a descriptor a point, and keypoints of the image that look so where the points are."""
    rng = np.random.default_rng(4)
    count = len(world.points_n3)
    descriptors_nc = np.abs(rng.normal(size=(count + clutter, 128)))
    descriptors_nc = (descriptors_nc / np.linalg.norm(descriptors_nc, axis=1, keepdims=True)).astype(np.float32)
    pixels_n2 = CAMERA.project((world.points_n3 - T_TRUE[:3, 3]) @ T_TRUE[:3, :3])
    places_k2 = np.concatenate([pixels_n2, rng.uniform([5, 5], [630, 470], (clutter, 2))])
    points = world.map_points(keypoints=MapKeypoints.compressed(descriptors_nc[:count]))
    return points, Keypoints(places_k2, np.arange(len(places_k2)), descriptors_nc)


def seeing(world: MadeUp, points: MapPoints, keypoints: Keypoints) -> ImageLevels:
    image = ImageLevels(world.level)
    image.keypoints = Future()
    image.keypoints.set_result(KeypointSearch(points, torch.device("cpu")).compared(keypoints))
    return image


def test_keypoints_that_look_like_their_points_make_the_pose_exact_and_are_counted():
    world = with_blobs(MadeUp(60), off_px=1.5)
    points, keypoints = described(world)
    looker, image = looker_of(points, SecondLookOptions()), seeing(world, points, keypoints)
    assert pose_error(T_TRUE, looker.search.look(T_ROUGH, image, sigma_of).solution.T_map_camera)[1] > 2e-3
    look = looker.look(Proposal(T_ROUGH), image, sigma_of)
    distance_m, angle_rad = pose_error(T_TRUE, look.solution.T_map_camera)
    assert distance_m < 1e-3  # the features, off to one side, count a little beside 60 keypoints
    assert angle_rad < 2e-4
    assert look.keypoints == 60
    assert (look.searched, look.agreeing) == (60, 60)
    assert looker.exact(look, image) is look


def test_where_the_features_tell_nothing_keypoints_alone_give_the_pose():
    world, bare = MadeUp(60), MadeUp(60, seed=1)
    points, keypoints = described(world)
    looker, image = looker_of(points, SecondLookOptions()), seeing(bare, points, keypoints)
    assert looker.search.look(T_ROUGH, image, sigma_of) is None
    look = looker.look(Proposal(T_ROUGH), image, sigma_of)
    assert pose_error(T_TRUE, look.solution.T_map_camera)[0] < 1e-4
    assert look.keypoints == look.agreeing == len(look.matches) == 60
    # From farther away than keypoints are looked for in, only the proposal's own points are known to be in view.
    far = replace(points, range_a2=points.range_a2 * 10)
    looker = looker_of(far, SecondLookOptions())
    assert looker.look(Proposal(T_ROUGH), image, sigma_of) is None
    look = looker.look(Proposal(T_ROUGH, np.arange(0, 60, 2)), image, sigma_of)
    assert pose_error(T_TRUE, look.solution.T_map_camera)[0] < 1e-4
    assert look.keypoints == look.searched == 30


def test_a_pose_is_less_certain_the_more_of_its_points_are_missing():
    world = MadeUp()
    look = search_of(world.map_points()).look(T_ROUGH, ImageLevels(world.level), sigma_of)
    assert look.share == 1.0
    np.testing.assert_array_equal(look.widened.covariance_66, look.solution.covariance_66)
    half = replace(look, agrees_s=np.arange(120) % 2 == 0)
    np.testing.assert_allclose(half.widened.covariance_66, 4 * look.solution.covariance_66)
    none = replace(look, agrees_s=np.zeros(120, bool))
    np.testing.assert_allclose(none.widened.covariance_66, 100 * look.solution.covariance_66)
    np.testing.assert_array_equal(half.widened.T_map_camera, look.solution.T_map_camera)


def test_keypoints_propose_a_pose_without_any_other():
    world = MadeUp(60)
    points, keypoints = described(world)
    image = seeing(world, points, keypoints)
    proposal = looker_of(points, SecondLookOptions()).propose_by_keypoints(image)
    assert pose_error(T_TRUE, proposal.T_map_camera)[0] < 1e-4
    assert len(proposal.index_m) >= 55
    assert looker_of(points).propose_by_keypoints(image) is None  # without keypoints
    assert (
        looker_of(world.map_points(), SecondLookOptions()).propose_by_keypoints(seeing(world, points, keypoints))
        is None
    )


def test_a_look_of_which_no_keypoint_agrees_says_so_and_keeps_its_pose():
    world = MadeUp(60)
    points, keypoints = described(world)
    away = replace(keypoints, places_n2=keypoints.places_n2 + [90.0, 0.0])
    looker, image = looker_of(points, SecondLookOptions()), seeing(world, points, away)
    look = looker.look(Proposal(T_ROUGH), image, sigma_of)
    assert look.keypoints == 0
    alone = looker.search.look(T_ROUGH, image, sigma_of)
    np.testing.assert_array_equal(look.solution.T_map_camera, alone.solution.T_map_camera)


def test_an_image_without_keypoints_keeps_the_pose_of_the_features():
    world = MadeUp(60)
    image, looker = ImageLevels(world.level), looker_of(world.map_points(), SecondLookOptions())
    rough = looker.look(Proposal(T_ROUGH), image, sigma_of)
    assert looker.exact(rough, image) is rough
    assert len(image.keypoints.result()) == 0


def test_without_the_option_no_keypoints_are_looked_for():
    world = with_blobs(MadeUp(60), off_px=1.5)
    image, looker = ImageLevels(world.level), looker_of(world.map_points())
    rough = looker.look(Proposal(T_ROUGH), image, sigma_of)
    assert looker.exact(rough, image) is rough
    assert image.keypoints is None


def test_points_that_the_last_refinement_puts_out_of_view_are_no_evidence(monkeypatch):
    world, forward_m = MadeUp(), 3.0  # points are 2 to 6 m away

    def refined_too_far(*given):
        solution = refine_solution(*given)
        T_map_camera = solution.T_map_camera @ make_pose(np.eye(3), np.array([0, 0, forward_m]))
        return replace(solution, T_map_camera=T_map_camera)

    monkeypatch.setattr(point_search, "refine_solution", refined_too_far)
    once = replace(FEATURES_ONLY, passes=1)
    look = search_of(world.map_points(), once).look(T_ROUGH, ImageLevels(world.level), sigma_of)
    T = look.solution.T_map_camera
    inside = CAMERA.contains(CAMERA.project((world.points_n3 - T[:3, 3]) @ T[:3, :3])).sum()
    assert 0 < look.searched == inside < 120
    assert np.isfinite(look.expected_s2).all()
    assert 0 <= evidence_of(look, np.ones(1), np.ones(1, bool)).patchiness <= 1


def test_two_looks_at_one_image_make_its_views_and_maps_once():
    world = MadeUp()
    image, search = ImageLevels(world.level), search_of(world.map_points())
    search.look(T_ROUGH, image, sigma_of)
    fine = image.fine_maps[0]
    search.look(T_TRUE, image, sigma_of)
    assert world.levels_asked == [0]
    assert image.fine_maps[0] is fine


def test_few_points_are_drawn_from_a_part_of_them_and_from_all_where_that_shows_too_few():
    world = MadeUp()
    search = search_of(world.map_points())
    image = ImageLevels(world.level)
    everything, _ = search.visible(T_TRUE, CAMERA)
    part, _ = search.visible(T_TRUE, CAMERA, among=search._part_a)
    assert 0 < len(part) < len(everything)
    np.testing.assert_array_equal(part, everything[search._part_a[everything]])
    few, _ = search._expected(T_TRUE, image, len(part))
    np.testing.assert_array_equal(np.sort(few), part)
    more, _ = search._expected(T_TRUE, image, len(part) + 1)
    assert len(more) == len(part) + 1


@pytest.mark.parametrize(("count", "rows", "window"), [(5, 40, 9), (5, 40, 39), (5, 40, 40), (5, 12, 49), (0, 40, 9)])
def test_products_with_rows_of_a_map_are_those_of_matrices_also_where_a_row_comes_twice(count, rows, window):
    generator = torch.Generator().manual_seed(0)
    wanted_md, fine_nd = torch.randn(count, 8, generator=generator), torch.randn(rows, 8, generator=generator)
    cells_mk = torch.randint(0, rows, (count, window), generator=generator)
    cells_mk[2:3] = 7
    expected_mk = (wanted_md @ fine_nd.T).gather(1, cells_mk)
    torch.testing.assert_close(point_search._products(wanted_md, fine_nd, cells_mk), expected_mk)
