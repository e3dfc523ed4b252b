"""The scale that a metric network says itself, alone and beside what was measured."""

import math

import pytest

from geo_perception.depth.network_scale import with_network_scale
from geo_perception.depth.scale import Scale


def test_alone_it_is_one_within_what_it_is_trusted_to():
    assert with_network_scale(None, 0.15, 4.0) == Scale(1.0, 0.15, "network", 0.0)


def test_it_is_not_used_where_it_is_not_trusted():
    measured = Scale(2.0, 0.1, "ground", 0.5)
    assert with_network_scale(measured, 0.0, 4.0) is measured
    assert with_network_scale(None, 0.0, 4.0) is None


def test_two_of_equal_weight_meet_in_the_middle():
    joined = with_network_scale(Scale(1.2, 0.15, "odometry", 0.3), 0.15, 4.0)
    assert joined.factor == pytest.approx(math.sqrt(1.2))
    assert joined.sigma == pytest.approx(0.15 / math.sqrt(2))
    assert (joined.source, joined.age_s) == ("odometry+network", 0.3)


def test_what_was_measured_well_hardly_moves():
    """Weights of 1 / 0.03^2 and 1 / 0.15^2: 25 to 1."""
    joined = with_network_scale(Scale(1.3, 0.03, "landmarks", 0.0), 0.15, 4.0)
    assert math.log(joined.factor) == pytest.approx(math.log(1.3) * 25 / 26)
    assert joined.sigma < 0.03


def test_a_contradiction_is_won_by_what_was_measured():
    measured = Scale(2.5, 0.05, "landmarks", 0.0)
    assert with_network_scale(measured, 0.15, 4.0) is measured  # log 2.5 is 5.8 standard deviations
    assert with_network_scale(measured, 0.3, 4.0).source == "landmarks+network"
    assert with_network_scale(Scale(float("inf"), 0.1, "ground", 0.0), 0.15, 4.0).factor == math.inf


def test_said_again_it_does_not_become_more_certain():
    scale = None
    for _ in range(100):
        scale = with_network_scale(None, 0.15, 4.0)
    assert scale.sigma == 0.15
