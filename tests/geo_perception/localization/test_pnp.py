"""The pose from detections: exact on exact data, robust to confusions, and honest about its uncertainty."""

import numpy as np
import pytest
from scipy.stats import chi2

from geo_perception.geometry import Camera, invert_pose, make_pose, pose_error, so3_exp, so3_log
from geo_perception.localization.pnp import PoseOptions, refine_pose, refine_solution, reprojection_px, solve_pose

CAMERA = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
T_TRUE = make_pose(so3_exp(np.array([0.2, -0.4, 0.1])), np.array([1.0, -2.0, 0.5]))


def scene(points: int, seed: int = 0):
    """Points in front of T_TRUE at 2 to 6 m, and their exact pixels."""
    rng = np.random.default_rng(seed)
    z_n = rng.uniform(2, 6, points)
    pixels_n2 = rng.uniform([0, 0], [639, 479], (points, 2))
    local_n3 = np.c_[CAMERA.normalize(pixels_n2), np.ones(points)] * z_n[:, None]
    return local_n3 @ T_TRUE[:3, :3].T + T_TRUE[:3, 3], pixels_n2


def test_exact_detections_give_the_exact_pose():
    points_n3, pixels_n2 = scene(30)
    solution = solve_pose(pixels_n2, points_n3, np.ones(30), np.ones(30), CAMERA)
    distance_m, angle_rad = pose_error(T_TRUE, solution.T_map_camera)
    assert distance_m < 1e-6
    assert angle_rad < 1e-6
    assert solution.inlier_n.all()


def test_confusions_are_rejected_and_named_in_the_order_they_were_given():
    points_n3, pixels_n2 = scene(60)
    rng = np.random.default_rng(1)
    wrong_n = np.arange(60) % 3 == 0
    pixels_n2[wrong_n] = rng.uniform([0, 0], [639, 479], (wrong_n.sum(), 2))
    score_n = np.where(wrong_n, 0.4, 0.6) + 0.1 * rng.random(60)
    solution = solve_pose(pixels_n2, points_n3, score_n, np.ones(60), CAMERA)
    assert pose_error(T_TRUE, solution.T_map_camera)[0] < 1e-3
    np.testing.assert_array_equal(solution.inlier_n[~wrong_n], True)
    assert solution.inlier_n[wrong_n].sum() <= 1  # one may land on its place by chance


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_confusions_that_score_best_do_not_starve_the_search(share):
    missed = 0
    for seed in range(20):
        points_n3, pixels_n2 = scene(60, seed)
        rng = np.random.default_rng(100 + seed)
        wrong = int(share * 60)
        pixels_n2[:wrong] = rng.uniform([0, 0], [639, 479], (wrong, 2))
        score_n = np.where(np.arange(60) < wrong, 0.9, 0.4) + 0.1 * rng.random(60)
        solution = solve_pose(pixels_n2, points_n3, score_n, np.ones(60), CAMERA, seed=seed)
        missed += solution is None or pose_error(T_TRUE, solution.T_map_camera)[0] > 0.01
    assert missed == 0


@pytest.mark.parametrize("count", [60, 600])
def test_things_that_moved_together_and_score_best_do_not_outvote_what_stayed(count):
    # 48 % of the landmarks agree on another pose (what they are on was moved), and the network is surest of them.
    T_moved = make_pose(so3_exp(np.array([0.15, -0.3, 0.05])), np.array([1.6, -1.7, 0.2]))
    moved = int(0.48 * count)
    for seed in range(5):
        points_n3, pixels_n2 = scene(count, seed)
        local_m3 = (points_n3[:moved] - T_TRUE[:3, 3]) @ T_TRUE[:3, :3]
        points_n3[:moved] = local_m3 @ T_moved[:3, :3].T + T_moved[:3, 3]
        score_n = np.where(np.arange(count) < moved, 0.9, 0.4)
        solution = solve_pose(pixels_n2, points_n3, score_n, np.ones(count), CAMERA, seed=seed)
        assert pose_error(T_TRUE, solution.T_map_camera)[0] < 0.01, seed
        assert solution.inlier_n[moved:].all()


def test_few_right_detections_among_many_wrong_ones_are_found_where_they_score_best():
    # Too few for samples of all detections alike (0.05^3 of them hold only right ones): the order must count.
    for seed in range(10):
        points_n3, pixels_n2 = scene(300, seed)
        rng = np.random.default_rng(200 + seed)
        pixels_n2[15:] = rng.uniform([0, 0], [639, 479], (285, 2))
        score_n = np.where(np.arange(300) < 15, 0.5, 0.0) + rng.random(300)
        solution = solve_pose(pixels_n2, points_n3, score_n, np.ones(300), CAMERA, seed=seed)
        assert pose_error(T_TRUE, solution.T_map_camera)[0] < 0.01, seed


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_four_detections_give_no_pose(count):
    points_n3, pixels_n2 = scene(8)
    assert solve_pose(pixels_n2[:count], points_n3[:count], np.ones(count), np.ones(count), CAMERA) is None


def test_pure_confusion_has_few_inliers():
    points_n3, _ = scene(40)
    pixels_n2 = np.random.default_rng(3).uniform([0, 0], [639, 479], (40, 2))
    solution = solve_pose(pixels_n2, points_n3, np.ones(40), np.ones(40), CAMERA)
    assert solution is None or solution.inlier_n.sum() < 10


def test_same_input_and_seed_give_the_same_pose_to_the_bit():
    points_n3, pixels_n2 = scene(40)
    pixels_n2 = pixels_n2 + np.random.default_rng(0).normal(0, 2, pixels_n2.shape)
    first, second = (solve_pose(pixels_n2, points_n3, np.ones(40), np.ones(40), CAMERA, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.T_map_camera, second.T_map_camera)


def test_refinement_trusts_precise_detections_more():
    points_n3, pixels_n2 = scene(40)
    noisy_n2 = pixels_n2.copy()
    noisy_n2[20:] += np.random.default_rng(2).normal(0, 5, (20, 2))
    sigma_n = np.where(np.arange(40) < 20, 0.1, 5.0)
    weighted, _ = refine_pose(T_TRUE, noisy_n2, points_n3, sigma_n, CAMERA)
    plain, _ = refine_pose(T_TRUE, noisy_n2, points_n3, np.ones(40), CAMERA)
    assert pose_error(T_TRUE, weighted)[0] < 0.2 * pose_error(T_TRUE, plain)[0]


def test_information_is_that_of_numeric_derivatives():
    points_n3, pixels_n2 = scene(12)
    _, information_66 = refine_pose(T_TRUE, pixels_n2, points_n3, np.full(12, 2.0), CAMERA)

    def residual(step_6):
        T = make_pose(so3_exp(step_6[3:]) @ T_TRUE[:3, :3], T_TRUE[:3, 3] + step_6[:3])
        T_inverse = invert_pose(T)
        return ((CAMERA.project(points_n3 @ T_inverse[:3, :3].T + T_inverse[:3, 3]) - pixels_n2) / 2.0).ravel()

    step = 1e-6
    J = np.stack([(residual(step * axis) - residual(-step * axis)) / (2 * step) for axis in np.eye(6)], axis=1)
    np.testing.assert_allclose(information_66, J.T @ J, rtol=1e-4, atol=1e-2)


def test_ninety_percent_of_the_true_poses_lie_in_the_stated_ellipsoid():
    inside = []
    for seed in range(120):
        points_n3, pixels_n2 = scene(40, seed)
        rng = np.random.default_rng(1000 + seed)
        solution = solve_pose(
            pixels_n2 + rng.normal(0, 1.5, pixels_n2.shape), points_n3, np.ones(40), np.full(40, 1.5), CAMERA
        )
        T = solution.T_map_camera
        error_6 = np.r_[T[:3, 3] - T_TRUE[:3, 3], so3_log(T[:3, :3] @ T_TRUE[:3, :3].T)]
        inside.append(error_6 @ np.linalg.solve(solution.covariance_66, error_6) <= chi2.ppf(0.9, 6))
    assert 0.82 <= np.mean(inside) <= 0.98


def test_noise_larger_than_stated_widens_the_covariance():
    points_n3, pixels_n2 = scene(60)
    noisy_n2 = pixels_n2 + np.random.default_rng(4).normal(0, 3, pixels_n2.shape)
    honest = solve_pose(noisy_n2, points_n3, np.ones(60), np.full(60, 3.0), CAMERA)
    boastful = solve_pose(noisy_n2, points_n3, np.ones(60), np.full(60, 1.0), CAMERA)
    assert boastful.noise_scale == pytest.approx(3, rel=0.35)
    ratio = np.trace(boastful.covariance_66) / np.trace(honest.covariance_66)
    assert 0.5 < ratio < 2.0


def test_points_behind_the_camera_are_infinitely_far_off():
    behind_13 = (T_TRUE[:3, 3] - T_TRUE[:3, 2])[None]
    assert reprojection_px(T_TRUE, np.zeros((1, 2)), behind_13, CAMERA)[0] == np.inf


T_NEAR = make_pose(so3_exp(np.array([0.003, -0.002, 0.001])) @ T_TRUE[:3, :3], T_TRUE[:3, 3] + [0.005, -0.005, 0.003])


def test_a_pose_nearby_becomes_the_exact_one_without_a_search():
    points_n3, pixels_n2 = scene(30)
    solution = refine_solution(T_NEAR, pixels_n2, points_n3, np.ones(30), CAMERA)
    assert max(pose_error(T_TRUE, solution.T_map_camera)) < 1e-6
    assert solution.inlier_n.all()
    assert solution.residual_px_n.max() < 1e-3


def test_points_far_from_their_projections_neither_pull_nor_agree():
    points_n3, pixels_n2 = scene(40)
    pixels_n2[:10] += 30.0
    solution = refine_solution(T_NEAR, pixels_n2, points_n3, np.ones(40), CAMERA)
    assert max(pose_error(T_TRUE, solution.T_map_camera)) < 1e-6
    np.testing.assert_array_equal(solution.inlier_n, np.arange(40) >= 10)
    np.testing.assert_allclose(solution.residual_px_n[:10], 30 * 2**0.5, rtol=1e-3)


def test_points_near_their_projections_must_also_agree_within_their_own_sigmas():
    points_n3, pixels_n2 = scene(40)
    pixels_n2[:5] += [6.0, 0.0]
    sigma_px_n = np.full(40, 1.0)
    sigma_px_n[3:5] = 3.0  # 6 px are 6 sigmas of the first three, 2 sigmas of these
    solution = refine_solution(T_NEAR, pixels_n2, points_n3, sigma_px_n, CAMERA)
    np.testing.assert_array_equal(np.flatnonzero(~solution.inlier_n), [0, 1, 2])


def test_refinement_begins_with_the_points_that_it_is_given():
    points_n3, pixels_n2 = scene(40)
    far = make_pose(so3_exp(np.array([0, 0.05, 0])) @ T_TRUE[:3, :3], T_TRUE[:3, 3])  # 25 px: none is near
    assert refine_solution(far, pixels_n2, points_n3, np.ones(40), CAMERA) is None
    given = refine_solution(far, pixels_n2, points_n3, np.ones(40), CAMERA, inlier_n=np.arange(40) < 8)
    assert max(pose_error(T_TRUE, given.T_map_camera)) < 1e-6
    assert given.inlier_n.all()
    wide = refine_solution(far, pixels_n2, points_n3, np.ones(40), CAMERA, PoseOptions(max_error_px=60.0))
    assert max(pose_error(T_TRUE, wide.T_map_camera)) < 1e-6


@pytest.mark.parametrize("count", [0, 3])
def test_fewer_than_four_points_give_no_refined_pose(count):
    points_n3, pixels_n2 = scene(8)
    none = refine_solution(T_NEAR, pixels_n2[:count], points_n3[:count], np.ones(count), CAMERA)
    assert none is None
