"""Ego-motion: snippets as SfMLearner, whole paths, and how a path is made of motions; exact paths have no error."""

import math
from dataclasses import replace

import numpy as np
import pytest
from geo_training.evaluation.depth.odometry import (
    OdometryPath,
    align_path,
    chain_motions,
    estimate_motions,
    estimate_paths,
    odometry_metrics,
    snippet_errors_m,
    unbroken_runs,
)
from geo_training.evaluation.depth.set import DepthQuery

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose, so3_exp

CAMERA = Camera(8, 6, 5.0, 5.0, 3.5, 2.5)


def curve(count=12):
    """A bent path with turns, T_world_camera (N, 4, 4), that does not start at the origin."""
    poses = []
    for t in np.linspace(0, 2, count):
        position_3 = [3 + 2 * math.cos(t), 0.3 * math.sin(5 * t) - 1, 2 * math.sin(t)]
        poses.append(make_pose(so3_exp(np.array([0.1 * t, -t, 0.05])), position_3))
    return np.stack(poses)


def elsewhere(path_n44, factor):
    """The same path in another unit and another world."""
    moved_n44 = make_pose(so3_exp(np.array([0.5, 1.0, -0.3])), [4, -2, 9]) @ path_n44
    moved_n44[:, :3, 3] *= factor
    return moved_n44


class Exact:
    """Tells the true motion between views, in a unit of its own; a view's first pixel is its number."""

    def __init__(self, path_n44, views, factor=0.2):
        self.path_n44, self.views, self.factor = elsewhere(path_n44, factor), views, factor

    def motion(self, views):
        numbers = [int(view[0, 0, 0]) for view in views]
        target = (len(views) - 1) // 2
        T_target = self.path_n44[numbers[target]]
        return [invert_pose(self.path_n44[n]) @ T_target for i, n in enumerate(numbers) if i != target]


def queries(path_n44, sequence="walk", first=0, gap_s=0.1):
    return [
        DepthQuery(f"{sequence}/{i}", CAMERA, lambda i=i: np.full((6, 8, 3), i, np.uint8), T_world_camera=T,
                   sequence=sequence, stamp_s=gap_s * (first + i))
        for i, T in enumerate(path_n44)
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [0.01, 1.0, 300.0])
def test_a_perfect_path_in_another_unit_has_no_error(factor):
    true_n44 = curve()
    estimated_n44 = elsewhere(true_n44, factor)
    assert snippet_errors_m(true_n44, estimated_n44) == pytest.approx(np.zeros(8), abs=1e-9)
    assert align_path(true_n44, estimated_n44) == pytest.approx(true_n44, abs=1e-9)
    metrics = odometry_metrics([OdometryPath("walk", true_n44, estimated_n44)])
    for name in ("ate5_m", "ate5_std_m", "ate_m", "rpe_m", "rpe_deg"):
        assert metrics[name] == pytest.approx(0, abs=1e-5)
    assert metrics["odometry_frames"] == 12


def test_the_error_of_a_snippet_is_that_of_sfmlearner():
    true_n44 = np.stack([make_pose(np.eye(3), [0, 0, z]) for z in range(5)])
    estimated_n44 = true_n44.copy()
    estimated_n44[2, :3, 3] = [1.0, 0, 2.0]  # one metre aside
    # The best factor is 30 / 31; what is left are 30 - 30^2 / 31 square metres.
    assert snippet_errors_m(true_n44, estimated_n44) == pytest.approx([math.sqrt(30 - 900 / 31) / 5])


def test_each_snippet_starts_in_its_own_frame():
    true_n44 = curve(9)
    estimated_n44 = elsewhere(true_n44, 2.0)
    estimated_n44[4:] = make_pose(so3_exp(np.array([0, 0.7, 0])), [5, 5, 5]) @ estimated_n44[4:]
    errors_m = snippet_errors_m(true_n44, estimated_n44)
    assert errors_m[4] == pytest.approx(0, abs=1e-9)  # frames 4 to 8
    assert (errors_m[:4] > 0.01).all()


def test_one_wrong_step_shows_once_from_frame_to_frame():
    true_n44 = np.stack([make_pose(np.eye(3), [math.cos(t), math.sin(t), t]) for t in np.linspace(0, 3, 31)])
    estimated_n44 = true_n44.copy()
    turn_rad = 0.02
    estimated_n44[:, :3, :3] = so3_exp(np.array([0, 0, turn_rad]))  # the same for all: no relative turn
    estimated_n44[15:, :3, :3] = np.eye(3)
    metrics = odometry_metrics([OdometryPath("walk", true_n44, estimated_n44)])
    assert metrics["rpe_deg"] == pytest.approx(math.degrees(turn_rad) / math.sqrt(30), rel=1e-6)
    assert metrics["ate_m"] == pytest.approx(0, abs=1e-6)


def test_a_path_along_a_line_is_scaled_from_its_start():
    true_n44 = np.stack([make_pose(np.eye(3), [1, 2, 0.5 * i]) for i in range(6)])
    estimated_n44 = np.stack([make_pose(np.eye(3), [0, 0, 7.0 * i]) for i in range(6)])
    assert align_path(true_n44, estimated_n44) == pytest.approx(true_n44)


def test_a_path_that_stands_still_does_not_divide_by_zero():
    true_n44, still_n44 = curve(6), np.tile(np.eye(4), (6, 1, 1))
    metrics = odometry_metrics([OdometryPath("walk", true_n44, still_n44)])
    assert metrics["ate5_m"] > 0
    assert metrics["ate_m"] > 0


def test_nothing_long_enough_is_no_number():
    metrics = odometry_metrics([])
    assert all(math.isnan(metrics[name]) for name in ("ate5_m", "ate5_std_m", "ate_m", "rpe_m", "rpe_deg"))


@pytest.mark.parametrize("views", [2, 3, 5])
def test_motions_of_windows_make_the_path(views):
    true_n44 = curve()
    loads = [query.load_image for query in queries(true_n44)]
    estimator = Exact(true_n44, views)
    motions = estimate_motions(estimator, loads)
    assert len(motions) == len(true_n44) - 1
    path_n44 = chain_motions(motions)
    assert align_path(true_n44, path_n44) == pytest.approx(true_n44, abs=1e-6)


def test_runs_end_where_frames_or_poses_are_missing():
    path_n44 = list(curve(30))
    walk = queries(path_n44[:12])
    del walk[7]  # one missing frame is no gap
    other = queries([*path_n44[12:19], None, *path_n44[20:]], "other")
    late = [replace(q, name=f"late/{i}") for i, q in enumerate(queries(path_n44[:6], first=40))]
    runs = unbroken_runs([*late, *walk, *other])
    assert [(run[0].name, len(run)) for run in runs] == [
        ("walk/0", 11), ("late/0", 6), ("other/0", 7), ("other/8", 10),
    ]  # fmt: skip


def test_paths_are_estimated_for_every_run():
    true_n44 = curve(10)
    paths = estimate_paths(Exact(true_n44, 3), queries(true_n44))
    assert [path.sequence for path in paths] == ["walk"]
    assert odometry_metrics(paths)["ate_m"] == pytest.approx(0, abs=1e-6)
    assert paths[0].length_m == pytest.approx(np.linalg.norm(np.diff(true_n44[:, :3, 3], axis=0), axis=1).sum())
    with pytest.raises(InputError, match="no 5 frames in a row with true poses"):
        estimate_paths(Exact(true_n44, 3), queries(true_n44[:4]))


def test_a_pose_that_is_no_number_is_infinitely_far_off():
    true_n44 = curve(6)
    broken_n44 = true_n44.copy()
    broken_n44[4] = np.nan
    metrics = odometry_metrics([OdometryPath("walk", true_n44, true_n44), OdometryPath("walk", true_n44, broken_n44)])
    for name in ("ate5_m", "ate_m", "rpe_m", "rpe_deg"):
        assert metrics[name] == math.inf
    assert (metrics["ate5_snippets"], metrics["odometry_frames"]) == (4, 12)
    aligned_n44 = align_path(true_n44, broken_n44)
    assert np.isnan(aligned_n44[4]).all()
    assert np.delete(aligned_n44, 4, axis=0) == pytest.approx(np.delete(true_n44, 4, axis=0))


def test_what_is_left_after_alignment_is_worked_out_by_hand():
    # A cross of arms 1 m; the estimate is twice as large, with one opposite pair of its tips 0.5 m up and one down, so
    # that no turn helps. The best factor is 8 / (4 * 4.25) = 8 / 17.
    tips = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], float)
    bent = 2 * tips + np.array([(0, 0, 0.5)] * 2 + [(0, 0, -0.5)] * 2)
    true_n44, estimated_n44 = (np.stack([make_pose(np.eye(3), p) for p in points]) for points in (tips, bent))
    aligned_n44 = align_path(true_n44, estimated_n44)
    assert aligned_n44[0, :3, 3] == pytest.approx([16 / 17, 0, 4 / 17])
    metrics = odometry_metrics([OdometryPath("cross", true_n44, estimated_n44)])
    assert metrics["ate_m"] == pytest.approx(math.hypot(1 / 17, 4 / 17))
    # From tip 1 to tip 2: 2 m against 32 / 17; from 2 to 3 (-1, 1, 0) against (-16, 16, -8) / 17; then as the first.
    errors = [2 / 17, math.sqrt(1 + 1 + 64) / 17, 2 / 17]
    assert metrics["rpe_m"] == pytest.approx(math.sqrt(sum(e * e for e in errors) / 3))
    assert metrics["rpe_deg"] == pytest.approx(0, abs=1e-6)
