"""Who sees a point: exact projections, and depth that says what stands before what."""

import numpy as np
import pytest
from geo_training.mapping.scene_map import SceneMap, Tracks
from geo_training.mapping.visibility import depth_ratio, project_all, three_states

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose, so3_exp

CAMERA = Camera(100, 80, 100, 100, 49.5, 39.5)
WALL_M = 2.0


def scene_of(points, observations, poses=None, camera=CAMERA, metric=True):
    """A map of frames s/0.jpg, s/1.jpg, ... with (point, frame) observations at their exact projections."""
    poses = poses or [np.eye(4)]
    names = [f"s/{i}.jpg" for i in range(len(poses))]
    points = np.asarray(points, float)
    pixels_fn2, _ = project_all(points, np.stack(poses), [camera] * len(poses))
    observations = np.array(sorted(observations), int).reshape(-1, 2)
    tracks = Tracks(
        observations[:, 0].astype(np.int32),
        observations[:, 1].astype(np.int32),
        pixels_fn2[observations[:, 1], observations[:, 0]],
    )
    return SceneMap(
        dict(zip(names, poses, strict=True)),
        dict.fromkeys(names, camera),
        points,
        np.full(len(points), 0.5),
        tracks,
        metric,
    )


def wall(distance=WALL_M):
    return lambda name: np.full((80, 100), distance, np.float32)


def test_projections_are_exact_and_nan_behind_the_camera():
    scene = scene_of([[0.2, -0.1, 2.0], [0, 0, -1]], [(0, 0)])
    pixels, depth = project_all(scene.points_world_n3, np.eye(4)[None], [CAMERA])
    np.testing.assert_allclose(pixels[0, 0], [59.5, 34.5])
    assert np.isnan(pixels[0, 1]).all()
    np.testing.assert_allclose(depth[0], [2.0, -1.0])


def test_a_pose_that_looks_elsewhere_moves_the_projection():
    T_world_camera = make_pose(so3_exp(np.array([0, np.pi / 2, 0])), np.array([1.0, 0, 0]))  # looks along world +x
    pixels, depth = project_all(np.array([[3.0, 0.5, 0.2]]), T_world_camera[None], [CAMERA])
    np.testing.assert_allclose(pixels[0, 0], [49.5 - 100 * 0.2 / 2, 39.5 + 100 * 0.5 / 2])
    assert depth[0, 0] == pytest.approx(2.0)


def test_without_depth_only_the_track_tells():
    points = [[0, 0, 2], [0.1, 0, 2], [5, 0, 2], [0, 0, -2]]
    states = three_states(scene_of(points, [(0, 0)]), np.arange(4)).state_fl
    np.testing.assert_array_equal(states, [[1, 0, -1, -1]])
    assert states.dtype == np.int8


def test_depth_tells_what_is_seen_hidden_and_open():
    points = [[0, 0, 2.0], [0.1, 0, 2.04], [0.2, 0, 3.0], [0.3, 0, 1.0], [0, 0.1, 2.0]]
    found = three_states(scene_of(points, [(4, 0)]), np.arange(5), wall())
    # On the wall, within 3 % of it, well behind it, floating before it, in the track.
    np.testing.assert_array_equal(found.state_fl, [[1, 1, -1, 0, 1]])
    assert found.agreement_l[4] == 1.0
    assert np.isnan(found.agreement_l[:4]).all()


def test_a_hole_in_the_depth_says_nothing():
    found = three_states(scene_of([[0, 0, 2], [0, 0, 3]], []), np.arange(2), wall(0.0))
    np.testing.assert_array_equal(found.state_fl, [[0, 0]])


def test_near_the_edge_depth_alone_is_not_believed():
    points = [[(1 - 49.5) / 100 * 2, 0, 2.0], [(20 - 49.5) / 100 * 2, 0, 2.0]]
    np.testing.assert_array_equal(three_states(scene_of(points, []), np.arange(2), wall()).state_fl, [[0, 1]])


def test_a_track_that_depth_contradicts_is_told():
    found = three_states(scene_of([[0, 0, 3.0]], [(0, 0)]), np.arange(1), wall())
    assert found.state_fl[0, 0] == 1
    assert found.agreement_l[0] == 0.0


def test_from_the_other_side_depth_alone_is_not_believed():
    """Both cameras are 1 m from the point, one before it (in the track), one opposite."""
    opposite = make_pose(so3_exp(np.array([0, np.pi, 0])), np.array([0, 0, 2.0]))
    beside = make_pose(so3_exp(np.array([0, -0.5, 0])), np.array([np.sin(0.5), 0, 1 - np.cos(0.5)]))
    scene = scene_of([[0, 0, 1.0]], [(0, 0)], [np.eye(4), opposite, beside])
    np.testing.assert_array_equal(three_states(scene, np.arange(1), wall(1.0)).state_fl[:, 0], [1, 0, 1])


def test_depth_of_half_the_size_is_read_at_the_right_place():
    depth = np.full((40, 50), 1.0, np.float32)
    depth[:, 35:] = 2.0  # right of pixel 69.5 of the image the wall is further
    points = [[(80 - 49.5) / 100 * 2, 0, 2.0], [(40 - 49.5) / 100 * 2, 0, 2.0]]
    found = three_states(scene_of(points, []), np.arange(2), lambda name: depth)
    np.testing.assert_array_equal(found.state_fl, [[1, -1]])


def test_only_some_points_in_any_order():
    points = [[0, 0, 2], [5, 0, 2], [0.1, 0, 2]]
    scene = scene_of(points, [(2, 0)])
    np.testing.assert_array_equal(three_states(scene, np.array([2, 1])).state_fl, [[1, -1]])


def test_a_strong_lens_does_not_fold_far_points_into_the_image():
    camera = Camera(100, 80, 100, 100, 49.5, 39.5, "plumb_bob", (-0.5, 0.0, 0.0, 0.0))
    # At r = 1.9 the polynomial r (1 - 0.5 r^2) is -1.53, at r = 1.42 it crosses zero: both project into the image.
    scene = scene_of([[1.42, 0, 1], [0.1, 0, 1]], [], camera=camera)
    np.testing.assert_array_equal(three_states(scene, np.arange(2)).state_fl, [[-1, 0]])


def test_the_unit_of_the_map_is_read_off_the_depth():
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-0.3, 0.3, (80, 2)), np.full(80, 0.5)] * [1, 0.8, 1]
    scene = scene_of(points, [(i, 0) for i in range(80)], metric=False)
    assert depth_ratio(scene, wall(2.0)) == pytest.approx(4.0)
    assert depth_ratio(scene, lambda name: None) is None


@pytest.mark.parametrize(("wrong", "refused"), [(0.4, False), (0.6, True)])
def test_depth_without_one_ratio_to_the_map_tells_no_unit(wrong, refused):
    """Depth of 2 m where the map says 0.5, but for a share of the image where it is anything."""
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-0.2, 0.2, (100, 2)), np.full(100, 0.5)] * [1, 0.8, 1]
    scene = scene_of(points, [(i, 0) for i in range(100)], metric=False)
    depth = np.full((80, 100), 2.0, np.float32)
    spoiled = rng.random((80, 100)) < wrong
    depth[spoiled] = rng.uniform(3, 40, spoiled.sum())
    if refused:
        with pytest.raises(InputError, match="measured depth contradicts the map"):
            depth_ratio(scene, lambda name: depth)
    else:
        assert depth_ratio(scene, lambda name: depth) == pytest.approx(4.0)
