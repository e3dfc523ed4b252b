"""What is made of the times of nodes and bare estimators, against numbers worked out by hand."""

import math

import pytest
from geo_training.evaluation.latency.figures import (
    BareFrame,
    Slice,
    ages_in_frames,
    bare_s,
    container_ratios,
    costs_s,
    node_ratios,
    worst,
)

BOTH = frozenset({"localization", "depth"})


def bare(decode_s, good=BOTH, **work_s):
    return BareFrame(decode_s, work_s, frozenset(good) & frozenset(work_s))


def alone(published_s, received_s, bare_work_s):
    return Slice(published_s, {"depth": received_s}, [bare(0.0, depth=seconds) for seconds in bare_work_s])


def test_an_answer_costs_from_publication_where_the_node_was_free():
    one = alone({1: 10.0, 2: 10.1}, {1: 10.04, 2: 10.15}, [])
    assert costs_s(one) == {("depth", 1): pytest.approx(0.04), ("depth", 2): pytest.approx(0.05)}


def test_waiting_for_the_image_before_is_no_cost():
    one = alone({1: 10.0, 2: 10.033}, {1: 10.06, 2: 10.12}, [])
    assert costs_s(one)["depth", 2] == pytest.approx(0.06)  # and not 0.087


def test_the_answers_of_one_process_to_one_image_add_up_to_its_last():
    one = Slice({7: 5.0}, {"localization": {7: 5.05}, "depth": {7: 5.08}}, [])
    costs = costs_s(one)
    assert costs["localization", 7] == pytest.approx(0.05)
    assert costs["depth", 7] == pytest.approx(0.03)


def test_the_bare_estimator_counts_with_decoding_and_where_a_node_would_answer():
    frames = [bare(0.001, depth=0.02), bare(0.001, good=(), depth=0.5)]
    assert bare_s(Slice({}, {}, frames), "depth") == [pytest.approx(0.021)]


def test_the_ratio_of_a_node_is_the_median_over_slices_and_the_p99_that_of_all():
    quiet = alone({1: 0.0, 2: 1.0, 3: 2.0}, {1: 0.022, 2: 1.022, 3: 2.022}, [0.02] * 3)  # 1.1
    loaded = alone({4: 3.0, 5: 4.0, 6: 5.0}, {4: 3.048, 5: 4.048, 6: 5.048}, [0.04] * 3)  # 1.2
    third = alone({7: 6.0}, {7: 6.03}, [0.02])  # 1.5
    found = node_ratios([quiet, loaded, third], "depth")
    assert found["ratio_p50"] == pytest.approx(1.2)
    assert found["ratio_p99"] == pytest.approx(0.048 / 0.04)
    assert found["p50_ms"] == pytest.approx(30)
    assert found["bare_p50_ms"] == pytest.approx(20)


def test_a_node_that_answers_nothing_has_no_ratio():
    found = node_ratios([alone({1: 0.0}, {}, [0.02])], "depth")
    assert all(math.isnan(found[key]) for key in ("ratio_p50", "ratio_p99", "p50_ms"))


def test_the_container_is_compared_with_the_estimators_that_ran():
    frames = [bare(0.002, localization=0.05, depth=0.03)] * 3
    published_s = {1: 0.0, 2: 0.1, 3: 0.2}
    localized_s = {1: 0.06, 2: 0.16, 3: 0.26}
    answers = {"localization": localized_s, "depth": {1: 0.09, 3: 0.29}}  # depth left the second image out
    found = container_ratios([Slice(published_s, answers, frames)])
    # 90 / 82, 60 / 52 and 90 / 82: decoding counts once an image
    assert found["ratio_p50"] == pytest.approx(0.09 / 0.082)
    assert found["p50_ms"] == pytest.approx(90)
    assert found["bare_p50_ms"] == pytest.approx(82)


def test_the_container_without_answers_has_no_ratio():
    assert math.isnan(container_ratios([Slice({1: 0.0}, {"depth": {}}, [bare(0.0, depth=0.1)])])["ratio_p50"])


def test_an_age_is_in_periods_of_the_nodes_own_rate_and_holds_the_waiting():
    slow = alone({1: 0.0, 2: 0.1, 3: 0.2}, {1: 0.06, 3: 0.26}, [])  # answers every 0.2 s
    assert ages_in_frames([slow], 10) == [pytest.approx(0.3), pytest.approx(0.3)]
    fast = alone({1: 0.0, 2: 0.1}, {1: 0.15, 2: 0.16}, [])  # answers in a burst are no rate
    assert ages_in_frames([fast], 10) == [pytest.approx(1.5), pytest.approx(0.6)]


def test_the_worst_of_what_is_known():
    assert worst([1.0, math.nan, 1.3]) == 1.3
    assert math.isnan(worst([math.nan]))
