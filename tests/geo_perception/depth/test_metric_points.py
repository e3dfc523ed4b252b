"""Points that are spread over a map, and what they have in common."""

import numpy as np
import pytest

from geo_perception.depth.metric_points import MetricPoints, spread
from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.depth.sparse_scale import measure_scale

SIZE_PX = (128, 96)


def test_few_points_are_all_taken():
    assert spread(np.zeros((5, 2)), np.ones(5), SIZE_PX, 5).tolist() == [0, 1, 2, 3, 4]


def test_a_crowd_in_one_corner_does_not_displace_single_points_elsewhere():
    crowd_n2 = np.random.default_rng(0).uniform(0, 8, (200, 2))
    lone_n2 = np.array([[60.0, 50.0], [120.0, 10.0], [20.0, 90.0]])
    chosen = spread(np.concatenate([crowd_n2, lone_n2]), np.full(203, 0.01), SIZE_PX, 12)
    assert len(chosen) == 12
    assert {200, 201, 202} <= set(chosen.tolist())


def test_of_a_cell_the_most_certain_come_first():
    sigma_n = np.array([0.3, 0.1, 0.2, 0.4])
    assert spread(np.full((4, 2), 10.0), sigma_n, SIZE_PX, 2).tolist() == [1, 2]


def test_points_on_the_very_border_belong_to_the_map():
    corners_n2 = np.array([[-0.5, -0.5], [127.5, 95.5], [127.5, -0.5], [-0.5, 95.5]])
    assert len(spread(np.repeat(corners_n2, 3, axis=0), np.tile([1.0, 2.0, 3.0], 4), SIZE_PX, 4)) == 4


def test_a_part_keeps_everything_together():
    points = MetricPoints("ground", np.arange(6).reshape(3, 2), np.arange(3.0), np.arange(3.0), np.arange(3.0)[:, None])
    part = points.part(np.array([False, True, True]))
    assert (len(part), part.source, part.depth_m_n.tolist(), part.shared_nk[:, 0].tolist()) == (
        2, "ground", [1.0, 2.0], [1.0, 2.0],
    )  # fmt: skip


def test_what_all_points_err_alike_the_scale_errs_too():
    """b_1 = 0.3 for all, b_2 = +-0.4 in halves: the mean errs by 0.3 and 0, whatever the number of points."""
    depth = RelativeDepth(DepthVerdict.ESTIMATED, depth_hw=np.full((96, 128), 2.0, np.float32))
    pixels_n2 = np.random.default_rng(0).uniform(5, 90, (40, 2))
    shared_n2 = np.column_stack([np.full(40, 0.3), np.tile([0.4, -0.4], 20)])
    sigmas = [
        measure_scale(depth, MetricPoints("landmarks", pixels_n2, np.full(40, 5.0), np.full(40, 0.01), shared_nk)).sigma
        for shared_nk in (np.zeros((40, 0)), shared_n2)
    ]
    assert sigmas[1] ** 2 - sigmas[0] ** 2 == pytest.approx(0.3**2, rel=1e-6)
