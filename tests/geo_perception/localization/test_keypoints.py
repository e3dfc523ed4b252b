"""Keypoints that make poses exact: where they are, and which point each belongs to."""

import cv2
import numpy as np
import pytest

from geo_perception.geometry import Camera, make_pose, pose_error, so3_exp
from geo_perception.localization.keypoints import KeypointDetector, snap_to_keypoints

CAMERA = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
T_TRUE = make_pose(so3_exp(np.array([0.2, -0.4, 0.1])), np.array([1.0, -2.0, 0.5]))
T_NEAR = make_pose(so3_exp(np.array([0.002, -0.003, 0.001])) @ T_TRUE[:3, :3], T_TRUE[:3, 3] + [0.004, -0.003, 0.002])
CENTRES_K2 = np.array([[40.3, 50.7], [60.0, 130.0], [120.5, 60.25], [200.1, 149.9], [260.75, 30.4]])


def image_of_blobs(centres_k2: np.ndarray, sigma_px: float = 2.0) -> np.ndarray:
    y_hw, x_hw = np.mgrid[:200, :320]
    grey_hw = np.full(y_hw.shape, 60.0)
    for x_px, y_px in centres_k2:
        grey_hw += 150 * np.exp(-((x_hw - x_px) ** 2 + (y_hw - y_px) ** 2) / (2 * sigma_px**2))
    return cv2.cvtColor(grey_hw.round().astype(np.uint8), cv2.COLOR_GRAY2RGB)


@pytest.fixture(params=["this OpenCV", "an older OpenCV"])
def detector(request, monkeypatch) -> KeypointDetector:
    """The detector as it is, and as it is where OpenCV places keypoints beside where they are."""
    if request.param == "an older OpenCV":
        create = cv2.SIFT_create

        def older(*arguments):
            if len(arguments) > 5:
                raise TypeError("SIFT_create() takes at most 5 arguments (6 given)")
            return create(*arguments)

        monkeypatch.setattr(cv2, "SIFT_create", older)
    return KeypointDetector()


@pytest.mark.parametrize("sigma_px", [2.0, 3.0, 5.0])
def test_blobs_are_found_once_each_at_their_centres(detector, sigma_px):
    pixels_k2 = detector.detect(image_of_blobs(CENTRES_K2, sigma_px)).places_n2
    distance_kk = np.linalg.norm(pixels_k2[:, None] - CENTRES_K2[None], axis=2)
    assert distance_kk.min(axis=0).max() < 0.1
    # Nothing else is found; a blob of several orientations is there once, or again at the same place but for rounding.
    assert (distance_kk.min(axis=1) < 0.1).all()


def test_a_plain_image_has_no_keypoints(detector):
    assert detector.detect(np.full((100, 120, 3), 90, np.uint8)).places_n2.shape == (0, 2)


def test_faint_blobs_are_no_keypoints(detector):
    faint = (image_of_blobs(CENTRES_K2).astype(float) - 60) * 0.02 + 60
    assert len(detector.detect(faint.round().astype(np.uint8))) == 0


def points_and_pixels(count: int, seed: int = 0):
    """Points 2 to 6 m before T_TRUE whose pixels are at least 10 apart."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(40 * 30, count, replace=False)
    pixels_n2 = np.stack([cells % 40, cells // 40], axis=1) * 16.0 + rng.uniform(3, 12, (count, 2))
    local_n3 = np.c_[CAMERA.normalize(pixels_n2), np.ones(count)] * rng.uniform(2, 6, (count, 1))
    return local_n3 @ T_TRUE[:3, :3].T + T_TRUE[:3, 3], pixels_n2


def test_exact_keypoints_among_clutter_give_the_exact_pose():
    points_n3, pixels_n2 = points_and_pixels(200)
    rng = np.random.default_rng(1)
    clutter_k2 = rng.uniform([0, 0], [640, 480], (600, 2))
    keypoints_k2 = rng.permutation(np.concatenate([pixels_n2[:150], clutter_k2]))
    found_n2 = pixels_n2 + rng.normal(0, 1.0, pixels_n2.shape)
    solution, kept, snapped_k2 = snap_to_keypoints(T_NEAR, found_n2, points_n3, keypoints_k2, CAMERA)
    distance_m, angle_rad = pose_error(T_TRUE, solution.T_map_camera)
    assert distance_m < 1e-3
    assert angle_rad < 1e-3
    assert len(solution.inlier_n) == len(kept) == len(snapped_k2) == len(np.unique(snapped_k2, axis=0))
    right_k = np.linalg.norm(snapped_k2 - pixels_n2[kept], axis=1) < 1e-9
    assert right_k.sum() > 120
    assert right_k.mean() > 0.9


def test_without_clutter_every_point_has_its_own_keypoint():
    points_n3, pixels_n2 = points_and_pixels(60)
    solution, kept, snapped_k2 = snap_to_keypoints(T_NEAR, pixels_n2, points_n3, pixels_n2[::-1], CAMERA)
    assert max(pose_error(T_TRUE, solution.T_map_camera)) < 1e-6
    assert sorted(kept) == list(range(60))
    np.testing.assert_array_equal(snapped_k2, pixels_n2[kept])


@pytest.mark.parametrize("count", [0, 5, 14])
def test_fewer_than_fifteen_keypoints_give_no_pose(count):
    points_n3, pixels_n2 = points_and_pixels(40)
    assert snap_to_keypoints(T_NEAR, pixels_n2, points_n3, pixels_n2[:count], CAMERA) is None


def test_keypoints_that_are_not_where_the_points_are_give_no_pose():
    points_n3, pixels_n2 = points_and_pixels(40)
    assert snap_to_keypoints(T_NEAR, pixels_n2, points_n3, pixels_n2 + 7.0, CAMERA) is None


def test_a_keypoint_far_from_where_the_features_were_found_is_not_that_of_the_point():
    points_n3, pixels_n2 = points_and_pixels(40)
    found_n2 = pixels_n2 + np.where(np.arange(40) < 20, 0.0, 5.0)[:, None]  # half of them 7 px from their keypoints
    _, kept, _ = snap_to_keypoints(T_NEAR, found_n2, points_n3, pixels_n2, CAMERA)
    assert sorted(kept) == list(range(20))


def test_of_two_points_at_one_keypoint_the_nearer_has_it():
    points_n3, pixels_n2 = points_and_pixels(40)
    beside_3 = CAMERA.bearings(pixels_n2[:1] + [1.0, 0.0])[0] * 3 @ T_TRUE[:3, :3].T + T_TRUE[:3, 3]
    points_n3, found_n2 = np.vstack([beside_3, points_n3]), np.vstack([pixels_n2[:1], pixels_n2])
    _, kept, snapped_k2 = snap_to_keypoints(T_TRUE, found_n2, points_n3, pixels_n2, CAMERA)
    assert sorted(kept) == list(range(1, 41))
    assert len(snapped_k2) == 40


def test_points_behind_the_camera_have_no_keypoint():
    points_n3, pixels_n2 = points_and_pixels(30)
    points_n3[0] = T_TRUE[:3, 3] - T_TRUE[:3, 2]
    _, kept, _ = snap_to_keypoints(T_NEAR, pixels_n2, points_n3, pixels_n2, CAMERA)
    assert sorted(kept) == list(range(1, 30))
