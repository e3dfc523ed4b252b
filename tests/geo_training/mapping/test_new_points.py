"""New points from frames whose poses are known, on exact geometry."""

import numpy as np
import pytest
from geo_training.mapping.new_points import PosedKeypoints, match, new_points

from geo_perception.geometry import Camera, make_pose

CAMERA = Camera(480, 352, 340.0, 340.0, 239.5, 175.5)
POINTS, FRAMES = 40, 6


def _points() -> np.ndarray:
    return np.random.default_rng(0).uniform([-1.5, -1.0, 3.0], [1.5, 1.0, 5.0], (POINTS, 3))


def _frames(noise_px: float = 0.0, points_n3: np.ndarray | None = None) -> list[PosedKeypoints]:
    """A camera that moves to the right, 25 cm a frame; every point looks like itself from everywhere."""
    rng, points_n3 = np.random.default_rng(1), _points() if points_n3 is None else points_n3
    looks_nd = np.random.default_rng(2).normal(size=(len(points_n3), 16))
    looks_nd /= np.linalg.norm(looks_nd, axis=1, keepdims=True)
    frames = []
    for number in range(FRAMES):
        T = make_pose(np.eye(3), np.array([0.25 * number - 0.6, 0.02 * number, 0.0]))
        pixels_n2 = CAMERA.project(points_n3 - T[:3, 3]) + rng.normal(0, 1, (len(points_n3), 2)) * noise_px
        frames.append(PosedKeypoints(f"walk/{number}", T, CAMERA, pixels_n2, looks_nd))
    return frames


ALL_PAIRS = [(i, j) for j in range(FRAMES) for i in range(j)]


def test_every_point_is_found_where_it_is_by_all_frames():
    found = new_points(_frames(), ALL_PAIRS)

    assert len(found) == POINTS
    order = [int(np.argmin(np.linalg.norm(_points() - point_3, axis=1))) for point_3 in found.points_n3]
    np.testing.assert_allclose(found.points_n3, _points()[order], atol=1e-6)
    assert np.bincount(found.point_m).tolist() == [FRAMES] * POINTS
    np.testing.assert_array_equal(found.keypoint_m, np.array(order)[found.point_m])
    np.testing.assert_allclose(found.error_px_n, 0, atol=1e-6)


def test_noise_of_half_a_pixel_moves_points_by_centimetres():
    found = new_points(_frames(noise_px=0.5), ALL_PAIRS)

    nearest_n = np.linalg.norm(found.points_n3[:, None] - _points()[None], axis=2).min(axis=1)
    assert len(found) >= 0.9 * POINTS
    assert np.median(nearest_n) < 0.03
    assert 0.2 < np.median(found.error_px_n) < 1.0


def test_a_keypoint_off_the_epipolar_line_is_no_match():
    a, b = _frames()[:2]
    b.pixels_k2[7] += [0.0, 8.0]  # the camera moves to the right, so lines are level

    matched = match(a, b)
    assert 7 not in matched[:, 0]
    assert len(matched) == POINTS - 1


def test_of_two_that_look_alike_on_one_line_none_is_taken():
    points_n3 = _points()
    points_n3[1] = points_n3[0] + [0.4, 0.0, 0.0]
    frames = _frames(points_n3=points_n3)
    for frame in frames:
        frame.descriptors_kd[1] = frame.descriptors_kd[0]

    matched = match(frames[0], frames[1])
    assert not np.isin([0, 1], matched[:, 0]).any()


def test_what_two_frames_saw_or_nearly_one_place_is_no_point():
    frames = _frames()
    assert len(new_points(frames[:2], [(0, 1)])) == 0
    still = [frames[0], frames[0], frames[0]]
    assert len(new_points(still, [(0, 1), (1, 2), (0, 2)])) == 0


@pytest.mark.parametrize("pairs", [[], [(0, 1)]])
def test_empty_frames_give_no_points(pairs):
    empty = PosedKeypoints("walk/x", np.eye(4), CAMERA, np.zeros((0, 2)), np.zeros((0, 16)))
    found = new_points([empty, empty], pairs)

    assert len(found) == 0
    assert found.points_n3.shape == (0, 3)
