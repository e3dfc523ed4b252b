"""Bundle adjustment with pose priors, on exact geometry: what it finds, its derivatives, what becomes of drift."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from geo_training.datasets.scene import Frame
from geo_training.mapping.bundle_adjustment import Bundle, Observations, PosePriors, _cost, _Reduced, adjust
from geo_training.mapping.recorded_poses import STEPS, GivenSigmas, RecordedPoses

from geo_perception.geometry import invert_pose, make_pose, pose_error, so3_exp

FOCAL_PX, PIXEL = 300.0, 0.3


def walk_round(count=80, points=400, seed=0):
    """True poses (F, 4, 4) of a walk along a wall and back, and a bundle and observations with PIXEL of noise."""
    rng = np.random.default_rng(seed)
    along = np.linspace(0, 2 * np.pi, count)
    T_f44 = np.stack(
        [make_pose(so3_exp([0, 0.2 * np.sin(2 * a), 0]), [3 - 3 * np.cos(a), 0.3 * np.sin(a), 0.1 * a]) for a in along]
    )
    points_p3 = rng.uniform([-2, -1.5, 3], [8, 1.5, 6], (points, 3))
    frame_m, point_m = map(np.ravel, np.meshgrid(np.arange(count), np.arange(points), indexing="ij"))
    bundle = Bundle(T_f44, points_p3, np.array([[FOCAL_PX, 0.0]]), np.array([False]))
    seen = Observations(frame_m, point_m, np.zeros_like(frame_m), np.zeros((len(frame_m), 2)))
    pixels_m2 = bundle.residuals(bundle.local(seen), seen)
    inside_m = (np.abs(pixels_m2) < [160, 120]).all(axis=1)
    noise_m2 = rng.normal(size=pixels_m2.shape) * PIXEL
    return bundle, Observations(*(c[inside_m] for c in (frame_m, point_m, seen.camera_m, pixels_m2 + noise_m2)))


def drifted(T_f44, step_m=0.01, step_rad=0.003, seed=1):
    rng, found = np.random.default_rng(seed), [T_f44[0]]
    for before, after in itertools.pairwise(T_f44):
        error = make_pose(so3_exp(step_rad * rng.normal(size=3)), step_m * rng.normal(size=3))
        found.append(found[-1] @ invert_pose(before) @ after @ error)
    return np.stack(found)


def frames_of(T_f44):
    return [Frame(f"a/{i:03d}", "a", i, "c", T_world_camera=T) for i, T in enumerate(T_f44)]


def motion_errors(estimated_f44, true_f44, step):
    """Median error over `step` frames: metres, radians."""
    motions = (invert_pose(T_f44[:-step]) @ T_f44[step:] for T_f44 in (true_f44, estimated_f44))
    return np.median([pose_error(a, b) for a, b in zip(*motions, strict=True)], axis=0)


def test_drift_is_spread_and_its_size_is_found():
    truth, seen = walk_round()
    recorded_f44 = drifted(truth.T_world_camera_f44)
    recorded = RecordedPoses(frames_of(recorded_f44))
    index_of = {name: index for index, name in enumerate(recorded.names)}
    start = replace(truth, T_world_camera_f44=recorded_f44)
    loose = adjust(start, seen, recorded.priors(index_of, recorded.loose_sigmas()), PIXEL)
    sigmas = recorded.estimated_sigmas(loose.T_world_camera_f44)
    np.testing.assert_allclose(sigmas.motion_s[:2], [0.01, 0.02], rtol=0.4)  # the root of the steps
    np.testing.assert_allclose(sigmas.motion_rad_s[:2], [0.003, 0.006], rtol=0.4)
    found = adjust(start, seen, recorded.priors(index_of, sigmas), PIXEL)
    for step in (2, 10):
        before = motion_errors(recorded_f44, truth.T_world_camera_f44, step)
        after = motion_errors(found.T_world_camera_f44, truth.T_world_camera_f44, step)
        assert (after < 0.3 * before).all()
    # The images know no scale: it is that of the recorded motion, within what drift does to it.
    way = [np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).sum() for T in
           (found.T_world_camera_f44, truth.T_world_camera_f44)]  # fmt: skip
    assert way[0] / way[1] == pytest.approx(1, abs=0.02)


def test_without_images_the_priors_alone_are_met():
    truth, seen = walk_round(12)
    recorded_f44 = drifted(truth.T_world_camera_f44)
    recorded = RecordedPoses(frames_of(recorded_f44))
    index_of = {name: index for index, name in enumerate(recorded.names)}
    sure = GivenSigmas(1e-4, 1e-4, 1e-4, 1e-4).over(recorded.loose_sigmas())
    found = adjust(truth, seen, recorded.priors(index_of, sure), 1e3)
    np.testing.assert_allclose(found.T_world_camera_f44, recorded_f44, atol=1e-4)


def test_outliers_do_not_pull():
    truth, seen = walk_round(20)
    wrong_m = np.random.default_rng(3).random(len(seen.frame_m)) < 0.05
    seen = replace(seen, pixels_m2=np.where(wrong_m[:, None], seen.pixels_m2 + 60, seen.pixels_m2))
    recorded = RecordedPoses(frames_of(drifted(truth.T_world_camera_f44)))
    priors = recorded.priors({name: index for index, name in enumerate(recorded.names)}, recorded.loose_sigmas())
    found = adjust(replace(truth, T_world_camera_f44=recorded.T_n44), seen, priors, PIXEL)
    assert np.median(found.reprojection_errors(seen)[~wrong_m]) < 1.5 * PIXEL
    assert np.median(found.reprojection_errors(seen)[wrong_m]) > 50


def test_a_guessed_camera_comes_out_of_the_adjustment():
    truth, seen = walk_round(30)
    recorded = RecordedPoses(frames_of(truth.T_world_camera_f44))
    sure = GivenSigmas(1e-3, 1e-4, 1e-3, 1e-4).over(recorded.loose_sigmas())
    priors = recorded.priors({name: index for index, name in enumerate(recorded.names)}, sure)
    start = replace(truth, lens_c2=np.array([[330.0, 0.05]]), free_c=np.array([True]))
    focal_px, radial = adjust(start, seen, priors, PIXEL).lens_c2[0]
    assert focal_px == pytest.approx(FOCAL_PX, rel=0.005)
    assert radial == pytest.approx(0, abs=0.005)


def test_the_gradient_is_that_of_the_cost():
    rng = np.random.default_rng(0)
    T_f44 = np.stack([make_pose(so3_exp(0.1 * rng.normal(size=3)), 0.3 * rng.normal(size=3)) for _ in range(3)])
    lens_c2 = np.array([[300.0, 0.05], [280.0, 0.0]])
    bundle = Bundle(T_f44, rng.uniform([-1, -1, 3], [1, 1, 5], (5, 3)), lens_c2, np.array([True, False]))
    frame_m, point_m = map(np.ravel, np.meshgrid(np.arange(3), np.arange(5)))
    seen = Observations(frame_m, point_m, frame_m % 2, np.zeros((15, 2)))
    seen = replace(seen, pixels_m2=bundle.residuals(bundle.local(seen), seen) + rng.normal(size=(15, 2)))
    measured_k44 = np.stack([make_pose(so3_exp(0.3 * rng.normal(size=3)), rng.normal(size=3)) for _ in range(3)])
    priors = PosePriors(
        np.array([-1, 0, 1]), np.array([0, 1, 2]), measured_k44, np.full(3, 1.0), np.full(3, 0.5), np.full(3, 0.7)
    )
    system, tiny = _Reduced.of(bundle, seen, priors, 1.0), 1e-6
    shapes = ((3, 6), (5, 3), (2, 2))
    stated = (system.gradient_b6[:3], system.gradient_p3, system.gradient_b6[3:, :2])
    for part, gradient in enumerate(stated):
        for place in np.ndindex(gradient.shape):
            costs = []
            for sign in (1, -1):
                steps = [np.zeros(shape) for shape in shapes]
                steps[part][place] = sign * tiny
                costs.append(_cost(bundle.moved(*steps), seen, priors, 1.0))
            if part == 2 and place[0] == 1:
                assert gradient[place] == 0  # a known camera stays
            else:
                # The cost is the sum of squares, the normal equations are of half of it.
                assert gradient[place] == pytest.approx((costs[0] - costs[1]) / (4 * tiny), rel=1e-3, abs=1e-3)


def test_steps_stay_within_a_sequence_and_frames_without_a_pose_are_passed_over():
    frames = [replace(f, sequence="ab"[i >= 6], name=f"{'ab'[i >= 6]}/{i}") for i, f in
              enumerate(frames_of(np.stack([make_pose(np.eye(3), [0.1 * i, 0, 0]) for i in range(12)])))]  # fmt: skip
    frames[2] = replace(frames[2], T_world_camera=None)
    recorded = RecordedPoses(frames)
    assert len(recorded.names) == 11
    index_of = {frame.name: index for index, frame in enumerate(frames)}
    priors = recorded.priors(index_of, recorded.loose_sigmas())
    pairs = set(zip(priors.a_k.tolist(), priors.b_k.tolist(), strict=True))
    assert {(1, 3), (0, 5), (6, 10)} <= pairs  # 0, 1, 3, 4, 5: five frames of the first sequence
    assert (5, 6) not in pairs
    assert not any(2 in pair for pair in pairs)
    absolute = priors.a_k == -1
    assert absolute.sum() == 11
    np.testing.assert_allclose(priors.weight_k[absolute], 1 / 11)
    assert recorded.length == pytest.approx(1.0)
    # Across the frame left out the way is twice as long, and the error the root of two.
    across = priors.sigma_k[(priors.a_k == 1) & (priors.b_k == 3)]
    beside = priors.sigma_k[(priors.a_k == 3) & (priors.b_k == 4)]
    assert across / beside == pytest.approx(np.sqrt(2))


def test_a_step_with_too_few_motions_grows_from_the_one_before():
    truth, _ = walk_round(12)
    T_f44 = truth.T_world_camera_f44
    sigmas = RecordedPoses(frames_of(drifted(T_f44))).estimated_sigmas(T_f44)
    assert STEPS == (1, 4, 16, 64)
    assert sigmas.motion_s[3] == pytest.approx(2 * sigmas.motion_s[2])
    assert sigmas.motion_rad_s[2] == pytest.approx(2 * sigmas.motion_rad_s[1])
