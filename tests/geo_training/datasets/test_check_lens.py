"""Pictures whose distortion was taken out twice, or never, are recognized; those in order are not blamed."""

from functools import partial

import cv2
import numpy as np
import pytest
from geo_training.datasets.check.check import check_dataset
from geo_training.datasets.check.findings import Severity
from geo_training.datasets.check.lens import CLEARLY, CLEARLY_SIGMA, check_lens, compare, distorted_by
from geo_training.datasets.matching import Matches
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.datasets.undistort import Undistorter, undistort_pixels

from geo_perception.geometry import Camera, make_pose, so3_exp

STRONG = Camera(640, 480, 480.0, 480.0, 322.0, 238.0, "plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0))
MILD = Camera(640, 480, 480.0, 480.0, 322.0, 238.0, "plumb_bob", (-0.1, 0.02, 0.0, 0.0, 0.0))
FISHEYE = Camera(640, 480, 330.0, 330.0, 322.0, 238.0, "equidistant", (-0.02, 0.003, 0.0, 0.0))
RECTIFIED = Camera(640, 480, 440.0, 440.0, 318.0, 241.0)  # what P says of the pictures that came rectified


def matched(store, posed: bool, seed: int = 0):
    """Ten pairs of views of exact points in space; `store` puts points (N, 3) to the pixels that are stored. A third of
    the matches are wrong, the others are 0.3 px off."""
    rng, pairs = np.random.default_rng(seed), []
    for _ in range(10):
        points_n3 = rng.uniform([-4, -3, 3], [4, 3, 8], (600, 3))
        T_b_a = make_pose(so3_exp(rng.normal(0, 0.08, 3)), rng.normal(0, 0.4, 3))
        pixels = [
            store(p) + rng.normal(0, 0.3, (600, 2)) for p in (points_n3, points_n3 @ T_b_a[:3, :3].T + T_b_a[:3, 3])
        ]
        seen_n = np.all([((p > 0) & (p < [640, 480])).all(axis=1) for p in pixels], axis=0)
        a_n2, b_n2 = (p[seen_n] for p in pixels)
        b_n2[: len(b_n2) // 3] = rng.permutation(b_n2[: len(b_n2) // 3])
        pairs.append((T_b_a if posed else None, Matches("a", "b", a_n2, b_n2)))
    return pairs


def clear(gain: float, sigma: float) -> bool:
    return gain > CLEARLY and gain > CLEARLY_SIGMA * sigma


CASES = [(STRONG, False), (STRONG, True), (MILD, True), (FISHEYE, False), (FISHEYE, True)]


@pytest.mark.parametrize(("lens", "posed"), CASES)
def test_exact_matches_tell_once_from_twice(lens, posed):
    stored = Undistorter(lens).target

    def twice(points_n3):
        """Rectified pixels, taken for raw ones and undistorted again."""
        return stored.project(lens.bearings(RECTIFIED.project(points_n3)))

    moved = distorted_by(lens, stored)
    assert clear(*compare(matched(twice, posed), stored, moved))
    assert not clear(*compare(matched(stored.project, posed), stored, moved))


@pytest.mark.parametrize(("lens", "posed"), CASES)
def test_exact_matches_tell_rectified_from_raw(lens, posed):
    moved = partial(undistort_pixels, lens)
    assert clear(*compare(matched(lens.project, posed), RECTIFIED, moved))
    assert not clear(*compare(matched(RECTIFIED.project, posed), RECTIFIED, moved))


def test_too_few_pairs_tell_nothing():
    pairs = matched(RECTIFIED.project, True)[:3]
    assert compare(pairs, RECTIFIED, partial(undistort_pixels, STRONG)) == (0.0, float("inf"))
    assert compare([], RECTIFIED, partial(undistort_pixels, STRONG)) == (0.0, float("inf"))


def write(root, source, change, camera, lens, rectified):
    """Twelve frames of a real walk with its poses, each changed."""
    poses = np.loadtxt(source / "poses.txt").reshape(-1, 4, 4)
    files = sorted((source / "rgb").iterdir())
    with SceneWriter(root, ["house"]) as writer:
        camera_id = writer.add_camera(camera, recorded=lens, rectified=rectified)
        for number in range(100, 124, 2):
            image_rgb = change(cv2.imread(str(files[number]))[..., ::-1].copy())
            writer.add_frame("walk", number * 10**8, camera_id, image_rgb=image_rgb, T_world_camera=poses[number])
        writer.describe(scale="metric", scale_source="poses")
    dataset = SceneDataset(root)
    return check_lens(dataset, dataset.frames)


@pytest.mark.parametrize(
    ("rectified", "wrong", "words"),
    [
        (False, True, "--rectified true"),
        (False, False, ""),
        (True, True, "--rectified false"),
        (True, False, ""),
    ],
    ids=["twice", "once", "never", "rectified"],
)
def test_real_pictures(shared_data, tmp_path, rectified, wrong, words):
    source = shared_data / "house" / "walk_a"
    pinhole = Camera.from_K(np.loadtxt(source / "K.txt"), 480, 360)
    lens = Camera.from_K(pinhole.K, 480, 360, "plumb_bob", (-0.12, 0.03, 0, 0, 0))
    undistorter, maps = Undistorter(lens), pinhole.remap_to(lens)
    raw = lambda image_rgb: cv2.remap(image_rgb, *maps, cv2.INTER_LINEAR)  # noqa: E731
    if rectified:
        found = write(tmp_path / "d", source, raw if wrong else lambda image: image, pinhole, lens, True)
    else:
        once = lambda image: undistorter.image(raw(image))  # noqa: E731
        found = write(tmp_path / "d", source, undistorter.image if wrong else once, undistorter.target, lens, False)
    assert [finding.severity for finding in found] == ([Severity.ERROR] if wrong else [])
    assert all(words in finding.remedy for finding in found)
    if wrong and rectified:
        assert "lens" in {finding.check for finding in check_dataset(tmp_path / "d").findings}
