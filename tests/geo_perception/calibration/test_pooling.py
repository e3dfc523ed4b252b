"""One focal length from many opinions, by hand-computed values and by statistics."""

import numpy as np
import pytest

from geo_perception.calibration.pooling import combined, pooled_log_focal


def test_independent_opinions_count_by_their_inverse_variances():
    value, sigma = combined([(1.0, 0.1), (2.0, 0.2)])
    assert value == pytest.approx((1.0 * 100 + 2.0 * 25) / 125)
    assert sigma == pytest.approx(125**-0.5)
    assert combined([(3.0, 0.4)]) == (pytest.approx(3.0), pytest.approx(0.4))


def test_one_image_is_believed_as_it_says():
    assert pooled_log_focal([6.2], [0.15]) == (pytest.approx(6.2), pytest.approx(0.15))


def test_many_that_agree_are_as_certain_as_what_they_share_allows():
    for count in (4, 25, 10_000):
        value, sigma = pooled_log_focal([6.0] * count, [0.1] * count, shared_error=0.2)
        assert value == pytest.approx(6.0)
        assert sigma == pytest.approx(0.1 * (0.2 + 0.8 / count) ** 0.5, rel=1e-6)


def test_one_that_is_far_off_hardly_counts():
    value, sigma = pooled_log_focal([6.0, 6.01, 5.99, 6.0, 7.5], [0.1] * 5)
    assert value == pytest.approx(6.0, abs=0.02)
    assert sigma < 0.1


def test_an_uncertain_one_moves_little():
    value, _ = pooled_log_focal([6.0, 6.3], [0.02, 0.2])
    assert value == pytest.approx(6.0, abs=0.01)


def test_the_truth_lies_within_the_stated_interval_as_often_as_stated():
    """200 walks of 20 images, whose errors share a part; half of the images state half of their sigma."""
    rng = np.random.default_rng(0)
    z = []
    for _ in range(200):
        shared, own_n = 0.2**0.5 * rng.normal(), 0.8**0.5 * rng.normal(size=20)
        sigma_n = rng.choice([0.05, 0.1, 0.3], 20)
        value, sigma = pooled_log_focal(sigma_n * (shared + own_n), sigma_n)
        z.append(value / sigma)
    assert 0.85 < np.mean(np.abs(z) < 1.645) < 0.97


def test_images_that_contradict_each_other_make_it_less_certain():
    agree, contradict = ([6.0 + off, 6.0 - off] * 10 for off in (0.05, 0.3))
    assert pooled_log_focal(contradict, [0.1] * 20)[1] > 1.2 * pooled_log_focal(agree, [0.1] * 20)[1]


def test_no_image_at_all_is_an_error():
    with pytest.raises(ValueError, match="no image"):
        pooled_log_focal([], [])
