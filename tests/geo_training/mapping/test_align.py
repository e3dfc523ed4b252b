"""A map is brought into the recorded world in spite of poses that are wrong; known distances are checked."""

import contextlib

import numpy as np
import pytest
from geo_training.mapping.align import robust_similarity
from geo_training.mapping.known_distances import KnownDistance, find_frame, parse_known_distance, scale_from_distances
from geo_training.metrics.similarity import Similarity, umeyama

from geo_perception.errors import InputError
from geo_perception.geometry import make_pose, so3_exp

TRUE = Similarity(2.5, so3_exp(np.array([0.3, -0.5, 1.1])), np.array([4.0, -1.0, 0.5]))


def walk(count=40, straight=False, seed=0):
    rng = np.random.default_rng(seed)
    steps = np.linspace(0, 1, count)
    positions = np.c_[3 * steps, np.zeros(count), np.zeros(count)]
    if not straight:
        positions += np.c_[np.zeros(count), np.sin(6 * steps), 0.3 * np.cos(4 * steps)]
    return np.stack([make_pose(so3_exp(rng.normal(size=3)), p) for p in positions])


def test_umeyama_finds_an_exact_similarity():
    points = np.random.default_rng(0).normal(size=(10, 3))
    found = umeyama(points, TRUE.points(points))
    assert found.scale == pytest.approx(2.5, rel=1e-12)
    np.testing.assert_allclose(found.R_33, TRUE.R_33, atol=1e-12)
    np.testing.assert_allclose(found.t_3, TRUE.t_3, atol=1e-12)


def test_a_mirrored_set_of_points_still_gives_a_rotation():
    points = np.random.default_rng(0).normal(size=(10, 3))
    assert np.linalg.det(umeyama(points, points * [1, 1, -1]).R_33) == pytest.approx(1.0)


@pytest.mark.parametrize("straight", [False, True])
def test_exact_poses_give_the_exact_similarity_even_along_a_line(straight):
    poses = walk(straight=straight)
    found = robust_similarity(poses, TRUE.poses(poses))
    assert found.similarity.scale == pytest.approx(2.5, rel=1e-9)
    np.testing.assert_allclose(found.similarity.R_33, TRUE.R_33, atol=1e-9)
    np.testing.assert_allclose(found.similarity.t_3, TRUE.t_3, atol=1e-9)
    assert found.inlier_n.all()
    assert found.residual < 1e-9
    assert found.scale_spread < 1e-9


def test_a_third_of_wrong_poses_does_not_move_it():
    poses = walk(60)
    recorded = TRUE.poses(poses)
    rng = np.random.default_rng(1)
    wrong = rng.choice(60, 20, replace=False)
    recorded[wrong, :3, 3] += rng.normal(0, 3, (20, 3))
    recorded[:, :3, 3] += rng.normal(0, 0.005, (60, 3))
    found = robust_similarity(poses, recorded)
    assert found.similarity.scale == pytest.approx(2.5, rel=0.003)
    assert np.linalg.norm(found.similarity.points(poses[:, :3, 3]) - TRUE.poses(poses)[:, :3, 3], axis=1).max() < 0.02
    assert found.inlier_n.sum() >= 36
    assert not found.inlier_n[wrong].any()
    assert found.residual == pytest.approx(0.0077, abs=0.004)


def test_the_stated_spread_of_the_scale_is_about_its_true_error():
    poses = walk(60)
    scales, spreads = [], []
    for seed in range(8):
        recorded = TRUE.poses(poses)
        recorded[:, :3, 3] += np.random.default_rng(seed).normal(0, 0.05, (60, 3))
        found = robust_similarity(poses, recorded)
        scales.append(found.similarity.scale / 2.5)
        spreads.append(found.scale_spread)
    assert 0.4 < np.std(scales) / np.mean(spreads) < 2.5


def spoiled(kind, share, seed, count=40, noise=0.01):
    """A walk and its recorded poses, of which a share is wrong in the way that is named."""
    rng = np.random.default_rng(seed)
    poses = walk(count, seed=seed)
    recorded = TRUE.poses(poses)
    recorded[:, :3, 3] += rng.normal(0, noise, (count, 3))
    wrong = rng.choice(count, round(share * count), replace=False)
    low, high = recorded[:, :3, 3].min(axis=0), recorded[:, :3, 3].max(axis=0)
    if kind == "far away":
        recorded[wrong, :3, 3] += rng.normal(0, 3, (len(wrong), 3))
    elif kind == "anywhere in the room":
        recorded[wrong, :3, 3] = rng.uniform(low, high, (len(wrong), 3))
    elif kind == "those of other frames":
        recorded[wrong] = recorded[rng.permutation(wrong)]
    elif kind == "turned too":
        recorded[wrong, :3, 3] += rng.normal(0, 2, (len(wrong), 3))
        recorded[wrong, :3, :3] = so3_exp(rng.normal(0, 2, (len(wrong), 3)))
    elif kind == "of another scale":
        recorded[wrong, :3, 3] = low + 1.4 * (recorded[wrong, :3, 3] - low)
    return poses, recorded


KINDS = ["far away", "anywhere in the room", "those of other frames", "turned too", "of another scale"]


@pytest.mark.parametrize("kind", KINDS)
def test_most_poses_wrong_is_refused_or_still_right(kind):
    """55 % wrong: what is accepted has the right scale, or says how little is known of it."""
    for seed in range(8):
        poses, recorded = spoiled(kind, 0.55, seed)
        with contextlib.suppress(InputError):
            found = robust_similarity(poses, recorded)
            assert found.inlier_n.sum() > 20
            assert abs(found.similarity.scale / 2.5 - 1) < max(0.01, 3 * found.scale_spread)


@pytest.mark.parametrize("kind", KINDS)
def test_four_in_ten_wrong_poses_do_not_move_it(kind):
    for seed in range(4):
        poses, recorded = spoiled(kind, 0.4, seed)
        found = robust_similarity(poses, recorded)
        assert found.similarity.scale == pytest.approx(2.5, rel=0.01)
        assert 24 <= found.inlier_n.sum() <= 28  # a pose of another frame may be near the right one


@pytest.mark.parametrize(("share", "accepted"), [(0.45, True), (0.5, False), (0.65, False)])
def test_a_majority_is_needed(share, accepted):
    for seed in range(3):
        if accepted:
            robust_similarity(*spoiled("far away", share, seed))
        else:
            with pytest.raises(InputError, match=r"only \d+ of 40 recorded poses agree"):
                robust_similarity(*spoiled("far away", share, seed))


def test_two_scales_that_nearly_as_many_poses_tell_are_refused():
    """From the 23rd of 40 poses on, everything was recorded at 1.4 times the scale, without another error."""
    poses = walk(40)
    recorded = TRUE.poses(poses)
    recorded[22:, :3, 3] = recorded[22, :3, 3] + 1.4 * (recorded[22:, :3, 3] - recorded[22, :3, 3])
    with pytest.raises(InputError, match=r"23 of 40 .* is 2\.5, 17 others say 3\.5"):
        robust_similarity(poses, recorded)


def test_the_spread_counts_that_the_minority_might_be_right():
    """A third at another scale: the answer is right, but another draw of so few poses might have told otherwise."""
    poses, recorded = spoiled("of another scale", 0.4, 0, count=20)
    found = robust_similarity(poses, recorded)
    assert found.similarity.scale == pytest.approx(2.5, rel=0.01)
    assert found.scale_spread > 0.03


def test_a_robot_that_mostly_stands_is_aligned():
    rng = np.random.default_rng(0)
    poses = walk(60)
    poses[:40, :3, 3] = poses[0, :3, 3]
    recorded = TRUE.poses(poses)
    recorded[:, :3, 3] += rng.normal(0, 0.005, (60, 3))
    poses[:, :3, 3] += rng.normal(0, 0.001, (60, 3))
    found = robust_similarity(poses, recorded)
    assert found.similarity.scale == pytest.approx(2.5, rel=0.01)
    assert found.inlier_n.sum() >= 57


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_the_unit_of_the_map_does_not_matter(unit):
    poses, recorded = spoiled("far away", 0.4, 1)
    poses[:, :3, 3] *= unit
    found = robust_similarity(poses, recorded)
    assert found.similarity.scale == pytest.approx(2.5 / unit, rel=0.01)
    assert found.inlier_n.sum() == 24


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (walk(2), "are needed"),
        (np.stack([np.eye(4)] * 10), "did not move"),
    ],
)
def test_what_cannot_be_aligned_is_refused(poses, message):
    with pytest.raises(InputError, match=message):
        robust_similarity(poses, poses)


def test_poses_that_have_nothing_to_do_with_the_map_are_refused():
    a, b = walk(40, seed=1), walk(40, seed=2)
    rng = np.random.default_rng(0)
    a[:, :3, 3], b[:, :3, 3] = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    with pytest.raises(InputError, match="recorded poses agree"):
        robust_similarity(a, b)


def places(**positions):
    return {f"walk/{name}.jpg": make_pose(np.eye(3), np.array(p, float)) for name, p in positions.items()}


def test_two_known_distances_give_the_scale():
    scene = places(a=(0, 0, 0), b=(1, 0, 0), c=(1, 2, 0))
    known = [parse_known_distance("a b 3.03"), parse_known_distance("walk/b.jpg walk/c.jpg 6")]
    scale, disagreement = scale_from_distances(scene, known)
    assert scale == pytest.approx(np.sqrt(3.03 * 3.0))
    assert disagreement == pytest.approx(0.03 / (2 * scale))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a b 3"], "cannot be checked"),
        (["a b 3", "walk/b.jpg walk/a.jpg 3"], "cannot be checked"),
        (["a b 3", "b c 7.2"], "disagree: they give 3, 3.6 metres"),
        (["a b 3", "a d 3"], "'d' is not in the map"),
        (["a b 3", "a e 3"], "taken from one place"),
    ],
)
def test_known_distances_that_cannot_be_used(texts, message):
    scene = places(a=(0, 0, 0), b=(1, 0, 0), c=(1, 2, 0), e=(0, 0, 0))
    with pytest.raises(InputError, match=message):
        scale_from_distances(scene, [parse_known_distance(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("'a room/1 b.jpg' 'c #2.jpg' 2.5", ("a room/1 b.jpg", "c #2.jpg")),
        ('"a room/1.jpg" é/2.jpg 2.5', ("a room/1.jpg", "é/2.jpg")),
        ("bob's/1.jpg bob's/2.jpg 2.5", ("bob's/1.jpg", "bob's/2.jpg")),
    ],
)
def test_names_of_frames_may_hold_blanks(text, frames):
    assert parse_known_distance(text) == KnownDistance(*frames, 2.5)


@pytest.mark.parametrize("text", ["", "a b", "a b nothing", "a b -1", "a b nan", "a b inf", "a a 2", "a b 2 m"])
def test_a_distance_that_is_not_one(text):
    with pytest.raises(InputError, match="is not two frames and a distance"):
        parse_known_distance(text)


def test_a_frame_name_that_fits_several_frames_is_refused():
    with pytest.raises(InputError, match=r"could be one/7\.jpg or two/7\.jpg"):
        find_frame("7", ["one/7.jpg", "two/7.jpg"])


def test_a_known_distance_keeps_its_parts():
    assert parse_known_distance(" a  b 2.5 ") == KnownDistance("a", "b", 2.5)
