"""Recall, medians, ATE, RPE and latency against values worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from geo_training.metrics.pose import (
    FrameOutcome,
    LengthUnit,
    by_sequence,
    latency_metrics,
    percentile,
    pose_metrics,
    recall,
    scene_depth,
)
from geo_training.metrics.trajectory import (
    absolute_errors,
    align_positions,
    neighbour_runs,
    relative_errors,
    trajectory_metrics,
)

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
    metrics = pose_metrics(TEN, LengthUnit())
    assert metrics["recall_1cm_1deg"] == pytest.approx(0.1)
    assert metrics["recall_2cm_2deg"] == pytest.approx(0.3)
    assert metrics["recall_5cm_5deg"] == pytest.approx(0.4)
    assert metrics["recall_10cm_5deg"] == pytest.approx(0.5)
    assert metrics["recall_10cm_10deg"] == pytest.approx(0.7)
    assert metrics["localized_share"] == pytest.approx(0.8)
    assert metrics["frames"] == 10


def test_a_miss_is_infinitely_far_in_medians_and_percentiles():
    metrics = pose_metrics(TEN, LengthUnit())
    # Of 0.5, 1.5, 1.5, 4, 4, 9, 9, 50 cm and two misses, the middle lies between the fifth and the sixth.
    assert metrics["median_cm"] == pytest.approx((4 + 9) / 2)
    assert metrics["median_deg"] == pytest.approx((3 + 4) / 2)  # 0.5, 0.5, 1, 1.5, 3, 4, 6, 8
    assert metrics["p90_cm"] == metrics["p90_deg"] == math.inf  # the tenth and the ninth are misses
    assert (metrics["frames_with_truth"], metrics["frames_missed"]) == (10, 2)
    assert metrics["median_inliers"] == pytest.approx((12 + 13) / 2)  # two misses without any, then 10 to 17


def test_with_more_than_half_missed_there_is_no_finite_median():
    metrics = pose_metrics([outcome(i, 0.02, found=i < 4) for i in range(10)], LengthUnit())
    assert metrics["median_cm"] == metrics["median_deg"] == math.inf
    assert metrics["localized_share"] == 0.4
    assert metrics["frames_missed"] == 6
    assert metrics["recall_2cm_2deg"] == pytest.approx(0.4)


def test_exactly_half_missed_is_not_a_finite_median():
    assert pose_metrics([outcome(0, 0.02), outcome(1, found=False)], LengthUnit())["median_cm"] == math.inf


def test_a_percentile_counts_infinite_values_and_leaves_out_unknown_ones():
    assert percentile([1.0, 2.0, 4.0], 75) == pytest.approx(3.0)
    assert percentile([math.nan, 4.0, 2.0], 50) == pytest.approx(3.0)
    assert percentile([1.0, 2.0, math.inf], 50) == 2.0
    assert percentile([1.0, 2.0, math.inf], 51) == math.inf
    assert percentile([math.inf, math.inf, 1.0], 75) == math.inf
    assert percentile([1.0] * 10 + [math.inf], 90) == 1.0  # the eleventh alone is infinite, and 90 % is the tenth
    assert math.isnan(percentile([math.nan], 50))
    assert math.isnan(percentile([], 50))


def test_a_pose_that_is_no_number_is_a_miss():
    broken = replace(outcome(0), T_estimated=np.full((4, 4), np.nan))
    assert pose_metrics([broken], LengthUnit())["median_cm"] == math.inf
    assert recall([broken, outcome(1)], 0.05, 5.0) == 0.5


def test_inliers_of_live_frames_are_not_known():
    live = [replace(outcome(i), inliers=0) for i in range(3)]
    assert math.isnan(pose_metrics(live, LengthUnit())["median_inliers"])


def test_a_limit_itself_is_within():
    assert recall([outcome(0, 0.05)], 0.05, 5.0) == 1.0


def test_frames_without_truth_count_in_latency_but_not_in_recall():
    blind = FrameOutcome("x", "a", 0, "localized", None, np.eye(4), latency_s=0.3)
    metrics = pose_metrics([outcome(0), blind], LengthUnit())
    assert metrics["recall_1cm_1deg"] == 1.0
    assert metrics["frames_with_truth"] == 1
    assert latency_metrics([outcome(0), blind])["frame_ms_p50"] == pytest.approx(200)


def test_without_any_truth_recall_is_unknown_not_zero():
    assert math.isnan(recall([FrameOutcome("x", "a", 0, "localized", None, np.eye(4))], 0.05, 5))


def test_a_scene_of_unknown_scale_is_measured_in_percent_of_its_depth():
    length_unit = LengthUnit(metric=False, scene_depth=4.0)
    metrics = pose_metrics([outcome(0, 0.02, 1), outcome(1, 0.06, 1)], length_unit)  # 0.5 % and 1.5 % of 4 units
    assert metrics["recall_1pct_5deg"] == pytest.approx(0.5)
    assert metrics["recall_2pct_5deg"] == pytest.approx(1.0)
    assert metrics["recall_0p5pct_2deg"] == pytest.approx(0.5)
    assert metrics["median_pct"] == pytest.approx(1.0)
    assert "median_cm" not in metrics


def test_scene_depth_looks_only_ahead():
    landmarks = np.array([[0, 0, 2.0], [0, 0, 4.0], [0, 0, 9.0], [0, 0, -100.0]])
    assert scene_depth([np.eye(4)], landmarks) == pytest.approx(4.0)
    assert math.isnan(scene_depth([np.eye(4)], np.zeros((0, 3))))


def test_latency_percentiles_are_interpolated_and_ignore_frames_never_answered():
    outcomes = [outcome(i, latency_s=(i + 1) / 100) for i in range(5)] + [outcome(5, latency_s=float("nan"))]
    metrics = latency_metrics(outcomes)
    assert metrics["frame_ms_p50"] == pytest.approx(30)
    assert metrics["frame_ms_p99"] == pytest.approx(49.6)
    assert metrics["timed_frames"] == 5


def test_ate_is_the_plain_distance_and_alignment_takes_a_shift_away():
    corner = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1)]
    shifted = [
        FrameOutcome(f"{i}", "a", i * 10**9, "localized", make_pose(np.eye(3), p),
                     make_pose(np.eye(3), np.add(p, (0.03, 0.04, 0))))
        for i, p in enumerate(corner)
    ]  # fmt: skip
    assert absolute_errors(shifted) == pytest.approx([0.05] * 4)
    assert absolute_errors(shifted, align=True) == pytest.approx([0] * 4, abs=1e-9)
    metrics = trajectory_metrics(shifted, LengthUnit())
    assert metrics["ate_cm"] == pytest.approx(5.0)
    assert metrics["ate_aligned_cm"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["rpe_cm"] == pytest.approx(0.0, abs=1e-9)


def test_ate_is_a_root_mean_square_over_all_sequences():
    outcomes = [outcome(0, 0.03), outcome(1, 0.03), outcome(0, 0.04, sequence="b"), outcome(1, 0.04, sequence="b")]
    assert trajectory_metrics(outcomes, LengthUnit())["ate_cm"] == pytest.approx(math.sqrt((9 + 16) / 2))


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
    metrics = trajectory_metrics([outcome(i, 0.01) for i in range(4)], LengthUnit())
    assert metrics["ate_cm"] == pytest.approx(1.0)
    assert math.isnan(metrics["ate_aligned_cm"]) or metrics["ate_aligned_cm"] == pytest.approx(0.0, abs=1e-6)


def test_one_miss_makes_the_trajectory_error_infinite_and_the_rest_is_told_apart():
    metrics = trajectory_metrics([outcome(0, 0.03), outcome(1, 0.04), outcome(2, found=False)], LengthUnit())
    assert metrics["ate_cm"] == metrics["ate_aligned_cm"] == metrics["rpe_cm"] == metrics["rpe_deg"] == math.inf
    assert metrics["localized_ate_cm"] == pytest.approx(math.sqrt((9 + 16) / 2))
    assert metrics["localized_rpe_cm"] == pytest.approx(1.0)
    assert (metrics["localized_frames"], metrics["localized_pairs"]) == (2, 1)


def test_without_a_miss_both_trajectory_errors_agree():
    metrics = trajectory_metrics([outcome(0, 0.03), outcome(1, 0.04)], LengthUnit())
    assert metrics["ate_cm"] == metrics["localized_ate_cm"] == pytest.approx(math.sqrt((9 + 16) / 2))
    assert metrics["rpe_cm"] == metrics["localized_rpe_cm"] == pytest.approx(1.0)


def test_no_localized_frame_is_infinitely_far_and_no_truth_is_unknown():
    metrics = trajectory_metrics([outcome(0, found=False), outcome(1, found=False)], LengthUnit())
    assert metrics["ate_cm"] == metrics["rpe_cm"] == metrics["rpe_deg"] == math.inf
    assert math.isnan(metrics["localized_ate_cm"])
    assert metrics["localized_frames"] == 0
    blind = FrameOutcome("x", "a", 0, "localized", None, np.eye(4))
    assert math.isnan(trajectory_metrics([blind], LengthUnit())["ate_cm"])


def test_a_turned_path_is_aligned_by_the_turn():
    # A square of 1 m, the estimate turned by 90 degrees about z and shifted; one corner is 10 cm up.
    corner = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    turned = [(-y + 3, x - 2, 0) for x, y, _ in corner]
    found = align_positions(np.array(turned), corner, with_scale=False)
    assert found.scale == 1.0
    assert np.allclose(found.R_33, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    assert found.t_3 == pytest.approx([2, 3, 0])
    twice = align_positions(2 * np.array(turned), corner, with_scale=True)
    assert twice.scale == pytest.approx(0.5)
    assert twice.points(2 * np.array(turned)) == pytest.approx(corner)


def test_alignment_without_scale_leaves_the_scale_in_the_error():
    # Corners of a square of side 2 and 1 about the same middle: each is off by sqrt(2) - sqrt(2) / 2.
    square = np.array([(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0)], float)
    outcomes = [
        FrameOutcome(f"{i}", "a", i * 10**9, "localized", make_pose(np.eye(3), p), make_pose(np.eye(3), p / 2 + 7))
        for i, p in enumerate(square)
    ]
    assert absolute_errors(outcomes, align=True) == pytest.approx([math.sqrt(2) / 2] * 4)


@pytest.mark.parametrize("points", [[(0, 0, 0), (1, 0, 0)], [(i, 2 * i, 3 * i) for i in range(5)], [(1, 1, 1)] * 4])
def test_positions_without_a_single_alignment_have_none(points):
    points_n3 = np.array(points, float)
    assert align_positions(points_n3, points_n3, with_scale=False) is None
    bent = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (2, 5, 1)], float)[: len(points)]
    assert align_positions(points_n3, bent, with_scale=True) is None


def test_rpe_is_of_the_motion_and_not_of_the_place():
    # The estimate is turned by 90 degrees about z as a whole: both motions are 1 m ahead, and a turn of 3 degrees.
    true = [make_pose(np.eye(3), [0, 0, 0]), make_pose(so3_exp(np.radians([0, 0, 3])), [1, 0, 0])]
    world = make_pose(so3_exp(np.radians([0, 0, 90])), [5, 5, 5])
    found = [FrameOutcome(f"{i}", "a", i * 10**9, "localized", T, world @ T) for i, T in enumerate(true)]
    distance_n, degrees_n = relative_errors(found)
    assert distance_n == pytest.approx([0], abs=1e-12)
    assert degrees_n == pytest.approx([0], abs=1e-6)
    assert [len(values) for values in relative_errors(found[:1])] == [0, 0]


def test_many_sequences_are_grouped_in_one_pass():
    frames = [outcome(i, 0.01, sequence=f"s{i}") for i in range(5000)]
    assert list(by_sequence(frames)) == [f"s{i}" for i in range(5000)]
    assert trajectory_metrics(frames[:50], LengthUnit())["ate_cm"] == pytest.approx(1.0)
