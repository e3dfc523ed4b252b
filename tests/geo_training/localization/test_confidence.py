"""Poses that are known to be right or wrong, of images of a small scene that was really trained."""

import numpy as np
import pytest
from geo_training.localization.confidence import Witness, telling, witnesses_of

from geo_perception.geometry import make_pose, so3_exp
from geo_perception.localization.confidence import Evidence
from geo_perception.localization.estimator import Localizer, LocalizerOptions


def witness(agreeing: int, right: bool) -> Witness:
    return Witness(Evidence(0.5, 0.1, 0.1, 1.0, 0.5, agreeing), right)


@pytest.fixture(scope="module")
def queries(tiny_scene):
    dataset = tiny_scene.dataset
    return [(dataset.image(f), dataset.camera(f), f.T_world_camera) for f in dataset.of_split("test")[:3]]


def test_of_an_image_the_best_right_pose_and_the_best_wrong_one_tell(tiny_scene):
    frames = [
        [witness(20, False), witness(70, True), witness(30, False), witness(60, True)],
        [witness(10, False)],
        [],
    ]
    assert telling(frames) == [witness(70, True), witness(30, False), witness(10, False)]


def test_poses_are_right_by_the_true_one_and_speak_for_themselves(tiny_scene, queries):
    localizer = Localizer.load(tiny_scene.scene_path, "cpu")
    frames = witnesses_of(localizer, queries)
    assert len(frames) == 3
    for witnesses, (image, camera, _) in zip(frames, queries, strict=True):
        assert witnesses[0].right
        result = localizer.estimate(image, camera)
        told = [localizer.options.confidence.probability(one.evidence) for one in witnesses]
        assert told[0] == pytest.approx(result.confidence)
        assert witnesses[0].evidence.agreeing == result.agreeing_points


def test_where_the_true_pose_is_another_or_none_all_are_wrong(tiny_scene, queries):
    localizer = Localizer.load(tiny_scene.scene_path, "cpu")
    image, camera, T_true = queries[0]
    aside, turned = make_pose(np.eye(3), np.array([0.3, 0, 0])), make_pose(so3_exp(np.array([0, 0.2, 0])), np.zeros(3))
    given = [(image, camera, other) for other in (None, T_true @ aside, T_true @ turned)]
    assert all(witnesses and not any(one.right for one in witnesses) for witnesses in witnesses_of(localizer, given))


def test_what_gives_no_look_gives_no_witness(tiny_scene, queries):
    image, camera, T_true = queries[0]
    localizer = Localizer.load(tiny_scene.scene_path, "cpu")
    assert witnesses_of(localizer, [(image[:0], camera, T_true), (np.zeros_like(image), camera, T_true)]) == [[], []]
    landmarks_only = Localizer.load(tiny_scene.scene_path, "cpu", LocalizerOptions(second_look=False))
    assert witnesses_of(landmarks_only, [queries[0]]) == [[]]
