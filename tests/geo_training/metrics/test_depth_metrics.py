"""The seven metrics, the scalings and the confidence, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from geo_training.metrics import confidence as confidence
from geo_training.metrics.depth import (
    PRESETS,
    DepthProtocol,
    choose_protocol,
    distance_sums,
    evaluate_image,
    median_scale,
    resize_depth,
    scale_metrics,
    summarize,
)

from geo_perception.errors import InputError

ROOM = DepthProtocol("test", 10.0)


def row(*values):
    return np.array([values], np.float32)


def test_the_seven_metrics_are_those_of_the_definition():
    found = evaluate_image(row(1, 2, 4), row(6, 6, 6), ROOM)
    assert found["scale"] == pytest.approx(1 / 3)  # median true 2 over median predicted 6
    assert found["abs_rel"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["sq_rel"] == pytest.approx((1 + 0 + 1) / 3)
    assert found["rms"] == pytest.approx(math.sqrt((1 + 0 + 4) / 3))
    assert found["log_rms"] == pytest.approx(math.log(2) * math.sqrt(2 / 3))
    assert found["d1"] == found["d2"] == found["d3"] == pytest.approx(1 / 3)
    assert found["coverage"] == 1.0


def test_each_accuracy_has_its_own_limit():
    found = evaluate_image(row(1, 1, 1, 1), row(1.2, 1.5, 1.9, 2.0), ROOM, scale=1.0)
    assert (found["d1"], found["d2"], found["d3"]) == (0.25, 0.5, 0.75)


def test_the_scale_of_an_image_is_the_ratio_of_medians_of_what_counts():
    # 0 is unknown and 12 beyond the cap; of the rest the medians are 4 and 2.
    true_hw, predicted_hw = row(2, 4, 6, 0, 12), row(1, 2, 3, 50, 90)
    assert median_scale(true_hw, predicted_hw, ROOM) == 2.0
    assert evaluate_image(true_hw, predicted_hw, ROOM)["abs_rel"] == pytest.approx(0)


def test_a_prediction_is_clipped_to_the_range_that_counts():
    found = evaluate_image(row(5, 5), row(1000, 0.0001), DepthProtocol("test", 10.0, 0.5), scale=1.0)
    assert found["abs_rel"] == pytest.approx((5 / 5 + 4.5 / 5) / 2)


def test_depth_at_the_ends_of_the_range_does_not_count():
    assert ROOM.mask(row(0, 1e-3, 2e-3, 9.99, 10, np.nan)).tolist() == [[False, False, True, True, False, False]]


def test_the_crop_is_gargs():
    mask_hw = PRESETS["kitti"].mask(np.full((375, 1242), 5.0, np.float32))
    rows, columns = np.nonzero(mask_hw)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (153, 371, 44, 1197)
    assert mask_hw.sum() == (371 - 153) * (1197 - 44)


def test_disparity_is_resized_not_depth():
    # Four pixels out of two: the inner ones lie a quarter of the way between.
    resized = resize_depth(row(1, 3), 1, 4)
    assert resized[0] == pytest.approx([1, 1 / (0.75 + 0.25 / 3), 1 / (0.25 + 0.75 / 3), 3])


def test_a_prediction_of_another_size_is_resized():
    assert evaluate_image(np.full((8, 12), 3.0, np.float32), np.full((4, 6), 1.0, np.float32), ROOM)["scale"] == 3.0


def test_what_was_not_predicted_is_not_compared_and_told():
    found = evaluate_image(row(1, 2, 2, 2), row(np.nan, 2, 2, 4), ROOM, scale=1.0)
    assert found["coverage"] == 0.75
    assert found["abs_rel"] == pytest.approx(1 / 3)
    assert np.isnan(resize_depth(row(np.nan, 2), 1, 4)[0, :3]).all()


def test_an_image_without_truth_has_no_metrics():
    found = evaluate_image(row(0, 0), row(1, 2), ROOM)
    assert all(math.isnan(found[name]) for name in ("abs_rel", "d1", "scale", "coverage"))


def test_metrics_are_means_over_images_that_have_them():
    rows = [{"abs_rel": 0.1, "d1": 1.0}, {"abs_rel": 0.3, "d1": math.nan}, {}]
    found = summarize(rows, ("abs_rel", "d1", "rms"), "_one_scale")
    assert found["abs_rel_one_scale"] == pytest.approx(0.2)
    assert found["d1_one_scale"] == 1.0
    assert math.isnan(found["rms_one_scale"])


def test_one_scale_is_the_median_and_its_spread_is_relative():
    found = scale_metrics([1.0, 2.0, 3.0, math.nan])
    assert found["scale"] == 2.0
    assert found["scale_spread"] == pytest.approx(math.sqrt(2 / 3) / 2)
    assert math.isnan(scale_metrics([math.nan])["scale_spread"])


def test_options_are_laid_over_a_preset():
    assert choose_protocol("kitti", cap_m=50.0) == DepthProtocol("kitti", 50.0, crop="garg")
    assert choose_protocol("indoor", crop="garg").crop == "garg"
    for arguments in (("outdoor",), ("kitti", "eigen"), ("kitti", None, 0.0)):
        with pytest.raises(InputError, match=r"no preset|no crop|cannot count"):
            choose_protocol(*arguments)


def test_errors_are_added_up_by_distance():
    sums_b3 = distance_sums(row(1, 1.5, 7), row(1, 3, 7.7), ROOM, 1.0, np.array([0.0, 5.0, 10.0]))
    assert sums_b3 == pytest.approx(np.array([[2, 1.0, 1], [1, 0.1, 1]]))


def test_taking_away_the_doubtful_first_leaves_the_mean_of_the_rest():
    error_n = np.array([0.4, 0.1, 0.3, 0.2])
    right_order = confidence.sparsification(error_n, error_n)
    shares = confidence.removed_shares()
    assert right_order[0] == pytest.approx(0.25)
    assert right_order[shares == 0.5] == pytest.approx(0.15)
    assert right_order[-1] == pytest.approx(0.1)
    assert confidence.sparsification(error_n, -error_n)[-1] == pytest.approx(0.4)


def test_uncertainty_is_judged_by_its_order():
    true_n = np.full(1000, 2.0)
    predicted_n = 2 * np.exp(np.linspace(0.001, 0.5, 1000))
    doubt_n = np.linspace(0, 1, 1000)
    stated_n = np.full(1000, 0.5)
    right = confidence.confidence_metrics(true_n, predicted_n, doubt_n, stated_n)
    wrong = confidence.confidence_metrics(true_n, predicted_n, -doubt_n, stated_n)
    assert right["ause"] == pytest.approx(0, abs=1e-12)
    assert right["rank_correlation"] == pytest.approx(1)
    assert wrong["rank_correlation"] == pytest.approx(-1)
    assert wrong["ause"] > right["ause_random"] > 0.05
    assert right["confidence"] == 0.5
    # ln 1.25 is 0.2231, and the errors are even from 0.001 to 0.5.
    assert right["confidence_actual"] == pytest.approx(0.445, abs=0.002)


def test_a_constant_uncertainty_ranks_nothing():
    found = confidence.confidence_metrics(np.ones(9), np.linspace(1, 2, 9), np.ones(9), np.ones(9))
    assert math.isnan(found["rank_correlation"])
    assert found["ause"] == pytest.approx(found["ause_random"])
    empty = confidence.confidence_metrics(*[np.zeros(0)] * 4)
    assert all(math.isnan(value) for value in empty.values())


def test_stated_and_actual_confidence_are_added_up_by_bins():
    sums_b3 = confidence.reliability_sums(np.ones(4), np.array([1.0, 2.0, 1.1, 1.2]), np.array([0.05, 0.06, 0.91, 1.0]))
    assert sums_b3[0] == pytest.approx([2, 0.11, 1])
    assert sums_b3[9] == pytest.approx([2, 1.91, 2])
    assert sums_b3[1:9].sum() == 0
