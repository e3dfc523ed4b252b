"""Which map points a scene carries, and how they look, on maps made by hand."""

import numpy as np
import pytest
import torch
from geo_training.localization.map_points import (
    MAX_ERROR_PX,
    MIN_TRACK,
    MapPointBuilder,
    _appearances,
    _best_of_every_frame,
)
from geo_training.mapping.scene_map import SceneMap, Tracks

from geo_perception.geometry import Camera
from geo_perception.localization.map_keypoints import CHANNELS as KEYPOINT_CHANNELS
from geo_perception.localization.map_keypoints import SHARED_BYTES
from geo_perception.localization.map_points import BYTES_BESIDE_DESCRIPTOR

CAMERA = Camera(96, 64, 80.0, 80.0, 47.5, 31.5)
CHANNELS = 6
PROJECTION_BYTES = 4 * (CHANNELS * CHANNELS + CHANNELS)  # carried beside the points


def poses(*positions) -> dict[str, np.ndarray]:
    """Cameras that look along z, by name."""
    found = {}
    for number, position_3 in enumerate(positions):
        found[f"f{number}"] = np.eye(4)
        found[f"f{number}"][:3, 3] = position_3
    return found


def scene_map(T_world_camera: dict, points_n3, seen_fn, error_px_n=None) -> SceneMap:
    frame_m, point_m = np.nonzero(seen_fn)
    order = np.argsort(point_m, kind="stable")
    tracks = Tracks(point_m[order].astype(np.int32), frame_m[order].astype(np.int32), np.zeros((len(point_m), 2)))
    error_px_n = np.zeros(len(points_n3)) if error_px_n is None else np.array(error_px_n)
    return SceneMap(
        T_world_camera, dict.fromkeys(T_world_camera, CAMERA), np.array(points_n3, float), error_px_n, tracks, True
    )


def maps(seed: int = 0) -> list[torch.Tensor]:
    """Maps of strides 8 and 32."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(1, CHANNELS, 8, 12, generator=rng), torch.randn(1, 4, 2, 3, generator=rng)]


def built(scene: SceneMap, budget_bytes: int = 10**6, features=None, descriptors_nc=None):
    builder = MapPointBuilder(scene, [8, 32], descriptors_nc)
    for number, (name, T_world_camera) in enumerate(scene.T_world_camera.items()):
        builder.add(name, features or maps(number), CAMERA, T_world_camera)
    return builder.build(budget_bytes)


SIDE_BY_SIDE = poses([0, 0, 0], [0.3, 0, 0], [-0.3, 0, 0])
POINTS_N3 = [[0.0, 0.0, 2.0], [0.2, 0.1, 2.5], [-0.2, -0.1, 3.0]]


def test_a_point_is_kept_with_the_directions_and_distances_it_was_seen_from():
    points = built(scene_map(SIDE_BY_SIDE, POINTS_N3, np.ones((3, 3), bool)))
    assert len(points) == 3
    np.testing.assert_allclose(points.points_map_a3, POINTS_N3)
    assert list(points.point_a) == [0, 1, 2]
    # The first is straight ahead of the middle camera: the others see it 0.3 m aside from 2 m.
    np.testing.assert_allclose(points.direction_a3[0], [0, 0, -1], atol=1e-12)
    assert points.cone_rad_a[0] == pytest.approx(np.arctan(0.3 / 2))
    np.testing.assert_allclose(points.range_a2[0], [2, np.hypot(2, 0.3)])
    assert points.backbone_maps == (0,)  # coarser maps than a cell tell no point apart


def test_a_descriptor_is_the_mean_of_what_the_map_says_at_the_point():
    same = maps()
    points = built(scene_map(poses([0, 0, 0], [0, 0, 0], [0, 0, 0]), POINTS_N3, np.ones((3, 3), bool)), features=same)
    # The first is seen between the cells 5 and 6 of rows 3 and 4, at (47.5, 31.5).
    plain_c = same[0][0, :, 3:5, 5:7].mean(dim=(1, 2)).numpy()
    expected_d = points.projection_dc @ plain_c + points.offset_d
    expected_d /= np.linalg.norm(expected_d)
    np.testing.assert_allclose(points.descriptors_ad[0] / 127, expected_d, atol=1 / 127)
    # Whitened, the cells that were counted have no mean.
    cells_nc = same[0][0].flatten(1).T.numpy()[::5]
    np.testing.assert_allclose((cells_nc @ points.projection_dc.T + points.offset_d).mean(axis=0), 0, atol=1e-4)


def test_points_that_are_seen_seldom_or_inexactly_are_left_out():
    seen_fn = np.ones((3, 3), bool)
    seen_fn[0, 1] = False
    assert seen_fn[:, 1].sum() == MIN_TRACK - 1
    points = built(scene_map(SIDE_BY_SIDE, POINTS_N3, seen_fn, [0.5, 0.5, MAX_ERROR_PX + 0.1]))
    np.testing.assert_allclose(points.points_map_a3, POINTS_N3[:1])


def test_a_point_outside_a_frame_is_not_looked_up_there():
    beside = [[5.0, 0.0, 2.0], *POINTS_N3]
    points = built(scene_map(SIDE_BY_SIDE, beside, np.ones((3, 4), bool)))
    np.testing.assert_allclose(points.points_map_a3, POINTS_N3)


def test_a_point_seen_from_near_and_far_has_an_appearance_for_each():
    near_and_far = poses([0, 0, 0], [0, 0, 0.1], [0, 0, -6], [0, 0, -6.2])
    points = built(scene_map(near_and_far, [[0.0, 0.0, 2.0]], np.ones((4, 1), bool)))
    assert list(points.point_a) == [0, 0]
    ranges = sorted(points.range_a2.tolist())
    np.testing.assert_allclose(ranges, [[1.9, 2.0], [8.0, 8.2]])


def test_the_budget_is_kept_and_none_is_left_where_it_holds_nothing():
    scene = scene_map(SIDE_BY_SIDE, POINTS_N3, np.ones((3, 3), bool))
    size = CHANNELS + BYTES_BESIDE_DESCRIPTOR
    assert len(built(scene, PROJECTION_BYTES + 2 * size)) == 2
    assert len(built(scene, PROJECTION_BYTES + 3 * size - 1)) == 2
    assert built(scene, PROJECTION_BYTES + size - 1) is None
    assert built(scene, -5000) is None


def test_points_keep_how_they_look_as_keypoints_within_the_budget():
    near_and_far = poses([0, 0, 0], [0, 0, 0.1], [0, 0, -6], [0, 0, -6.2])
    scene = scene_map(near_and_far, [[0.0, 0.0, 2.0], [9.0, 9.0, 2.0], [0.1, 0.0, 2.2]], np.ones((4, 3), bool))
    descriptors_nc = np.eye(3, 128, dtype=np.float32)
    points = built(scene, descriptors_nc=descriptors_nc)
    assert list(points.point_a) == [0, 0, 1, 1]  # two appearances each; the second of the map is outside all frames
    found_pd, asked_nd = points.keypoints.wanted_pd, points.keypoints.project(descriptors_nc)
    assert [np.linalg.norm(asked_nd - wanted_d, axis=1).argmin() for wanted_d in found_pd] == [0, 2]
    assert built(scene).keypoints is None
    size = CHANNELS + BYTES_BESIDE_DESCRIPTOR + KEYPOINT_CHANNELS
    shared_bytes = PROJECTION_BYTES + SHARED_BYTES
    assert len(built(scene, shared_bytes + 2 * size, descriptors_nc=descriptors_nc)) == 2
    assert built(scene, shared_bytes + size - 1, descriptors_nc=descriptors_nc) is None


def test_points_that_are_left_are_counted_anew():
    budget_bytes = PROJECTION_BYTES + 2 * (CHANNELS + BYTES_BESIDE_DESCRIPTOR)
    points = built(scene_map(SIDE_BY_SIDE, POINTS_N3, np.ones((3, 3), bool)), budget_bytes)
    assert list(points.point_a) == [0, 1]


def test_a_point_far_outside_the_map_is_left_out():
    far_n3 = [*POINTS_N3, [0.0, 0.0, 5000.0]]
    assert len(built(scene_map(SIDE_BY_SIDE, far_n3, np.ones((3, 4), bool)))) == 3


def test_a_map_without_tracks_gives_no_points():
    assert built(scene_map(SIDE_BY_SIDE, POINTS_N3, np.zeros((3, 3), bool))) is None


def test_distances_within_a_factor_of_two_are_one_appearance():
    # The first point's middle distance is 2, so 1.5 to 2.8 are one octave; 4 and 0.9 are others. The second has one.
    point_m = np.array([0, 0, 0, 0, 0, 1])
    range_m = np.array([2.0, 1.5, 2.8, 4.0, 0.9, 7.0])
    appearance_m, point_a = _appearances(point_m, range_m)
    assert list(point_a) == [0, 0, 0, 1]
    assert list(appearance_m) == [1, 1, 1, 2, 0, 3]


def test_every_frame_keeps_its_best_before_any_has_more():
    # The first frame sees four good ones, the second two bad ones.
    frame_m = np.array([0, 0, 0, 0, 1, 1])
    appearance_m = np.arange(6)
    score_a = np.array([9.0, 8.0, 7.0, 6.0, 2.0, 1.0])
    assert list(_best_of_every_frame(frame_m, appearance_m, score_a, 2)) == [0, 4]
    assert list(_best_of_every_frame(frame_m, appearance_m, score_a, 3)) == [0, 1, 4]
    assert list(_best_of_every_frame(frame_m, appearance_m, score_a, 4)) == [0, 1, 4, 5]
    assert list(_best_of_every_frame(frame_m, appearance_m, score_a, 5)) == [0, 1, 2, 4, 5]
    assert list(_best_of_every_frame(frame_m, appearance_m, score_a, 9)) == list(range(6))
