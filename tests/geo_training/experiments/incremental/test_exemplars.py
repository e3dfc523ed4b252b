"""Which old crops are kept."""

import numpy as np
import pytest
from geo_training.experiments.incremental.strategies.base import ContinualContext, Predictions, StrategyOptions
from geo_training.experiments.incremental.strategies.exemplars import choose_exemplars, herd, quantile_bins, quotas


class Source:
    def __init__(self, targets_n3):
        self.targets_n3 = np.asarray(targets_n3, np.float32)

    def __len__(self):
        return len(self.targets_n3)


def context(targets_n3, features_nc):
    def record(source):
        assert features_nc is not None, "nothing needs to be asked of the old network"
        return Predictions(np.zeros((len(source), 3)), np.asarray(features_nc, np.float32))

    return ContinualContext(Source(targets_n3), None, record, np.random.default_rng(0))


def test_herding_by_hand():
    # The mean is 3.25. 2 is nearest; then (2 + 1) / 2; then (2 + 1 + 10) / 3 = 4.33 beats (2 + 1 + 0) / 3 = 1.
    assert herd(np.array([[0.0], [1.0], [2.0], [10.0]]), 3).tolist() == [2, 1, 3]


def test_herding_takes_each_crop_once():
    features_nc = np.random.default_rng(0).normal(size=(20, 4))
    assert sorted(herd(features_nc, 20)) == list(range(20))
    assert herd(features_nc, 0).tolist() == []


def test_the_herded_mean_is_nearer_than_a_random_ones():
    rng = np.random.default_rng(1)
    features_nc = rng.normal(size=(200, 8))
    off = [np.linalg.norm(features_nc[rng.choice(200, 20, False)].mean(0) - features_nc.mean(0)) for _ in range(50)]
    assert np.linalg.norm(features_nc[herd(features_nc, 20)].mean(0) - features_nc.mean(0)) < 0.2 * min(off)


def test_bins_are_cut_at_quantiles():
    values_n = [0.0, 1.0, 2.0, 100.0, 101.0, 102.0]
    assert quantile_bins(np.array([values_n]).T, 3).tolist() == [0, 0, 1, 1, 2, 2]
    both_n2 = np.array([values_n, values_n[::-1]]).T
    assert quantile_bins(both_n2, 2).tolist() == [1, 1, 1, 2, 2, 2]
    assert set(quantile_bins(both_n2, 1)) == {0}


@pytest.mark.parametrize(
    ("sizes", "total", "dealt"), [([5, 3, 2], 4, [2, 1, 1]), ([1, 1, 1], 1, [1, 0, 0]), ([4, 6], 10, [4, 6])]
)
def test_quotas_follow_the_sizes(sizes, total, dealt):
    assert quotas(np.array(sizes), total).tolist() == dealt


def test_every_bin_gives_its_share():
    targets_n3 = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    features_nc = np.random.default_rng(1).normal(size=(400, 5))
    rows = choose_exemplars(context(targets_n3, features_nc), StrategyOptions(exemplar_share=0.25, bins=2))
    assert len(rows) == len(set(rows)) == 100
    label_n = quantile_bins(targets_n3.astype(np.float32), 2)
    np.testing.assert_allclose(np.bincount(label_n[rows], minlength=8), np.bincount(label_n) / 4, atol=1)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (1.0, 12)])
def test_none_and_all_need_no_features(share, count):
    rows = choose_exemplars(context(np.zeros((12, 3)), None), StrategyOptions(exemplar_share=share))
    assert rows.tolist() == list(range(count))
