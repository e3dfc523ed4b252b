"""How the scenes of a folder lie to each other, and what a pose and its covariance become in their map."""

import numpy as np
import pytest

from geo_perception.errors import InputError
from geo_perception.geometry import make_pose, so3_exp
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_perception.localization.scene_frames import SceneFrames, ScenePlace, read_scene_frames

PLACED = """
map_frame: building
T_map_scene:
  hall: {translation: [0, 0, 0], rotation: [0, 0, 0, 1]}
  lab: {translation: [10, -2, 0.5], rotation: [0, 0, 0.7071068, 0.7071068], sigma_m: 0.02, sigma_rad: 0.003}
"""


def written(tmp_path, text: str):
    (tmp_path / "scenes.yaml").write_text(text)
    return tmp_path


def test_places_are_read_and_a_point_of_a_scene_is_where_its_place_has_it(tmp_path):
    frames = read_scene_frames(written(tmp_path, PLACED), ["hall", "lab", "attic"])
    assert [frames.frame_of(name) for name in ("hall", "lab", "attic")] == ["building", "building", "building/attic"]
    lab = frames.place_of("lab")
    assert (lab.sigma_m, lab.sigma_rad) == (0.02, 0.003)
    # A quarter turn about the vertical: x of the lab is y of the map.
    np.testing.assert_allclose(lab.points_in_map(np.array([[1.0, 0, 0]])), [[10, -1, 0.5]], atol=1e-6)
    assert frames.place_of("attic") is None


def test_without_the_file_each_scene_has_a_frame_of_its_own(tmp_path):
    frames = read_scene_frames(tmp_path, ["hall", "lab"])
    assert frames.frame_of("hall") == "map/hall"
    assert read_scene_frames(tmp_path, ["hall"], "site").frame_of("hall") == "site/hall"


def test_a_frame_that_is_asked_for_counts_more_than_that_of_the_file(tmp_path):
    assert read_scene_frames(written(tmp_path, PLACED), ["hall", "lab"], "site").frame_of("lab") == "site"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("map_frame: [", "cannot be read"),
        ("- hall", "has no keys"),
        ("maps: x", "'maps' is not known; it takes map_frame, T_map_scene"),
        ("map_frame: 3", "map_frame is no name"),
        ("T_map_scene: [1]", "must hold a place for each scene"),
        ("T_map_scene: {hal: {}}", "places 'hal', but there is no hal.safetensors beside it"),
        ("T_map_scene: {hall: 3}", "T_map_scene of hall: give translation"),
        ("T_map_scene: {hall: {translation: [0, 0, 0]}}", "T_map_scene of hall: give translation"),
        ("T_map_scene: {hall: {translation: [0, 0], rotation: [0, 0, 0, 1]}}", "give translation"),
        ("T_map_scene: {hall: {translation: [0, 0, x], rotation: [0, 0, 0, 1]}}", "give translation"),
        ("T_map_scene: {hall: {translation: [0, 0, 0], rotation: [0, 0, 0, 2]}}", "unit"),
        ("T_map_scene: {hall: {translation: [0, 0, .nan], rotation: [0, 0, 0, 1]}}", "give translation"),
        ("T_map_scene: {hall: {translation: [0, 0, 0], rotation: [0, 0, 0, 1], sigma: 1}}", "'sigma' is not known"),
        ("T_map_scene: {hall: {translation: [0, 0, 0], rotation: [0, 0, 0, 1], sigma_m: -1}}", "sigma_m must be"),
        ("T_map_scene: {hall: {translation: [0, 0, 0], rotation: [0, 0, 0, 1], sigma_rad: .nan}}", "sigma_rad must be"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_that_names_the_file(tmp_path, text, said):
    with pytest.raises(InputError, match=r"scenes\.yaml") as told:
        read_scene_frames(written(tmp_path, text), ["hall", "lab"])
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_pose_in_the_map_has_the_covariance_of_poses_drawn_in_the_scene_with_a_place_drawn_too():
    rng = np.random.default_rng(1)
    place = ScenePlace(make_pose(so3_exp(np.array([0.2, -0.4, 1.0])), [5.0, -3.0, 1.0]), 0.03, 0.01)
    T_scene_camera = make_pose(so3_exp(np.array([1.0, 0.3, -0.2])), [4.0, 2.0, 1.5])
    covariance_66 = np.diag([1e-4, 4e-4, 9e-4, 1e-5, 2e-5, 4e-5])
    T_true = place.T_map_scene @ T_scene_camera
    errors = []
    for _ in range(4000):
        e_6 = rng.multivariate_normal(np.zeros(6), covariance_66)
        camera = make_pose(so3_exp(e_6[3:]) @ T_scene_camera[:3, :3], T_scene_camera[:3, 3] + e_6[:3])
        e_t, e_r = rng.normal(0, place.sigma_m, 3), rng.normal(0, place.sigma_rad, 3)
        moved = make_pose(so3_exp(e_r) @ place.T_map_scene[:3, :3], place.T_map_scene[:3, 3] + e_t)
        T = moved @ camera
        turned_33 = T[:3, :3] @ T_true[:3, :3].T
        small_3 = 0.5 * np.array([turned_33[2, 1] - turned_33[1, 2], turned_33[0, 2] - turned_33[2, 0],
                                  turned_33[1, 0] - turned_33[0, 1]])  # fmt: skip
        errors.append(np.r_[T[:3, 3] - T_true[:3, 3], small_3])
    stated_66 = place.covariance_in_map(T_scene_camera, covariance_66)
    drawn_66 = np.cov(np.array(errors).T)
    scale_6 = np.sqrt(np.diag(stated_66))
    np.testing.assert_allclose(drawn_66 / np.outer(scale_6, scale_6), stated_66 / np.outer(scale_6, scale_6), atol=0.08)


def test_an_answer_is_brought_into_the_map_with_its_landmarks_or_says_that_its_frame_is_its_own():
    T, points_n3 = make_pose(np.eye(3), [1.0, 2.0, 3.0]), np.array([[0.0, 0.0, 1.0]])
    detections = Detections(np.array([4]), np.zeros((1, 2)), points_n3, np.ones(1), np.ones(1), np.ones(1, bool))
    result = Localization(Verdict.LOCALIZED, "", detections, T, np.eye(6) * 1e-4)
    frames = SceneFrames("map", {"lab": ScenePlace(make_pose(np.eye(3), [10.0, 0, 0]), 0.0, 0.0)})
    placed, own = frames.in_map(result, "lab"), frames.in_map(result, "attic")
    np.testing.assert_allclose(placed.T_map_camera[:3, 3], [11, 2, 3])
    np.testing.assert_allclose(placed.detections.points_map_n3, [[10, 0, 1]])
    np.testing.assert_allclose(placed.covariance_66, np.eye(6) * 1e-4)
    assert (placed.scene, placed.map_frame) == ("lab", "map")
    assert (own.scene, own.map_frame) == ("attic", "map/attic")
    np.testing.assert_array_equal(own.T_map_camera, T)
    refused = frames.in_map(Localization(Verdict.TOO_FEW_LANDMARKS, "none"), "lab")
    assert (refused.T_map_camera, refused.scene) == (None, "lab")
