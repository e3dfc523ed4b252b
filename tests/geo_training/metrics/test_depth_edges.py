"""Edges of depth, on exact steps: where they stand, how sharp they are, what is no edge."""

import math

import cv2
import numpy as np
import pytest
from geo_training.metrics.edges import EVALUATION_PX, edge_metrics, evaluation_size

HEIGHT_PX, WIDTH_PX = 96, 160


def step(column_px=80, near_m=2.0, far_m=4.0):
    """A wall at `far_m`, and from `column_px` on something before it."""
    depth_hw = np.full((HEIGHT_PX, WIDTH_PX), far_m, np.float32)
    depth_hw[:, column_px:] = near_m
    return depth_hw


def stairs():
    """Two edges, each to half the depth, at the columns 80 and 130."""
    depth_hw = step()
    depth_hw[:, 130:] = 1.0
    return depth_hw


def blurred(depth_hw, sigma_px):
    """The depth with its inverse blurred: how a network is blurred."""
    return 1 / cv2.GaussianBlur(1 / depth_hw, (0, 0), sigma_px)


def test_a_perfect_edge_is_perfect_in_any_unit():
    found = edge_metrics(step(), 0.037 * step())
    assert found["edge"] == found["edge_precision"] == found["edge_recall"] == 1.0
    assert found["edge_width_px"] == pytest.approx(1.0)


def test_one_pixel_off_is_right():
    assert edge_metrics(step(), step(81))["edge"] == 1.0


def test_blurred_scores_lower_shifted_lower_still_and_flat_nothing():
    scores = [edge_metrics(step(), blurred(step(), sigma_px))["edge"] for sigma_px in (0.5, 1.5, 2.5, 4.0)]
    shifted = edge_metrics(step(), step(90))["edge"]
    flat = edge_metrics(step(), np.full((HEIGHT_PX, WIDTH_PX), 3.0, np.float32))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert scores[1] - scores[3] > 0.2
    assert scores[3] > shifted == 0.0
    assert flat["edge"] == flat["edge_precision"] == flat["edge_recall"] == 0.0
    assert math.isnan(flat["edge_width_px"])


def test_the_width_is_that_of_a_ramp():
    log_hw = np.interp(np.arange(WIDTH_PX), [76.5, 82.5], np.log([4.0, 2.0]))  # over 6 pixels
    ramp_hw = np.tile(np.exp(log_hw), (HEIGHT_PX, 1)).astype(np.float32)
    assert edge_metrics(step(), ramp_hw)["edge_width_px"] == pytest.approx(6.0, abs=0.05)
    widths = [edge_metrics(step(), blurred(step(), sigma_px))["edge_width_px"] for sigma_px in (1.0, 2.0, 3.0)]
    assert widths == sorted(widths)


def test_edges_above_one_another_are_found_like_those_side_by_side():
    tall, other = step(40)[:, :96].T.copy(), blurred(step(40)[:, :96].T.copy(), 2.0)
    across = edge_metrics(step(40)[:, :96], blurred(step(40)[:, :96], 2.0))
    assert edge_metrics(tall, other)["edge"] == pytest.approx(across["edge"], abs=1e-6)
    assert edge_metrics(tall, tall)["edge"] == 1.0


def test_edges_that_are_not_there_cost_precision():
    found = edge_metrics(step(), stairs())
    assert found["edge_recall"] == 1.0
    assert found["edge_precision"] == pytest.approx(0.5)


def test_an_edge_that_is_missed_costs_recall():
    found = edge_metrics(stairs(), step())
    assert found["edge_recall"] == pytest.approx(0.5)
    assert found["edge_precision"] == 1.0


def test_a_floor_seen_at_a_low_angle_has_no_edges():
    # Depth is 60 m over the rows below the horizon: more than 15 % between rows of the upper ones.
    rows = np.arange(HEIGHT_PX) + 6.0
    floor_hw = np.tile((60 / rows)[:, None], (1, WIDTH_PX)).astype(np.float32)
    assert floor_hw[0, 0] / floor_hw[2, 0] > 1.3
    assert math.isnan(edge_metrics(floor_hw, floor_hw)["edge"])
    # Beside a true edge the steep rows are neither right nor wrong.
    floor_hw[:, 80:] = 0.4
    assert edge_metrics(floor_hw, floor_hw)["edge"] == pytest.approx(1.0)


def test_a_thin_pole_has_edges():
    pole_hw = step(200)
    pole_hw[:, 70:73] = 2.0
    assert edge_metrics(pole_hw, pole_hw)["edge"] == 1.0
    assert edge_metrics(pole_hw, step(200))["edge_recall"] == 0.0


def test_only_borders_of_objects_count_where_masks_are_given():
    instances_hw = np.zeros(step().shape, np.uint16)
    instances_hw[:, 80:120] = 7  # the border at 120 has no jump, and the jump at 130 no border
    assert edge_metrics(stairs(), step(), instances_hw)["edge"] == 1.0
    assert edge_metrics(stairs(), stairs(), instances_hw)["edge"] == 1.0
    assert edge_metrics(stairs(), step(130), instances_hw)["edge"] == 0.0


def test_what_is_predicted_where_the_truth_is_unknown_does_not_count():
    true_hw = step()
    true_hw[:, 20:50] = 0
    predicted_hw = step()
    predicted_hw[:, 35:40] = 1.0
    assert edge_metrics(true_hw, predicted_hw)["edge"] == 1.0


def test_rims_that_a_depth_camera_leaves_empty_are_still_edges():
    true_hw = step()
    true_hw[:, 79:81] = 0
    found = edge_metrics(true_hw, step())
    assert found["edge"] == 1.0
    true_hw[:, 60:100] = 0  # where the edge is here nobody can tell
    assert math.isnan(edge_metrics(true_hw, step())["edge"])


def test_sparse_lidar_has_no_edges():
    true_hw = step()
    true_hw[np.random.default_rng(0).random(true_hw.shape) > 0.05] = 0
    assert all(math.isnan(value) for value in edge_metrics(true_hw, step()).values())


def test_no_edge_in_the_truth_is_no_figure():
    assert math.isnan(edge_metrics(np.full((96, 160), 3.0, np.float32), step())["edge"])


def test_large_images_are_compared_at_one_size():
    assert evaluation_size(480, 640) == (EVALUATION_PX * 3 // 4, EVALUATION_PX)
    assert evaluation_size(90, 100) == (90, 100)
    large_hw = cv2.resize(step(), (4 * WIDTH_PX, 4 * HEIGHT_PX), interpolation=cv2.INTER_NEAREST)
    assert edge_metrics(large_hw, step())["edge"] > 0.99
