"""A folder of two scenes of one room as one localizer, with pictures of the room."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_scene import CAMERA
from two_scenes import LEFT, RIGHT, T_ROOM_RIGHT, placed_text, walk_views

from geo_perception.errors import InputError
from geo_perception.geometry import make_pose, pose_error, so3_log
from geo_perception.localization.estimator import Localizer
from geo_perception.localization.keypoints import KeypointDetector
from geo_perception.localization.result import Verdict
from geo_perception.localization.scene import FORMAT_VERSION, KIND
from geo_perception.localization.scene_choice import SceneChoiceOptions
from geo_perception.localization.scene_set import AGREEING_CHI2, MultiSceneLocalizer, SceneSetOptions, load_localizer
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def folder(two_scenes, tmp_path_factory) -> Path:
    """Two scenes that are placed; tests leave it as it is."""
    return two_scenes.copied(tmp_path_factory.mktemp("scenes") / "placed")


@pytest.fixture(scope="module")
def shared(folder) -> MultiSceneLocalizer:
    return MultiSceneLocalizer.load(folder, "cpu", engine="torch")


@pytest.fixture
def localizer(shared) -> MultiSceneLocalizer:
    """One that has seen nothing yet."""
    shared.forget()
    return shared


@pytest.fixture(scope="module")
def queries(two_scenes):
    """Pictures that were not mapped, by scene, with their poses in the left scene's frame, which is the map."""
    found = {}
    for name, T_map_scene in ((LEFT, np.eye(4)), (RIGHT, T_ROOM_RIGHT)):
        dataset = two_scenes.dataset(name)
        found[name] = [(dataset.image(f), T_map_scene @ f.T_world_camera) for f in dataset.of_split("test")]
    return found


@pytest.fixture(scope="module")
def walk():
    return walk_views()


def resaved(path: Path, change, to: Path | None = None) -> None:
    """Writes a scene again with `change(tensors, header)` made to it."""
    tensors, header = load_weights(path, KIND, FORMAT_VERSION)
    change(tensors, header)
    save_weights(to or path, tensors, header)


def of_another_backbone(tensors, header) -> None:
    header["backbone"] = header["backbone"] | {"sha256": "f" * 64}


def without_views(tensors, header) -> None:
    for name in [name for name in tensors if name.startswith("views.")]:
        del tensors[name]


def is_within_what_is_stated(result, T_true) -> bool:
    error_6 = np.r_[result.T_map_camera[:3, 3] - T_true[:3, 3], so3_log(result.T_map_camera[:3, :3] @ T_true[:3, :3].T)]
    return float(error_6 @ np.linalg.solve(result.covariance_66, error_6)) <= AGREEING_CHI2


@pytest.mark.parametrize("scene", [LEFT, RIGHT])
def test_a_robot_that_wakes_anywhere_is_placed_in_the_one_map(localizer, queries, scene):
    errors = []
    for image, T_true in queries[scene]:
        localizer.forget()
        result = localizer.estimate(image, CAMERA)
        assert result.localized, result.detail
        assert (result.scene, result.map_frame) == (scene, "map")
        assert localizer.standing.proposed[0].scene == scene
        errors.append(pose_error(T_true, result.T_map_camera))
    distance_m, angle_rad = np.median(errors, axis=0)
    assert distance_m < 0.03
    assert np.degrees(angle_rad) < 1.0


def test_it_answers_as_the_scene_alone_does(localizer, folder, queries):
    alone = Localizer.load(folder / f"{LEFT}.safetensors", "cpu", engine="torch")
    for image, _ in queries[LEFT][:3]:
        one, other = localizer.estimate(image, CAMERA), alone.estimate(image, CAMERA)
        distance_m, angle_rad = pose_error(one.T_map_camera, other.T_map_camera)
        assert distance_m < 1e-3
        assert angle_rad < 1e-3
        assert one.agreeing_points == pytest.approx(other.agreeing_points, abs=3)


def test_it_walks_from_one_scene_into_the_next_once_and_no_pose_jumps(localizer, walk):
    results = [localizer.estimate(image, CAMERA) for image, _ in walk]
    scenes = [result.scene for result in results]
    assert (scenes[0], scenes[-1]) == (LEFT, RIGHT)
    assert sum(a != b for a, b in pairwise(scenes)) == 1
    assert localizer.standing.switches == 1
    assert all(result.localized for result in results)
    assert np.mean([is_within_what_is_stated(r, T) for r, (_, T) in zip(results, walk, strict=True)]) >= 0.9
    at = scenes.index(RIGHT)
    step_true = np.linalg.inv(walk[at - 1][1]) @ walk[at][1]
    step_found = np.linalg.inv(results[at - 1].T_map_camera) @ results[at].T_map_camera
    jump_m, jump_rad = pose_error(step_true, step_found)
    stated_66 = results[at - 1].covariance_66 + results[at].covariance_66
    assert jump_m < 3 * np.sqrt(np.linalg.eigvalsh(stated_66[:3, :3])[-1])
    assert jump_rad < 3 * np.sqrt(np.linalg.eigvalsh(stated_66[3:, 3:])[-1])


def test_a_frame_that_two_scenes_are_asked_for_is_looked_at_once_and_has_its_keypoints_once(
    localizer, walk, monkeypatch
):
    seen, detected = [], []
    detect = KeypointDetector.detect
    monkeypatch.setattr(KeypointDetector, "detect", lambda self, image: detected.append(1) or detect(self, image))
    original = FrozenNetwork.__call__
    monkeypatch.setattr(
        FrozenNetwork, "__call__", lambda self, image: seen.append(image.shape) or original(self, image)
    )
    for image, _ in walk:
        seen.clear()
        detected.clear()
        localizer.estimate(image, CAMERA)
        if len(localizer.standing.asked) == 2:
            break
    assert localizer.standing.asked == (LEFT, RIGHT)
    assert seen.count((CAMERA.height_px, CAMERA.width_px, 3)) == 1
    assert len(detected) == 1


@pytest.mark.parametrize(("factor", "shared"), [(1.03, True), (0.8, False)])
def test_scenes_of_about_one_focal_length_are_looked_at_through_one_pinhole(two_scenes, tmp_path, factor, shared):
    folder = two_scenes.copied(tmp_path / "s")

    def zoomed(tensors, header) -> None:
        header["network_focal_px"] *= factor

    resaved(folder / f"{RIGHT}.safetensors", zoomed)
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    left, right = localizer.localizer_of(LEFT).viewer, localizer.localizer_of(RIGHT).viewer
    assert (left is right) is shared
    assert left.network is right.network


def test_a_pose_in_another_scene_than_the_present_one_must_be_likelier_by_the_number_of_scenes(localizer, queries):
    usual = localizer.options.min_confidence
    needed = localizer.options_for(LEFT).min_confidence
    assert needed / (1 - needed) == pytest.approx(2 * usual / (1 - usual))
    localizer.estimate(queries[LEFT][0][0], CAMERA)
    assert localizer.options_for(LEFT).min_confidence == usual
    assert localizer.options_for(RIGHT).min_confidence == pytest.approx(needed)


def test_where_nothing_is_placed_each_scene_has_a_frame_of_its_own(two_scenes, queries, tmp_path):
    localizer = MultiSceneLocalizer.load(two_scenes.copied(tmp_path / "s", placed=False), "cpu", engine="torch")
    image, T_room_camera = queries[RIGHT][0]
    result = localizer.estimate(image, CAMERA)
    assert (result.scene, result.map_frame) == (RIGHT, f"map/{RIGHT}")
    T_right_camera = np.linalg.inv(T_ROOM_RIGHT) @ T_room_camera
    assert pose_error(T_right_camera, result.T_map_camera)[0] < 0.05


def test_scenes_that_contradict_each_other_are_told_and_the_present_one_is_kept(two_scenes, walk, tmp_path):
    folder = two_scenes.copied(tmp_path / "s")
    off = make_pose(np.eye(3), [0.5, 0.0, 0.0]) @ T_ROOM_RIGHT
    (folder / "scenes.yaml").write_text(placed_text(off))
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    conflicts = set()
    for image, _ in walk:
        result = localizer.estimate(image, CAMERA)
        if localizer.standing.conflict:
            assert result.scene == LEFT
            conflicts.add(localizer.standing.conflict)
    assert conflicts
    assert all(0.4 < float(told.split(" m ")[0]) < 0.6 for told in conflicts)


def test_a_picture_of_nothing_and_a_place_that_is_not_mapped_are_refused_by_all(localizer, queries):
    image, _ = queries[LEFT][0]
    rng = np.random.default_rng(0)
    for strange in (np.zeros_like(image), rng.integers(0, 255, image.shape).astype(np.uint8)):
        result = localizer.estimate(strange, CAMERA)
        assert not result.localized
        assert set(localizer.standing.asked) == {LEFT, RIGHT}
    assert localizer.estimate(image[:4, :4], CAMERA).verdict is Verdict.BAD_IMAGE


def test_scenes_are_loaded_when_asked_and_within_the_budget(folder, queries):
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    localizer.warm_up()
    assert localizer.loaded == ()
    localizer.estimate(queries[LEFT][0][0], CAMERA)
    assert localizer.loaded == (LEFT,)
    one_mb = localizer.loaded_mb
    assert 0.5 < one_mb < 200
    choice = SceneChoiceOptions(switch_frames=2)
    tight = MultiSceneLocalizer.load(
        folder, "cpu", engine="torch", set_options=SceneSetOptions(choice, memory_mb=1.2 * one_mb)
    )
    for scene in (LEFT, RIGHT, LEFT):
        for image, _ in queries[scene][:3]:
            tight.estimate(image, CAMERA)
            assert tight.loaded_mb <= 1.2 * one_mb
        assert tight.loaded == (scene,)


def test_a_folder_that_mixes_backbones_is_refused_in_a_line_that_names_the_files(two_scenes, tmp_path):
    folder = two_scenes.copied(tmp_path / "s")
    resaved(folder / f"{RIGHT}.safetensors", of_another_backbone)
    with pytest.raises(InputError, match="need different backbones") as told:
        MultiSceneLocalizer.load(folder, "cpu")
    assert "left.safetensors" in str(told.value)
    assert "right.safetensors (ffffffff)" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_scene_of_before_there_were_descriptors_is_told_and_asked_when_the_others_refuse(
    two_scenes, queries, tmp_path
):
    folder = two_scenes.copied(tmp_path / "s")
    resaved(folder / f"{RIGHT}.safetensors", without_views)
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    assert list(localizer.problems) == [RIGHT]
    assert "has no view descriptors" in localizer.problems[RIGHT]
    assert "geo-train localization head" in localizer.problems[RIGHT]
    left = load_localizer(folder / f"{LEFT}.safetensors", "cpu", engine="torch")
    image = next(image for image, _ in queries[RIGHT] if not left.estimate(image, CAMERA).localized)
    result = localizer.estimate(image, CAMERA)
    assert (result.localized, result.scene) == (True, RIGHT)
    assert localizer.standing.asked == (LEFT, RIGHT)
    alone = load_localizer(folder / f"{RIGHT}.safetensors", "cpu", engine="torch")
    assert alone.estimate(image, CAMERA).localized


def test_a_scene_that_cannot_be_read_is_named_and_the_others_go_on(two_scenes, queries, tmp_path):
    folder = two_scenes.copied(tmp_path / "s")
    broken = folder / f"{RIGHT}.safetensors"
    broken.write_bytes(broken.read_bytes()[:5000])
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    assert "right.safetensors" in localizer.problems[RIGHT]
    assert localizer.estimate(queries[LEFT][0][0], CAMERA).localized
    (folder / f"{LEFT}.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"no scene of .* can be used"):
        MultiSceneLocalizer.load(folder, "cpu")
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(InputError, match="holds no scene"):
        load_localizer(folder, "cpu")


def test_a_file_that_is_replaced_while_it_runs_is_taken_with_the_next_frame(two_scenes, queries, tmp_path):
    folder = two_scenes.copied(tmp_path / "s", placed=False)
    path = folder / f"{LEFT}.safetensors"
    good = path.read_bytes()
    localizer = MultiSceneLocalizer.load(folder, "cpu", engine="torch")
    image, T_true = queries[LEFT][0]
    before = localizer.estimate(image, CAMERA)

    def moved(tensors, header) -> None:
        tensors["landmarks_map_l3"] = tensors["landmarks_map_l3"] + np.float32([1, 0, 0])

    resaved(path, moved)
    localizer.estimate(image, CAMERA)
    np.testing.assert_allclose(
        localizer.landmarks_of(LEFT).mean(axis=0) - before.detections.points_map_n3.mean(axis=0), [1, 0, 0], atol=0.5
    )
    for broken in (b"nothing", None):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
        assert localizer.estimate(image, CAMERA).localized  # by the copy in memory
        assert LEFT in localizer.problems
    path.write_bytes(good)
    result = localizer.estimate(image, CAMERA)
    assert pose_error(T_true, result.T_map_camera)[0] < 0.05
    assert localizer.problems == {}
    resaved(path, of_another_backbone)
    assert localizer.estimate(image, CAMERA).localized
    assert "needs another backbone" in localizer.problems[LEFT]
