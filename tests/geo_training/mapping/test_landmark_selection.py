"""Which points become landmarks: apart, of a high score, enough in every frame; and what if there are too few."""

import time
from dataclasses import replace

import numpy as np
import pytest
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.landmarks import (
    SelectionOptions,
    candidates,
    depth_limit,
    greedy_selection,
    min_distance,
    select_landmarks,
)
from geo_training.mapping.point_statistics import point_statistics, robustness_score
from geo_training.mapping.scene_map import SceneMap, Tracks
from geo_training.mapping.visibility import project_all

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose

CAMERA = Camera(200, 150, 150, 150, 99.5, 74.5)


def walk_past_a_wall(points=600, frames=30, sequences=2, step_m=0.15, seed=0):
    """Cameras that walk along a wall 2 m away and see every point that projects into their image."""
    rng = np.random.default_rng(seed)
    length = frames * step_m
    points_n3 = np.c_[
        rng.uniform(-1, length + 1, points), rng.uniform(-0.9, 0.9, points), rng.uniform(1.9, 2.1, points)
    ]
    poses, names = [], []
    for sequence in range(sequences):
        for frame in range(frames):
            poses.append(make_pose(np.eye(3), np.array([frame * step_m, 0.05 * sequence, 0.0])))
            names.append(f"walk{sequence}/{frame:04d}.jpg")
    pixels_fn2, _ = project_all(points_n3, np.stack(poses), [CAMERA] * len(poses))
    sees_fn = np.stack([CAMERA.contains(p) for p in pixels_fn2])
    point_m, frame_m = np.nonzero(sees_fn.T)
    tracks = Tracks(point_m.astype(np.int32), frame_m.astype(np.int32), pixels_fn2[frame_m, point_m])
    errors = np.full(points, 0.5)
    return SceneMap(dict(zip(names, poses, strict=True)), dict.fromkeys(names, CAMERA), points_n3, errors, tracks, True)


def test_statistics_of_a_point_seen_from_two_places():
    """Two cameras 2 m apart look at a point 1 m before their middle: a right angle, depth sqrt 2."""
    poses = {"a/0.jpg": make_pose(np.eye(3), [-1, 0, 0]), "b/0.jpg": make_pose(np.eye(3), [1, 0, 0])}
    tracks = Tracks(np.array([0, 0]), np.array([0, 1]), np.zeros((2, 2)))
    scene = SceneMap(poses, dict.fromkeys(poses, CAMERA), np.array([[0, 0, 1.0]]), np.array([0.5]), tracks, True)
    s = point_statistics(scene)
    assert s.span_rad_n[0] == pytest.approx(np.pi / 2)
    assert s.mean_depth_n[0] == pytest.approx(np.sqrt(2))
    assert s.depth_spread_n[0] == pytest.approx(0, abs=1e-7)
    assert (s.track_n[0], s.sequences_n[0]) == (2, 1.0)
    # In the plane of the rays each fixes one direction: 0.5 px at 150 px focal length, sqrt 2 away.
    assert s.sigma_n[0] == pytest.approx(0.5 * np.sqrt(2) / 150)


def test_a_point_from_more_sides_and_sequences_is_worth_more():
    scene = walk_past_a_wall()
    s = point_statistics(scene)
    score = robustness_score(s)
    assert np.corrcoef(score, s.span_rad_n)[0, 1] > 0.5
    assert np.corrcoef(score, s.track_n)[0, 1] > 0.5
    worse = SceneMap(
        scene.T_world_camera, scene.cameras, scene.points_world_n3, scene.error_px_n + 1, scene.tracks, True
    )
    assert (robustness_score(point_statistics(worse)) < score).all()


def test_limits_are_eased_only_as_far_as_needed():
    scene = walk_past_a_wall()
    s = point_statistics(scene)
    few, strict = candidates(s, robustness_score(s), scene, SelectionOptions(count=20, frame_target=5))
    many, eased = candidates(s, robustness_score(s), scene, SelectionOptions(count=190, frame_target=5))
    assert strict["min_track"] == 25
    assert eased["min_track"] < 25
    assert len(many) > len(few)


def test_the_first_landmarks_keep_the_distance_and_the_best_is_first():
    points = np.array([[x, 0.0, 0.0] for x in range(65)]) / 64 * 100
    score = np.ones(65)
    score[10] = 2
    chosen, values, _ = greedy_selection(points, score, np.ones((1, 65), bool), SelectionOptions(count=10))
    assert chosen[0] == 10
    assert values[0] == pytest.approx(2 + 6.0)
    assert min_distance(points[chosen]) >= 100 * 0.9 / 64


def test_the_distance_shrinks_until_the_count_is_reached():
    points = np.random.default_rng(0).uniform(size=(300, 3))
    chosen, _, reached = greedy_selection(points, np.ones(300), np.ones((4, 300), bool), SelectionOptions(count=300))
    assert sorted(chosen) == list(range(300))
    assert reached == pytest.approx(min_distance(points))


@pytest.mark.parametrize("points", [np.zeros((50, 3)), np.zeros((1, 3)), np.ones((50, 3)) * np.nan_to_num(np.inf)])
def test_points_all_at_one_place_end_the_selection(points):
    start = time.perf_counter()
    chosen, _, _ = greedy_selection(points, np.ones(len(points)), np.ones((2, len(points)), bool), SelectionOptions())
    assert len(set(chosen)) == len(points)
    assert time.perf_counter() - start < 1


def test_a_frame_that_only_poor_points_cover_gets_them():
    """40 points of frame 0 are better than the 6 of frame 1, but frame 1 would see nothing without those."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (46, 3))
    score = np.r_[np.full(40, 2.0), np.full(6, 0.5)]
    seen = np.zeros((2, 46), bool)
    seen[0, :40] = seen[1, 40:] = True
    with_coverage, _, _ = greedy_selection(points, score, seen, SelectionOptions(count=20, coverage_weight=6))
    without, _, _ = greedy_selection(points, score, seen, SelectionOptions(count=20, coverage_weight=0, frame_target=5))
    assert (with_coverage >= 40).sum() > (without >= 40).sum()


def test_what_a_landmark_adds_falls_as_its_frames_fill_and_is_nothing_once_they_see_enough():
    points = np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [9, 9, 0]])
    seen = np.array([[True, True, True, False], [False, False, False, True]])
    chosen, values, _ = greedy_selection(points, np.zeros(4), seen, SelectionOptions(count=4, frame_target=2))
    assert chosen.tolist() == [0, 3, 1, 2]
    assert values.tolist() == pytest.approx([6, 6, 3, 0])  # frames lack all, the other all, half, and nothing


def test_selection_covers_every_frame_of_a_walk_and_says_who_sees_what():
    scene = walk_past_a_wall()
    found = select_landmarks(scene, SelectionOptions(count=120, frame_target=15))
    assert len(found) == 120
    assert found.frame_names == scene.frame_names
    assert found.visibility_fl.shape == (60, 120)
    assert found.pixels_fl2.shape == (60, 120, 2)
    assert ((found.visibility_fl == 1).sum(axis=1) >= 15).all()
    seen = np.argwhere(found.visibility_fl == 1)[0]
    local = found.points_world_l3[seen[1]] - scene.T_world_camera[found.frame_names[seen[0]]][:3, 3]
    np.testing.assert_allclose(found.pixels_fl2[tuple(seen)], CAMERA.project(local)[0], atol=1e-3)
    assert found.report["seen_per_frame_min"] >= 15
    assert found.report["min_distance"] > 0


def test_fewer_than_asked_is_an_answer():
    found = select_landmarks(walk_past_a_wall(points=60), SelectionOptions(count=5000))
    assert 20 <= len(found) <= 60
    assert found.report["asked"] == 5000


def test_too_few_candidates_are_named():
    with pytest.raises(InputError, match=r"only \d+ of 25 points can serve as landmarks, at least 20"):
        select_landmarks(walk_past_a_wall(points=25), SelectionOptions(max_depth=1.91))


def test_points_that_are_too_far_are_left_out():
    scene = walk_past_a_wall()
    far = SelectionOptions(max_depth=2.05)
    s = point_statistics(scene)
    pool, _ = candidates(s, robustness_score(s), scene, far)
    assert len(pool) > 0
    assert s.mean_depth_n[pool].max() <= 2.05


def in_another_unit(scene, unit, metric=False):
    """The same map with lengths `unit` times as large."""
    poses = {name: T @ np.diag([1.0, 1, 1, 1]) for name, T in scene.T_world_camera.items()}
    for T in poses.values():
        T[:3, 3] *= unit
    return replace(scene, T_world_camera=poses, points_world_n3=scene.points_world_n3 * unit, metric=metric)


@pytest.mark.parametrize("unit", [1e-3, 40.0, 1e4])
def test_the_unit_of_a_map_of_unknown_scale_does_not_matter(unit):
    """With 40 units a metre everything is 80 units away, far beyond ten."""
    scene = walk_past_a_wall()
    options = SelectionOptions(count=120, frame_target=15)
    depth_m = np.full((150, 200), 2.0, np.float32)
    scenes = in_another_unit(scene, 1.0), in_another_unit(scene, unit)
    one, other = (select_landmarks(s, options, lambda name: depth_m) for s in scenes)
    assert len(one) == 120
    np.testing.assert_allclose(other.points_world_l3, one.points_world_l3 * unit, rtol=1e-5)
    np.testing.assert_array_equal(other.visibility_fl, one.visibility_fl)
    assert other.report["limits"]["max_depth"] == pytest.approx(4 * unit * one.report["median_depth"])


def test_the_limit_is_metres_or_median_distances():
    scene = walk_past_a_wall()
    median = scene.median_distance
    assert 2.0 < median < 2.2  # a wall 2 m away, most of it aslant
    assert depth_limit(scene, SelectionOptions()) == 10.0
    assert depth_limit(scene, SelectionOptions(max_depth=3)) == 3.0
    unknown = in_another_unit(scene, 7.0)
    assert depth_limit(unknown, SelectionOptions()) == pytest.approx(4 * 7 * median)
    assert depth_limit(unknown, SelectionOptions(max_depth=1.5)) == pytest.approx(1.5 * 7 * median)


def test_what_was_left_out_is_counted():
    scene = walk_past_a_wall(points=800)
    error_px_n = scene.error_px_n.copy()
    error_px_n[:100] = 5.0
    found = select_landmarks(replace(scene, error_px_n=error_px_n), SelectionOptions(count=80, max_depth=2.1))
    taken = found.report["taken"]
    assert (taken["found"], taken["used"]) == (800, 80)
    assert taken["used"] + sum(taken["left_out"].values()) == 800
    far = taken["left_out"]["too far away"]
    assert far > 0
    assert 0 < taken["left_out"]["not placed exactly enough"] <= 100
    assert f"found 800 points, used 80, left out: {far} too far away" in found.report["taken_words"]


def test_points_that_depth_contradicts_are_not_chosen():
    """Depth says that everything right of x = 2 m stands at 4 m instead of 2 m."""
    scene = walk_past_a_wall(points=800)
    u = np.arange(200)

    def depth_of(name):
        x_m = scene.T_world_camera[name][0, 3] + (u - 99.5) / 150 * 2
        return np.tile(np.where(x_m < 2, 2.0, 4.0).astype(np.float32), (150, 1))

    found = select_landmarks(scene, SelectionOptions(count=80, frame_target=10), depth_of)
    assert found.report["contradicted_by_depth"] > 100
    assert found.points_world_l3[:, 0].max() < 2.2


def test_depth_that_contradicts_everything_is_answered():
    scene = walk_past_a_wall()
    rng = np.random.default_rng(0)
    noise = {name: rng.uniform(20, 900, (150, 200)).astype(np.float32) for name in scene.frame_names}
    with pytest.raises(InputError, match="measured depth contradicts"):
        select_landmarks(scene, SelectionOptions(), noise.get)


def test_selection_is_the_same_every_time():
    first, second = (select_landmarks(walk_past_a_wall(), SelectionOptions(count=50)) for _ in range(2))
    np.testing.assert_array_equal(first.points_world_l3, second.points_world_l3)


def test_a_landmark_file_comes_back_and_damage_is_told(tmp_path):
    found = select_landmarks(walk_past_a_wall(), SelectionOptions(count=50))
    path = tmp_path / "landmarks.safetensors"
    found.save(path)
    back = LandmarkSet.load(tmp_path)
    np.testing.assert_array_equal(back.visibility_fl, found.visibility_fl)
    np.testing.assert_array_equal(back.pixels_fl2, found.pixels_fl2)
    assert back.frame_names == found.frame_names
    assert back.report["count"] == 50
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        LandmarkSet.load(path)
    path.unlink()
    with pytest.raises(InputError, match="run `geo-train landmarks"):
        LandmarkSet.load(path)


def test_restricting_a_map_keeps_only_what_those_frames_saw():
    scene = walk_past_a_wall()
    names = [name for name in scene.frame_names if name.startswith("walk1")][:5]
    part = scene.restricted_to(names)
    assert part.frame_names == names
    assert part.tracks.frame_m.max() == 4
    assert len(part.points_world_n3) == len(np.unique(part.tracks.point_m)) < len(scene.points_world_n3)
    pixels_fn2, _ = project_all(part.points_world_n3, np.stack(list(part.T_world_camera.values())), [CAMERA] * 5)
    np.testing.assert_allclose(part.tracks.pixels_m2, pixels_fn2[part.tracks.frame_m, part.tracks.point_m], atol=1e-9)
