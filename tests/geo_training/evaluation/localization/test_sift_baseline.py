"""SIFT + PnP on a textured wall whose geometry is exact."""

import cv2
import numpy as np
import pytest
from geo_training.evaluation.localization.sift_baseline import SiftLocalizer, SiftMap

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose, pose_error, so3_exp
from geo_perception.localization.result import Verdict

CAMERA = Camera(320, 240, 260.0, 260.0, 159.5, 119.5)
WALL_M = 2.0  # the wall is the plane z = 2 m of the map


@pytest.fixture(scope="module")
def wall():
    """What a camera at the map's origin sees: blobs and edges of every size."""
    rng = np.random.default_rng(3)
    image = np.full((240, 320, 3), 128, np.uint8)
    for _ in range(160):
        center, radius = (int(rng.integers(320)), int(rng.integers(240))), int(rng.integers(3, 16))
        cv2.circle(image, center, radius, rng.integers(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    return image


@pytest.fixture(scope="module")
def localizer(wall):
    pixels_n2, descriptors_n128 = SiftLocalizer(SiftMap(np.zeros((8, 128), np.uint8), np.arange(8), np.zeros((8, 3)))
                                                ).extract(wall)  # fmt: skip
    points_n3 = np.concatenate([CAMERA.normalize(pixels_n2), np.ones((len(pixels_n2), 1))], axis=1) * WALL_M
    return SiftLocalizer(SiftMap(descriptors_n128.astype(np.uint8), np.arange(len(points_n3), dtype=np.int32),
                                 points_n3.astype(np.float32)))  # fmt: skip


def seen_from(wall, T_map_camera):
    """The wall from another place: the homography of the plane z = WALL_M."""
    T = invert_pose(T_map_camera)
    H = CAMERA.K @ (T[:3, :3] + np.outer(T[:3, 3], [0, 0, 1 / WALL_M])) @ np.linalg.inv(CAMERA.K)
    return cv2.warpPerspective(wall, H, (320, 240), flags=cv2.INTER_CUBIC, borderValue=(128, 128, 128))


def test_the_pose_of_another_view_is_found(wall, localizer):
    T_true = make_pose(so3_exp(np.radians([2, -3, 5])), [0.12, -0.06, 0.15])
    result = localizer.estimate(seen_from(wall, T_true), CAMERA)
    assert result.verdict is Verdict.LOCALIZED
    distance_m, angle_rad = pose_error(T_true, result.T_map_camera)
    assert distance_m < 0.01
    assert np.degrees(angle_rad) < 0.3
    assert result.detections.inlier_n.sum() >= 30
    assert set(result.timings_s) == {"extract", "match", "pose"}


def test_wrong_matches_that_score_best_do_not_hide_the_pose(wall, localizer, monkeypatch):
    T_true = make_pose(so3_exp(np.radians([2, -3, 5])), [0.12, -0.06, 0.15])
    view, match = seen_from(wall, T_true), localizer.match
    right = len(match(localizer.extract(view)[1])[0])

    def confused(descriptors_n128):
        feature_k, point_k, score_k = match(descriptors_n128)
        rng = np.random.default_rng(0)
        wrong = rng.integers(0, [[len(descriptors_n128)], [len(localizer.map.points_map_p3)]], (2, right))
        return np.r_[wrong[0], feature_k], np.r_[wrong[1], point_k], np.r_[np.full(right, 0.99), 0.2 * score_k]

    monkeypatch.setattr(localizer, "match", confused)
    for seed in range(5):
        result = localizer.estimate(view, CAMERA, seed=seed)
        assert pose_error(T_true, result.T_map_camera)[0] < 0.01
        assert result.detections.inlier_n[:right].mean() < 0.05


def test_the_same_image_gives_the_same_pose(wall, localizer):
    poses = [localizer.estimate(wall, CAMERA, seed=1).T_map_camera for _ in range(2)]
    assert np.array_equal(poses[0], poses[1])
    assert pose_error(np.eye(4), poses[0])[0] < 1e-3


def test_a_blank_image_is_not_localized(localizer):
    result = localizer.estimate(np.full((240, 320, 3), 90, np.uint8), CAMERA)
    assert result.verdict is Verdict.TOO_FEW_LANDMARKS
    assert result.T_map_camera is None


def test_the_ratio_test_compares_with_another_point():
    """Two descriptors of point 0 are alike; that must not hide that point 1 is far."""
    descriptors = np.zeros((4, 128), np.uint8)
    descriptors[0, 0], descriptors[1, 0], descriptors[2, 1], descriptors[3, 1] = 200, 198, 200, 190
    localizer = SiftLocalizer(SiftMap(descriptors, np.array([0, 0, 1, 2], np.int32), np.zeros((3, 3), np.float32)))
    query = np.zeros((2, 128), np.float32)
    query[0, 0] = 199  # near both of point 0
    query[1, 1] = 195  # as near to point 1 as to point 2
    features, points, _ = localizer.match(query)
    assert features.tolist() == [0]
    assert points.tolist() == [0]


def test_the_bytes_are_counted_plainly():
    sift_map = SiftMap(np.zeros((10, 128), np.uint8), np.zeros(10, np.int32), np.zeros((4, 3), np.float32))
    assert sift_map.descriptor_bytes == 1280
    assert sift_map.size_bytes == 1280 + 40 + 48


def test_a_dataset_without_a_map_is_answered_with_one_line(tmp_path):
    with pytest.raises(InputError, match="geo-train map"):
        SiftMap.from_dataset(tmp_path)
