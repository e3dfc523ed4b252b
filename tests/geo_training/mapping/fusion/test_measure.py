"""Hiding depth, and the scores of what is made of it."""

import numpy as np
import pytest
from drawn_planes import drawn_planes
from geo_training.mapping.fusion.hide import HOLES, RANDOM, hide
from geo_training.mapping.fusion.measure import FusionFrame, fusion_metrics, measure_hidden
from geo_training.metrics.completion import mean_scores, score_hidden

from geo_perception.errors import InputError

ALL_HW = np.ones((60, 80), bool)


def rng():
    return np.random.default_rng(0)


def test_a_fifth_is_hidden_at_random_and_nothing_that_is_not_known():
    known_hw = ALL_HW.copy()
    known_hw[:20] = False
    hidden_hw = hide(RANDOM, known_hw, [], rng())
    assert not hidden_hw[:20].any()
    assert hidden_hw[20:].mean() == pytest.approx(0.2, abs=0.02)


def test_holes_have_the_shape_of_those_of_another_image():
    hole_hw = np.zeros((30, 40), bool)
    hole_hw[5:15, 4:24] = True  # a sixth of the image
    hidden_hw = hide(HOLES, ALL_HW, [hole_hw], rng())
    twice_hw = hole_hw.repeat(2, axis=0).repeat(2, axis=1)
    assert (hidden_hw == twice_hw).all() or (hidden_hw == twice_hw[:, ::-1]).all()


def test_holes_that_hide_too_little_or_too_much_are_not_taken():
    small_hw, large_hw = np.zeros((30, 40), bool), np.ones((30, 40), bool)
    small_hw[:2, :2] = True
    hidden_hw = hide(HOLES, ALL_HW, [small_hw, large_hw], rng())
    assert 0.2 <= hidden_hw.mean() < 0.35  # ellipses
    assert hidden_hw[~hidden_hw].sum() == 0


def test_another_kind_is_refused():
    with pytest.raises(InputError, match="choose random or holes"):
        hide("stripes", ALL_HW, [], rng())


def test_scores_are_those_of_the_hand():
    true_n, away_n = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 60.0])
    predicted_n = np.array([1.1, 2.0, 3.0])
    scores = score_hidden(true_n, predicted_n, np.array([0.1, 0.1, 0.1]), away_n)
    assert scores["mae"] == pytest.approx(1.1 / 3)
    assert scores["mse"] == pytest.approx(1.01 / 3)
    assert scores["abs_rel"] == pytest.approx((0.1 + 0.25) / 3)
    assert scores["interval_90"] == pytest.approx(2 / 3)  # log(3/4) is -0.29, beyond 0.1645
    assert scores["mae_from_0"] == pytest.approx(0.1)
    assert scores["mae_from_2"] == 0
    assert np.isnan(scores["mae_from_5"])
    assert scores["mae_from_50"] == 1.0
    assert np.isnan(score_hidden(true_n, predicted_n, None, away_n)["interval_90"])


def test_means_are_over_the_images_that_have_a_number():
    assert mean_scores([{"mae": 1.0}, {"mae": 3.0}, {"mae": float("nan")}]) == {"mae": 2.0}
    assert mean_scores([]) == {}


def test_all_methods_see_the_same_and_ours_is_nearer_than_one_factor():
    depth_hw, image_hw3, relative_hw = drawn_planes()
    frame = FusionFrame("s/0.jpg", image_hw3, depth_hw, relative_hw)
    seen = []
    tests = measure_hidden([frame], ["surfaces", "factor"], [], seed=1, done=seen.append)
    assert [(one.kind, one.method) for one in tests] == [
        ("random", "surfaces"), ("random", "factor"), ("holes", "surfaces"), ("holes", "factor"),
    ]  # fmt: skip
    assert seen == tests
    np.testing.assert_array_equal(tests[2].hidden_hw, tests[3].hidden_hw)
    metrics = fusion_metrics(tests)
    for kind in ("random", "holes"):
        assert metrics[kind]["surfaces"]["mae"] < 0.3 * metrics[kind]["factor"]["mae"]
        assert metrics[kind]["surfaces"]["s"] > 0
    again = measure_hidden([frame], ["factor"], [], seed=1)
    assert again[0].scores == pytest.approx(tests[1].scores, nan_ok=True)
