"""Charts that say what the numbers say."""

import numpy as np
from geo_training.report.charts import latency_histogram, line, recall_steps, reliability_plot, rounded


def test_what_is_no_number_breaks_a_line():
    assert rounded([1.23456, np.nan, np.inf, 2]) == [1.2346, None, None, 2.0]
    assert line([0, 1], [np.nan, 1.0], "error", "red").y == (None, 1.0)


def test_recall_counts_misses_and_what_lies_beyond_the_limit():
    limits, share = recall_steps([0.3, np.inf, 0.1, 5.0], limit=1.0)
    np.testing.assert_array_equal(limits, [0.0, 0.1, 0.3, 1.0])
    np.testing.assert_array_equal(share, [0.0, 0.25, 0.5, 0.5])


def test_true_covariances_lie_on_the_diagonal():
    nees_n = np.random.default_rng(0).chisquare(3, 20000)
    chart = reliability_plot({"position": (nees_n, 3), "twice too sure": (4 * nees_n, 3)}, "actual (%)")
    diagonal, true, sure = chart.data
    assert tuple(diagonal.x) == tuple(diagonal.y) == (0.0, 100.0)
    np.testing.assert_allclose(true.y, true.x, atol=1.5)
    assert all(actual < stated for stated, actual in zip(sure.x, sure.y, strict=True))


def test_latencies_are_counted_once_each_and_their_percentiles_marked():
    chart = latency_histogram([0.01] * 98 + [0.05, 0.09, np.nan, np.inf])
    assert sum(chart.data[0].y) == 100
    assert [note.text for note in chart.layout.annotations] == ["p50", "p99"]
    assert chart.layout.shapes[0].x0 == 10.0
    assert 50.0 <= chart.layout.shapes[1].x0 <= 90.0


def test_latencies_that_only_their_last_digits_tell_apart_have_bins():
    assert sum(latency_histogram([0.02, 0.02 + 1e-17, 0.02 - 1e-17]).data[0].y) == 3
