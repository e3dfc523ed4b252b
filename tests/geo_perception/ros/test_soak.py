"""The soak itself: a robot's nodes give results again after each of a few faults, and its verdict can be no."""

import pytest
import soak
import soak_faults

FIGURES = {
    "late": [], "ended_unasked": 0, "unhandled": 0, "memory_slope_mb_10min": 0.2,
    "memory_slope_sigma_mb_10min": 0.1, "hostile_recovered_s_max": 0.6,
}  # fmt: skip


@pytest.mark.slow
def test_nodes_give_results_again_after_each_fault(tiny_scene, tmp_path):
    said = []
    names = {fault.__name__ for fault in soak_faults.FAULTS}
    figures = soak.soak(tiny_scene, tmp_path, 0.0, 0, soak_faults.FAULTS, said.append, rounds=len(names))
    figures["hostile_recovered_s_max"] = None  # of a machine that does other tests meanwhile
    assert soak.shortcomings(figures) == []
    assert (figures["faults"], figures["lives"]) == (len(names), 1 + len(soak_faults.KILLS) + 1)  # one is killed twice
    assert figures["recovered_s_max"].keys() == names
    assert sorted(line.split(":")[0] for line in said[1:]) == sorted(names)
    assert figures["hostile_messages"] == 2000
    assert figures["kills"] == len(soak_faults.KILLS)


def test_memory_slope_is_that_of_all_lives_after_their_warm_up():
    # 2 MB and 4 MB in ten minutes at different levels; the loading before the warm-up does not count.
    slow = [(10.0, 0.0), *((200.0 + 60 * i, 900 + 0.2 * i) for i in range(5))]
    fast = [(5.0, 5000.0), *((200.0 + 60 * i, 700 + 0.4 * i) for i in range(5))]
    assert soak.memory_slope([slow]) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-6))
    assert soak.memory_slope([slow, fast])[0] == pytest.approx(3.0)
    assert soak.memory_slope([slow[:2], []]) == (None, None)


def test_the_slope_says_how_sure_it_is():
    # By hand: residuals 1, -1, -1, 1 of times -90, -30, 30, 90 s: variance 4 / 2, neighbours not alike.
    life = [(300.0 + 60 * i, 900 + 0.1 * i + noise) for i, noise in enumerate((1, -1, -1, 1))]
    slope, sigma = soak.memory_slope([life])
    assert slope == pytest.approx(1.0)
    assert sigma == pytest.approx(600 * (2 / 18000) ** 0.5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"late": ["killed: no result within 60 s"]}, "results came late: killed"),
        ({"ended_unasked": 2}, "the process ended 2 times by itself"),
        ({"unhandled": 1}, "1 exceptions that nobody caught"),
        ({"hostile_recovered_s_max": 1.4}, "results came 1.4 s after hostile messages"),
        ({"memory_slope_mb_10min": 1.5}, "memory grew by 1.50 +- 0.10 MB in ten minutes"),
    ],
)
def test_what_is_not_good_enough_is_named(changes, sentence):
    unknown = {"memory_slope_mb_10min": None, "memory_slope_sigma_mb_10min": None}
    unsure = {"memory_slope_mb_10min": 1.5, "memory_slope_sigma_mb_10min": 0.3}
    assert soak.shortcomings(FIGURES) == soak.shortcomings(FIGURES | unknown) == []
    assert soak.shortcomings(FIGURES | unsure) == []
    (found,) = soak.shortcomings(FIGURES | changes)
    assert found.startswith(sentence)
