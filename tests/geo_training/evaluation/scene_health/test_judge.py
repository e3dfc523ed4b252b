"""Landmarks judged on exact geometry: what moved is found, what stands is not accused, and who is lost says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from exact_landmarks import GROUND, RADIUS, World, landmarks, on_object, walk
from geo_training.evaluation.scene_health.judge import State, judge, not_lost
from geo_training.evaluation.scene_health.verdict import Verdict, recording_health, verdict_of


def _judged(observations):
    return judge(observations, landmarks(), RADIUS, GROUND)


def _states(judgement) -> list[State]:
    return [one.state for one in judgement.landmarks]


def test_nothing_moved_and_nothing_is_accused():
    judgement = _judged(World().recording(0))

    assert not judgement.gone_l.any()
    assert judgement.told_n.mean() > 0.9
    known = [one for one in judgement.landmarks if one.state is not State.UNKNOWN]
    assert len(known) > 100
    assert np.mean([one.recall for one in known]) == pytest.approx(0.9, abs=0.04)
    assert np.mean([one.precision for one in known]) > 0.99


def test_an_object_that_moved_is_found_with_how_far_and_since_when():
    moved = World()
    moved.places_l3[on_object(4)] += [0.0, 0.0, 0.5]
    before, after = World().recording(0), moved.recording(1, start_s=7 * 86400.0)
    judgement = _judged(before + after)

    gone = np.flatnonzero(judgement.gone_l)
    np.testing.assert_array_equal(gone, on_object(4))
    for landmark in gone:
        one = judgement.landmarks[landmark]
        assert one.state is State.MOVED
        assert one.moved == pytest.approx(0.5, abs=0.05)
        assert one.since_recording == 1
        assert one.since_s >= 7 * 86400.0
        assert one.precision > 0.3  # those of the first recording were right


def test_an_object_that_is_taken_away_has_vanished():
    moved = World()
    moved.places_l3[on_object(7)] = np.nan
    judgement = _judged(moved.recording(0))

    np.testing.assert_array_equal(np.flatnonzero(judgement.gone_l), on_object(7))
    assert {judgement.landmarks[n].state for n in on_object(7)} == {State.VANISHED}


def test_a_third_of_the_objects_moved():
    moved, elsewhere = World(), np.concatenate([on_object(n) for n in range(0, 32, 3)])
    for number in range(0, 32, 3):  # each its own way
        moved.places_l3[on_object(number)] += [0.4 * np.cos(number), 0.4 * np.sin(2 * number), 0.3 * np.cos(3 * number)]
    judgement = _judged(moved.recording(0, 120))

    found = judgement.gone_l & np.isin(np.arange(len(judgement.landmarks)), elsewhere)
    assert found.sum() >= 0.9 * len(elsewhere)
    assert (judgement.gone_l & ~np.isin(np.arange(len(judgement.landmarks)), elsewhere)).sum() <= 4


def test_a_small_shift_is_a_drift_in_the_direction_that_it_has():
    moved = World()
    moved.places_l3[on_object(2)] += [0.0, 0.0, 0.12]  # 10 px at 3 m: in a cell beside its own
    judgement = _judged(moved.recording(0, 120))

    drifted = [n for n in on_object(2) if judgement.landmarks[n].state is State.DRIFTED]
    assert len(drifted) >= 4
    for landmark in drifted:
        offset_3 = judgement.landmarks[landmark].to_3 - landmarks()[landmark]
        np.testing.assert_allclose(offset_3, [0.0, 0.0, 0.12], atol=0.03)
    others = [one.state for one in judgement.landmarks if one.landmark not in on_object(2)]
    assert not any(state.gone for state in others)


def test_frames_of_a_robot_that_is_lost_say_nothing():
    sound = World().recording(0)
    lost = [World().observe(one.T_map_camera, 0, 100.0 + n, n, wrong=True) for n, one in enumerate(sound[:20])]

    told_n = not_lost(sound + lost)
    assert told_n[: len(sound)].mean() > 0.9
    assert not told_n[len(sound) :].any()
    assert not _judged(sound + lost).gone_l.any()


def test_a_recording_in_another_frame_accuses_nobody():
    elsewhere = [World().observe(T, 0, float(n), n, wrong=True) for n, T in enumerate(walk(30))]

    assert not_lost(elsewhere).mean() <= 0.1  # by chance
    assert not _judged(elsewhere).gone_l.any()


def test_dim_light_makes_landmarks_answer_less_and_accuses_none():
    dim = World(answer_share=0.55, light=0.2)
    observations = World().recording(0) + dim.recording(1, start_s=86400.0)
    judgement = _judged(observations)
    recordings = recording_health(["day", "night"], observations, judgement)
    verdict, reasons = verdict_of(judgement, recordings)

    assert judgement.gone_l.mean() <= 0.05  # as stated
    assert verdict is Verdict.GOOD
    assert any(reason.startswith("night is darker than day") for reason in reasons)
    assert recordings[1].living_answer_rate == pytest.approx(0.55, abs=0.06)


def test_the_verdict_follows_what_is_gone():
    few, many = World(), World()
    for number in (1, 9):
        few.places_l3[on_object(number)] = np.nan
    for number in range(25):
        many.places_l3[on_object(number)] += [np.cos(number), np.sin(2 * number), 0.5 * np.cos(3 * number)]

    def verdict(world: World):
        observations = world.recording(0)
        judgement = _judged(observations)
        return verdict_of(judgement, recording_health(["week"], observations, judgement))

    refresh, reasons = verdict(few)
    assert refresh is Verdict.REFRESH
    assert "12 of 192 landmarks are gone (6%)" in reasons
    assert verdict(World())[0] is Verdict.GOOD
    assert verdict(many)[0] is Verdict.REMAP


def test_without_a_single_pose_nothing_is_known():
    blind = World(answer_share=0.0).recording(0)
    judgement = _judged(blind)
    verdict, reasons = verdict_of(judgement, recording_health(["week"], blind, judgement))

    assert set(_states(judgement)) == {State.UNKNOWN}
    assert verdict is Verdict.REMAP
    assert reasons[0] == "no landmark was seen often enough to say anything of it"
