"""What map points and neighbours say of a landmark, and when that outweighs its own answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exact_landmarks import GROUND, RADIUS, World, landmarks, on_object
from geo_training.evaluation.scene_health.judge import State, grades, judge
from geo_training.evaluation.scene_health.points import point_evidence, points_say, said_around

from geo_perception.localization.map_points import MapPoints

BESIDE = 0.02 * np.eye(3)  # three map points beside each landmark


def _points() -> MapPoints:
    places_a3 = (landmarks()[:, None] + BESIDE).reshape(-1, 3)
    A, up_3 = len(places_a3), [0.0, 0.0, 1.0]
    whitening = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    return MapPoints(
        places_a3, np.arange(A), np.zeros((A, 4), np.int8), np.tile(up_3, (A, 1)), np.full(A, np.pi),
        np.tile([0.1, 9.0], (A, 1)), *whitening, (0,),
    )  # fmt: skip


def _of(numbers: np.ndarray) -> np.ndarray:
    """The points beside some landmarks."""
    return (3 * np.asarray(numbers, int)[:, None] + np.arange(3)).ravel()


def _asking(observations, missing: np.ndarray):
    """The observations in which each landmark's points are looked for where that is, and found but for the missing."""
    return [
        replace(one, point_asked_p=(asked := _of(np.flatnonzero(one.answers.told_l))),
                point_found_p=np.setdiff1d(asked, _of(missing)))
        for one in observations
    ]  # fmt: skip


def test_points_that_are_never_found_speak_for_gone_and_others_against():
    observations = _asking(World().recording(0), on_object(5))
    evidence_p, asked_p = point_evidence(_points(), observations)
    known = asked_p >= 5

    assert (evidence_p[_of(on_object(5))] > 1).all()
    assert (evidence_p[np.setdiff1d(np.flatnonzero(known), _of(on_object(5)))] < -1).all()
    said_l = points_say(_points(), observations, landmarks(), RADIUS)
    assert (said_l[on_object(5)] > 0).all()
    assert said_l[on_object(12)].max() < 0


def test_what_was_never_looked_for_says_nothing():
    observations = World().recording(0)
    assert not points_say(_points(), observations, landmarks(), RADIUS).any()


def test_a_detector_that_goes_on_answering_is_overruled_by_the_points_around_it():
    observations = _asking(World().recording(0), on_object(5))
    by_itself = judge(observations, landmarks(), RADIUS, GROUND)
    with_points = judge(observations, landmarks(), RADIUS, GROUND, points=_points())

    assert not by_itself.gone_l[on_object(5)].any()
    assert with_points.gone_l[on_object(5)].all()
    others = np.setdiff1d(np.arange(len(landmarks())), on_object(5))
    assert with_points.gone_l[others].mean() <= 0.02
    assert {with_points.landmarks[n].since_recording for n in on_object(5)} == {0}


def test_points_that_are_found_save_a_landmark_that_the_light_silences():
    shy = World()
    shy.places_l3[on_object(5)[:1]] = np.nan  # one landmark of the object is not found any more
    observations = _asking(shy.recording(0), np.zeros(0, int))
    state = judge(observations, landmarks(), RADIUS, GROUND, points=_points()).landmarks[on_object(5)[0]].state

    assert state is State.ALIVE


def test_voices_are_limited_weighted_by_distance_and_count_as_three_at_the_most():
    places_l3 = np.zeros((1, 3))
    at_once = said_around(places_l3, np.zeros((1, 3)), np.array([10.0]), 1.0, 3.0)
    crowd = said_around(places_l3, np.zeros((50, 3)), np.full(50, 1.0), 1.0, 3.0)
    far = said_around(places_l3, np.array([[0.5, 0.0, 0.0]]), np.array([2.0]), 1.0, 3.0)
    beyond = said_around(places_l3, np.array([[1.5, 0.0, 0.0]]), np.array([2.0]), 1.0, 3.0)

    assert at_once[0] == pytest.approx(3.0)
    assert crowd[0] == pytest.approx(3.0)
    assert far[0] == pytest.approx(2.0 * np.exp(-0.5))
    assert beyond[0] == 0.0
    assert said_around(places_l3, places_l3, np.array([5.0]), 1.0, 3.0, own=True)[0] == 0.0


def test_grades_fall_from_a_detection_to_a_place_like_any_other():
    one = World(noise_px=0.0, answer_share=1.0).recording(0, 12)[4]
    told = np.flatnonzero(one.answers.told_l)
    assert (grades(one, 0.05)[told] == 0).all()
    too_low = replace(one, score_l=np.full(len(one.score_l), 0.01))
    assert (grades(too_low, 0.05)[told] == 1).all()
    elsewhere = replace(one, peak_l2=one.predicted_l2 + 40.0)
    assert (grades(elsewhere, 0.05)[told] == 2).all()  # its rank is still the best
    ranks_l = np.where(one.answers.told_l, 0.5, np.nan)
    nowhere = replace(elsewhere, answers=replace(one.answers, rank_l=ranks_l))
    assert (grades(nowhere, 0.05) == 4).all()
