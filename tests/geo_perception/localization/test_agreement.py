"""Frames that must agree before a pose is believed."""

import numpy as np
import pytest

from geo_perception.geometry import make_pose, so3_exp
from geo_perception.localization.agreement import Agreement, AgreementOptions

SURE = np.diag([1e-4] * 3 + [1e-6] * 3)  # 1 cm, 1 mrad


def at(x_m: float, turn_rad: float = 0.0) -> np.ndarray:
    return make_pose(so3_exp(np.array([0, 0, turn_rad])), np.array([x_m, 0, 0]))


def test_the_first_pose_waits_for_a_second_one():
    agreement = Agreement()
    assert not agreement.believes(0.0, at(0.0), SURE)
    assert agreement.believes(0.1, at(0.05), SURE)
    assert agreement.believes(0.2, at(0.1), SURE)


# 3 m/s over 0.1 s, 5 cm, and three of the standard deviations of both poses, 1.41 cm.
@pytest.mark.parametrize(("moved_m", "believed"), [(0.39, True), (0.40, False), (8.0, False)])
def test_a_pose_farther_away_than_a_robot_moves_is_not_believed(moved_m, believed):
    agreement = Agreement()
    agreement.believes(0.0, at(0.0), SURE)
    assert agreement.believes(0.1, at(moved_m), SURE) == believed


# 3 rad/s over 0.1 s, 0.02 rad, and three of 1.41 mrad.
@pytest.mark.parametrize(("turn_rad", "believed"), [(0.323, True), (0.326, False)])
def test_nor_is_one_that_turned_faster(turn_rad, believed):
    agreement = Agreement()
    agreement.believes(0.0, at(0.0), SURE)
    assert agreement.believes(0.1, at(0.0, turn_rad), SURE) == believed


def test_one_wrong_pose_between_right_ones_is_left_out():
    agreement = Agreement()
    answers = [agreement.believes(0.1 * n, at(9.0 if n == 3 else 0.01 * n), SURE) for n in range(6)]
    assert answers == [False, True, True, False, True, True]


def test_who_was_carried_elsewhere_is_believed_with_the_second_pose_from_there():
    agreement = Agreement()
    answers = [agreement.believes(0.1 * n, at(0.0 if n < 3 else 9.0), SURE) for n in range(6)]
    assert answers == [False, True, True, False, True, True]


def test_a_pose_missing_now_and_then_changes_nothing_four_in_a_row_mean_lost():
    agreement = Agreement()
    agreement.believes(0.0, at(0.0), SURE)
    for n in range(3):
        agreement.lost(0.1 + 0.1 * n)
    assert agreement.believes(0.4, at(0.0), SURE)
    for n in range(4):
        agreement.lost(0.5 + 0.1 * n)
    assert not agreement.believes(0.9, at(0.0), SURE)


def test_unsure_poses_agree_over_a_larger_distance():
    agreement, unsure = Agreement(), np.diag([0.04] * 3 + [1e-6] * 3)  # 20 cm: 0.3 + 0.05 + 3 * 0.283 m
    agreement.believes(0.0, at(0.0), unsure)
    assert agreement.believes(0.1, at(1.19), unsure)
    agreement.clear()
    agreement.believes(0.0, at(0.0), unsure)
    assert not agreement.believes(0.1, at(1.21), unsure)


def test_when_time_begins_again_nothing_is_remembered():
    agreement = Agreement()
    agreement.believes(100.0, at(0.0), SURE)
    agreement.believes(100.1, at(0.0), SURE)
    assert not agreement.believes(3.0, at(0.0), SURE)
    assert agreement.believes(3.1, at(0.0), SURE)


def test_as_many_frames_agree_as_are_asked_for():
    assert Agreement(AgreementOptions(frames=1)).believes(0.0, at(0.0), SURE)
    three = Agreement(AgreementOptions(frames=3))
    assert [three.believes(0.1 * n, at(0.0), SURE) for n in range(3)] == [False, False, True]
