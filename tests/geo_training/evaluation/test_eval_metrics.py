"""Recall, medians, ATE, RPE and latency against values worked out by hand."""

import math

import numpy as np
import pytest
from geo_training.evaluation.metrics import FrameOutcome, Ruler, latency_figures, pose_figures, recall, scene_depth
from geo_training.evaluation.trajectory import absolute_errors, neighbour_runs, relative_errors, trajectory_figures

from geo_perception.geometry import make_pose, so3_exp


def outcome(index, offset_m=0.0, degrees=0.0, found=True, sequence="a", latency_s=0.1, stamp_s=None):
    """A frame at x = index metres, estimated `offset_m` along y and turned by `degrees` about z."""
    T_true = make_pose(np.eye(3), [float(index), 0, 0])
    T_found = make_pose(so3_exp(np.radians([0, 0, degrees])), [float(index), offset_m, 0]) if found else None
    stamp_ns = int((index if stamp_s is None else stamp_s) * 1e9)
    return FrameOutcome(f"{sequence}/{index}", sequence, stamp_ns, "localized", T_true, T_found, inliers=10 + index,
                        latency_s=latency_s)  # fmt: skip


TEN = [
    outcome(0, 0.005, 0.5),
    outcome(1, 0.015, 0.5),
    outcome(2, 0.015, 1.5),
    outcome(3, 0.04, 3.0),
    outcome(4, 0.04, 6.0),
    outcome(5, 0.09, 4.0),
    outcome(6, 0.09, 8.0),
    outcome(7, 0.5, 1.0),
    outcome(8, found=False),
    outcome(9, found=False),
]


def test_recall_counts_frames_without_a_pose_as_misses():
    figures = pose_figures(TEN, Ruler())
    assert figures["recall_1cm_1deg"] == pytest.approx(0.1)
    assert figures["recall_2cm_2deg"] == pytest.approx(0.3)
    assert figures["recall_5cm_5deg"] == pytest.approx(0.4)
    assert figures["recall_10cm_5deg"] == pytest.approx(0.5)
    assert figures["recall_10cm_10deg"] == pytest.approx(0.7)
    assert figures["localized_share"] == pytest.approx(0.8)
    assert figures["frames"] == 10


def test_medians_and_percentiles_are_over_the_localized_frames():
    figures = pose_figures(TEN, Ruler())
    assert figures["median_cm"] == pytest.approx(4.0)
    assert figures["median_deg"] == pytest.approx(2.25)  # between 1.5 and 3
    assert figures["p90_cm"] == pytest.approx(9 + 0.3 * (50 - 9))  # rank 6.3 of 0..7
    assert figures["median_inliers"] == pytest.approx(13.5)


def test_a_limit_itself_is_within():
    assert recall([outcome(0, 0.05)], 0.05, 5.0) == 1.0


def test_frames_without_truth_count_in_latency_but_not_in_recall():
    blind = FrameOutcome("x", "a", 0, "localized", None, np.eye(4), latency_s=0.3)
    figures = pose_figures([outcome(0), blind], Ruler())
    assert figures["recall_1cm_1deg"] == 1.0
    assert figures["frames_with_truth"] == 1
    assert latency_figures([outcome(0), blind])["frame_ms_p50"] == pytest.approx(200)


def test_without_any_truth_recall_is_unknown_not_zero():
    assert math.isnan(recall([FrameOutcome("x", "a", 0, "localized", None, np.eye(4))], 0.05, 5))


def test_a_scene_of_unknown_scale_is_measured_in_percent_of_its_depth():
    ruler = Ruler(metric=False, scene_depth=4.0)
    figures = pose_figures([outcome(0, 0.02, 1), outcome(1, 0.06, 1)], ruler)  # 0.5 % and 1.5 % of 4 units
    assert figures["recall_1pct_5deg"] == pytest.approx(0.5)
    assert figures["recall_2pct_5deg"] == pytest.approx(1.0)
    assert figures["recall_0p5pct_2deg"] == pytest.approx(0.5)
    assert figures["median_pct"] == pytest.approx(1.0)
    assert "median_cm" not in figures


def test_scene_depth_looks_only_ahead():
    landmarks = np.array([[0, 0, 2.0], [0, 0, 4.0], [0, 0, 9.0], [0, 0, -100.0]])
    assert scene_depth([np.eye(4)], landmarks) == pytest.approx(4.0)
    assert math.isnan(scene_depth([np.eye(4)], np.zeros((0, 3))))


def test_latency_percentiles_are_interpolated_and_ignore_frames_never_answered():
    outcomes = [outcome(i, latency_s=(i + 1) / 100) for i in range(5)] + [outcome(5, latency_s=float("nan"))]
    figures = latency_figures(outcomes)
    assert figures["frame_ms_p50"] == pytest.approx(30)
    assert figures["frame_ms_p99"] == pytest.approx(49.6)


def test_ate_is_the_plain_distance_and_alignment_takes_a_shift_away():
    corner = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1)]
    shifted = [
        FrameOutcome(f"{i}", "a", i * 10**9, "localized", make_pose(np.eye(3), p),
                     make_pose(np.eye(3), np.add(p, (0.03, 0.04, 0))))
        for i, p in enumerate(corner)
    ]  # fmt: skip
    assert absolute_errors(shifted) == pytest.approx([0.05] * 4)
    assert absolute_errors(shifted, align=True) == pytest.approx([0] * 4, abs=1e-9)
    figures = trajectory_figures(shifted, Ruler())
    assert figures["ate_cm"] == pytest.approx(5.0)
    assert figures["ate_aligned_cm"] == pytest.approx(0.0, abs=1e-6)
    assert figures["rpe_cm"] == pytest.approx(0.0, abs=1e-9)


def test_ate_is_a_root_mean_square_over_all_sequences():
    outcomes = [outcome(0, 0.03), outcome(1, 0.03), outcome(0, 0.04, sequence="b"), outcome(1, 0.04, sequence="b")]
    assert trajectory_figures(outcomes, Ruler())["ate_cm"] == pytest.approx(math.sqrt((9 + 16) / 2))


def test_rpe_is_the_error_of_the_motion_between_neighbours():
    distance_n, degrees_n = relative_errors([outcome(0, 0.0), outcome(1, 0.02, 2.0)])
    assert distance_n == pytest.approx([0.02])
    assert degrees_n == pytest.approx([2.0])


def test_rpe_does_not_reach_over_missing_frames():
    ordered = [outcome(i, stamp_s=s) for i, s in enumerate([0, 1, 2, 10, 11])]
    assert [len(run) for run in neighbour_runs(ordered)] == [3, 2]
    ordered[1] = outcome(1, found=False, stamp_s=1)
    assert [len(run) for run in neighbour_runs(ordered)] == [1, 1, 2]


def test_alignment_of_a_straight_line_has_no_single_answer_and_is_not_given():
    figures = trajectory_figures([outcome(i, 0.01) for i in range(4)], Ruler())
    assert figures["ate_cm"] == pytest.approx(1.0)
    assert math.isnan(figures["ate_aligned_cm"]) or figures["ate_aligned_cm"] == pytest.approx(0.0, abs=1e-6)


def test_no_localized_frame_gives_unknown_errors():
    figures = trajectory_figures([outcome(0, found=False)], Ruler())
    assert all(math.isnan(value) for value in figures.values())
