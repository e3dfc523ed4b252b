"""Poses without what is judged, and answers that need no threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact_landmarks import CAMERA, EACH, RADIUS, landmarks, maps_of, on_object, walk
from geo_training.evaluation.scene_health.answers import HIT_RANK, answers_at
from geo_training.evaluation.scene_health.expected import Visibility
from geo_training.evaluation.scene_health.leave_out import (
    Anchors,
    group_points,
    jacobians,
    predict_without_own,
)
from geo_training.evaluation.scene_health.motion import Look, drift_of, new_place

from geo_perception.geometry import make_pose, so3_exp
from geo_perception.localization.pnp import refine_solution


def _seen(T, points_l3):
    local_l3 = (points_l3 - T[:3, 3]) @ T[:3, :3]
    pixels_l2 = CAMERA.project(local_l3)
    return pixels_l2, (local_l3[:, 2] > 0.1) & CAMERA.contains(np.nan_to_num(pixels_l2, nan=-1e6))


def test_the_jacobian_is_that_of_the_projection():
    T, points_n3 = walk(8)[1], landmarks()
    _, seen_l = _seen(T, points_n3)
    J_n26 = jacobians(T, CAMERA, points_n3[seen_l])
    for k in range(6):
        step_6 = np.zeros(6)
        step_6[k] = 1e-6
        moved = make_pose(so3_exp(step_6[3:]) @ T[:3, :3], T[:3, 3] + step_6[:3])
        slope_n2 = (_seen(moved, points_n3)[0] - _seen(T, points_n3)[0])[seen_l] / 1e-6
        np.testing.assert_allclose(J_n26[:, :, k], slope_n2, atol=0.02)


def test_an_object_that_bends_the_pose_is_predicted_by_the_others():
    points_l3, T = landmarks(), walk(24)[3]
    pixels_l2, seen_l = _seen(T, points_l3)
    objects = np.unique(np.flatnonzero(seen_l) // EACH)
    own = on_object(objects[len(objects) // 2])
    bent_l2 = pixels_l2.copy()
    bent_l2[own] += [3.0, -2.0]  # the object was pushed a little: it still agrees, and pulls
    index = np.flatnonzero(seen_l)
    pulled = refine_solution(T, bent_l2[index], points_l3[index], np.ones(len(index)), CAMERA)
    anchors = Anchors(bent_l2[index], points_l3[index], np.ones(len(index)))
    predicted_l2 = predict_without_own(
        pulled.T_map_camera, CAMERA, anchors, points_l3, np.arange(len(points_l3)) // EACH, RADIUS
    )

    told = own[np.isfinite(predicted_l2[own]).all(axis=1)]
    assert len(told) >= 3
    with_own_l2 = _seen(pulled.T_map_camera, points_l3)[0]
    pulled_px_k = np.linalg.norm(with_own_l2[told] - pixels_l2[told], axis=1)
    without_px_k = np.linalg.norm(predicted_l2[told] - pixels_l2[told], axis=1)  # from where it was before
    assert pulled_px_k.min() > 0.1
    assert without_px_k.max() < 0.02


def test_what_only_itself_is_seen_of_is_not_told():
    points_l3, T = landmarks(), walk(24)[3]
    pixels_l2, seen_l = _seen(T, points_l3)
    own = np.flatnonzero(seen_l & np.isin(np.arange(len(points_l3)), on_object(np.flatnonzero(seen_l)[0] // EACH)))
    anchors = Anchors(pixels_l2[own], points_l3[own], np.ones(len(own)))
    groups_l = group_points(points_l3, RADIUS)

    assert np.isnan(predict_without_own(T, CAMERA, anchors, points_l3, groups_l, RADIUS)).all()


def test_a_landmark_answers_where_its_map_is_highest_and_not_elsewhere():
    points_l3, T = landmarks(), walk(24)[3]
    pixels_l2, seen_l = _seen(T, points_l3)
    peak_l2 = pixels_l2.copy()
    gone = np.flatnonzero(seen_l)[::4]
    peak_l2[gone] = np.random.default_rng(1).uniform([0, 0], [480, 30], (len(gone), 2))
    logits_lhw = maps_of(peak_l2, np.random.default_rng(0))
    answers = answers_at(logits_lhw, np.where(seen_l[:, None], pixels_l2, np.nan), np.ones(len(points_l3), bool))

    stay = np.setdiff1d(np.flatnonzero(seen_l), gone)
    assert answers.told_l[seen_l].all()
    assert not answers.told_l[~seen_l].any()
    assert answers.hit_l[stay].all()
    np.testing.assert_allclose(answers.pixels_l2[stay], pixels_l2[stay], atol=4.0)
    assert answers.hit_l[gone].mean() <= 0.2


def test_chance_answers_as_often_as_its_rank_says():
    rng = np.random.default_rng(5)
    predicted_l2 = rng.uniform([0, 0], [480, 352], (120, 2))
    hits = [
        answers_at(torch.from_numpy(rng.normal(0, 1, (120, 44, 60))), predicted_l2, np.ones(120, bool)).hit_l.mean()
        for _ in range(20)
    ]

    assert np.mean(hits) == pytest.approx(HIT_RANK, abs=0.015)


def test_what_is_not_expected_is_not_asked():
    points_l3 = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    visibility = Visibility(points_l3, np.array([[True, False]]), np.array([[0.0, 0.0, 0.0]]))

    assert visibility.expected(np.array([0.1, 0.1, 0.0])).tolist() == [True, False]
    assert visibility.expected(np.array([4.0, 0.0, 0.0])).tolist() == [False, False]  # from behind it
    assert visibility.expected(np.array([1.5, 0.0, 0.0])).tolist() == [False, False]  # four times as near
    assert Visibility(points_l3, None, None).expected(np.zeros(3)).all()


def _looks(point_3, poses):
    looks = []
    for T in poses:
        local_3 = (point_3 - T[:3, 3]) @ T[:3, :3]
        looks.append(Look(T, CAMERA, CAMERA.project(local_3[None])[0]))
    return looks


def _facing(point_3, count=6):
    angle = np.linspace(-0.5, 0.5, count)
    poses = []
    for a in angle:
        forward_3 = np.array([np.cos(a), np.sin(a), 0.0])
        down_3 = np.array([0.0, 0.0, -1.0])
        R = np.stack([np.cross(down_3, forward_3), down_3, forward_3], axis=1)
        poses.append(make_pose(R, point_3 - 2.0 * forward_3 + [0.0, 0.1, 0.05]))
    return poses


def test_the_new_place_is_where_the_rays_meet_and_strays_have_no_vote():
    point_3 = np.array([1.0, 2.0, 1.0])
    poses = _facing(point_3, 8)
    looks = _looks(point_3, poses)
    strays = [Look(poses[0], CAMERA, np.array([20.0, 30.0])), Look(poses[5], CAMERA, np.array([400.0, 300.0]))]

    np.testing.assert_allclose(new_place(looks + strays), point_3, atol=1e-6)
    assert new_place(looks[:3]) is None
    assert new_place([Look(T, CAMERA, np.array([37.0 * n % 480, 91.0 * n % 352])) for n, T in enumerate(poses)]) is None


def test_a_drift_is_measured_and_one_below_a_cell_is_none():
    point_3 = np.array([1.0, 2.0, 1.0])
    poses = _facing(point_3, 10)
    far = drift_of(point_3, _looks(point_3 + [0.0, 0.08, 0.05], poses), np.ones(10))
    near = drift_of(point_3, _looks(point_3 + [0.0, 0.01, 0.0], poses), np.ones(10))

    np.testing.assert_allclose(far.offset_3, [0.0, 0.08, 0.05], atol=0.01)
    assert far.significant
    assert not near.significant
    assert drift_of(point_3, _looks(point_3, poses)[:3], np.ones(3)) is None


def test_where_all_anchors_are_of_one_object_nothing_is_told():
    points_l3, T = landmarks(), walk(24)[3]
    pixels_l2, seen_l = _seen(T, points_l3)
    index = np.flatnonzero(seen_l)
    anchors = Anchors(pixels_l2[index], np.tile(points_l3[index[0]], (len(index), 1)), np.ones(len(index)))
    assert np.isnan(predict_without_own(T, CAMERA, anchors, points_l3, np.zeros(len(points_l3), int), RADIUS)).all()
