"""`geo-train map` and `geo-train landmarks` with the real COLMAP, on small images of boards at known places."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from board_walk import CAMERA, poses_of_walk, write_dataset
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.mapping.build import MapOptions, build_map, choose_poses, mapping_frames, save_map
from geo_training.mapping.colmap_io import registered_poses
from geo_training.mapping.features import FeatureOptions, FeatureStore
from geo_training.mapping.known_distances import KnownDistance
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.pairs import appearance_similarity, choose_pairs, loop_pairs, sequential_pairs, view_overlap
from geo_training.mapping.scene_map import SceneMap

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, make_pose, so3_exp

OPTIONS = MapOptions(features=FeatureOptions(num_threads=2))


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Ten frames, of which the fifth is kept for judging; poses, depth, a known camera."""
    root = tmp_path_factory.mktemp("walk") / "data"
    return write_dataset(root, [("walk", 1, 10)], lambda i: "test" if i == 5 else "train", depth=True)


@pytest.fixture(scope="module")
def known_map(walk):
    report, model = build_map(walk, OPTIONS)
    save_map(walk, report, model)
    return report


def test_known_poses_are_kept_exactly_and_points_lie_on_the_boards(walk, known_map):
    scene = SceneMap.load(walk.root)
    assert known_map.good
    assert known_map.poses == "known"
    assert scene.metric
    assert known_map.scale.metric
    assert known_map.gravity_world == [0.0, 1.0, 0.0]
    for frame in walk.frames:
        if frame.split == "train":
            np.testing.assert_allclose(scene.T_world_camera[frame.name], frame.T_world_camera, atol=1e-9)
    assert scene.cameras["walk/000000.jpg"] == CAMERA
    off = np.abs(scene.points_world_n3[:, 2, None] - [3.0, 2.2, 2.5]).min(axis=1)
    assert len(off) > 300
    assert np.median(off) < 0.01
    assert known_map.reprojection_mean_px < 0.8


def test_the_map_reprojects_onto_its_own_tracks_in_our_pixels(walk, known_map):
    """The half pixel between COLMAP's pixels and ours would show as a mean of (0.5, 0.5)."""
    scene = SceneMap.load(walk.root)
    residuals = []
    for index, name in enumerate(scene.frame_names):
        rows = scene.tracks.frame_m == index
        T = invert_pose(scene.T_world_camera[name])
        local = scene.points_world_n3[scene.tracks.point_m[rows]] @ T[:3, :3].T + T[:3, 3]
        residuals.append(scene.cameras[name].project(local) - scene.tracks.pixels_m2[rows])
    residuals = np.concatenate(residuals)
    assert np.abs(residuals.mean(axis=0)).max() < 0.1
    assert np.linalg.norm(residuals, axis=1).mean() == pytest.approx(known_map.reprojection_mean_px, rel=0.3)


def test_frames_kept_for_judging_are_not_mapped(walk, known_map):
    assert "walk/000005.jpg" not in SceneMap.load(walk.root).frame_names
    assert known_map.frames == known_map.registered == 9
    assert known_map.taken["found"] == 10
    assert known_map.taken["used"] == 9
    assert known_map.taken["left_out"] == {"of the splits test and val": 1}
    assert len(mapping_frames(walk, all_frames=True)) == 10


def test_features_and_matches_are_made_once(walk, known_map):
    again, _ = build_map(walk, OPTIONS)
    assert again.points == known_map.points
    store = FeatureStore(walk, OPTIONS.features)
    frames = mapping_frames(walk, False)
    assert store.match(choose_pairs(frames, walk, store, True)[1]) == 0
    fewer = FeatureStore(walk, replace(OPTIONS.features, max_features=500))
    assert fewer.image_numbers() == {}
    FeatureStore(walk, OPTIONS.features).extract(frames)


def test_another_image_under_the_same_name_has_its_own_features(tmp_path):
    root = tmp_path / "walk"
    with SceneWriter(root, []) as writer:
        camera_id = writer.add_camera(CAMERA)
        for number in range(2):
            rng = np.random.default_rng(number)
            noise_hw3 = rng.integers(0, 255, (CAMERA.height_px, CAMERA.width_px, 3), dtype=np.uint8)
            writer.add_frame("a", number, camera_id, noise_hw3)
    dataset = SceneDataset(root)
    store = FeatureStore(dataset)
    store.extract(dataset.frames)
    first, second = (frame.name for frame in dataset.frames)
    _, second_nd = store.features(second)
    assert set(FeatureStore(SceneDataset(root)).image_numbers()) == {first, second}  # the same images: kept
    dataset.image_path(dataset.frames[0]).write_bytes(dataset.image_path(dataset.frames[1]).read_bytes())
    store = FeatureStore(SceneDataset(root))
    assert not store.image_numbers()
    store.extract(dataset.frames)
    np.testing.assert_array_equal(store.features(first)[1], second_nd)


def test_landmarks_of_the_map_with_depth(walk, known_map, tmp_path):
    result = invoke(train, "landmarks", walk.root, "--count", "60", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    found, report = LandmarkSet.load(walk.root), json.loads((tmp_path / "r.json").read_text())
    assert len(found) == report["count"] == 60
    assert report["visibility_from_depth"]
    assert report["seen_per_frame_min"] >= 20
    assert (found.visibility_fl == 1).mean() > 0.4
    off = np.abs(found.points_world_l3[:, 2, None] - [3.0, 2.2, 2.5]).min(axis=1)
    assert np.median(off) < 0.01


def test_from_the_images_alone_the_walk_comes_back_in_the_recorded_world(walk):
    report, model = build_map(walk, replace(OPTIONS, poses="none"))
    assert report.good, report.problems
    assert report.registered == 9
    assert report.components == [9]
    assert report.scale.metric
    assert report.scale.poses_agree >= 8
    assert report.scale.residual < 0.01
    recorded = {frame.name: frame.T_world_camera for frame in walk.frames}
    for name, T in registered_poses(model).items():
        assert np.linalg.norm(T[:3, 3] - recorded[name][:3, 3]) < 0.04


def test_the_global_mapper_gives_the_same_walk(walk):
    report, model = build_map(walk, replace(OPTIONS, poses="none", mapper="global"))
    assert report.good, report.problems
    assert report.registered == 9
    assert report.scale.residual < 0.02
    colours_n3 = np.array([point.color for point in model.points3D.values()])
    assert colours_n3.std() > 10  # it has none of its own


def test_without_poses_the_scale_is_unknown_until_two_distances_are_given(tmp_path):
    dataset = write_dataset(tmp_path / "data", [("walk", 1, 10)], poses=False)
    report, _ = build_map(dataset, OPTIONS)
    assert report.poses == "none"
    assert report.good, report.problems
    assert not report.scale.metric
    assert report.gravity_world is None
    assert "unknown" in report.scale.source
    truth = [T[:3, 3] for T in poses_of_walk(10)]
    known = tuple(
        KnownDistance(f"{a:06d}", f"{b:06d}", float(np.linalg.norm(truth[a] - truth[b]))) for a, b in [(0, 6), (2, 9)]
    )
    report, model = build_map(dataset, replace(OPTIONS, known_distances=known))
    assert report.scale.metric
    assert report.scale.spread < 0.03
    poses = registered_poses(model)
    span = np.linalg.norm(poses["walk/000000.jpg"][:3, 3] - poses["walk/000009.jpg"][:3, 3])
    assert span == pytest.approx(np.linalg.norm(truth[0] - truth[9]), rel=0.03)


def test_two_rooms_in_one_dataset_are_refused_and_the_larger_is_kept_on_request(tmp_path):
    dataset = write_dataset(tmp_path / "data", [("one", 1, 7), ("two", 2, 5)], poses=False)
    result = invoke(train, "map", dataset.root, "--json", tmp_path / "r.json")
    assert result.exit_code == 1
    assert "breaks into 2 components of 7, 5 frames" in result.output.replace("\n", " ")
    assert not (dataset.root / "colmap").exists()
    assert not (dataset.root / "map.json").exists()
    assert json.loads((tmp_path / "r.json").read_text())["good"] is False
    result = invoke(train, "map", dataset.root, "--keep-largest")
    assert result.exit_code == 0, result.output
    scene = SceneMap.load(dataset.root)
    assert {name.split("/")[0] for name in scene.frame_names} == {"one"}
    assert scene.report["sequences"]["two"] == {"frames": 5, "registered": 0}
    assert not scene.metric


def test_images_without_texture_are_refused(tmp_path):
    with SceneWriter(tmp_path / "data", ["grey"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        for i in range(4):
            image = np.full((240, 320, 3), 100 + i, np.uint8)
            writer.add_frame("grey", i, camera_id, image_rgb=image)
    result = invoke(train, "map", tmp_path / "data")
    assert result.exit_code == 1
    assert "only 0 of 4 frames" in result.output


def test_poses_that_are_wrong_do_not_make_a_map(walk, tmp_path):
    """Recorded as T_camera_world: the triangulation finds little that agrees."""
    shutil.copytree(walk.root, tmp_path / "data")
    dataset = SceneDataset(tmp_path / "data")
    turned = [replace(f, T_world_camera=f.T_world_camera @ make_pose(so3_exp([0, 2.0 * i, 0]), [0, 0, 0]))
              for i, f in enumerate(dataset.frames)]  # fmt: skip
    dataset.save_frames(turned)
    report, _ = build_map(dataset, OPTIONS)
    assert not report.good


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale-from", "a b c"], "is not two frames and a distance"),
        (["--scale-from", "a b 1", "--scale-from", "b c 2"], "leave out --scale-from"),
    ],
)
def test_mistakes_are_answered_with_one_line(walk, arguments, message):
    result = invoke(train, "map", walk.root, *arguments)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")


def test_wrong_usage_exits_2(tmp_path):
    assert invoke(train, "map", tmp_path, "--poses", "maybe").exit_code == 2
    assert invoke(train, "landmarks", tmp_path, "--count", "0").exit_code == 2


def test_landmarks_need_a_map(tmp_path):
    dataset = write_dataset(tmp_path / "data", [("walk", 1, 3)])
    result = invoke(train, "landmarks", dataset.root)
    assert result.exit_code == 1
    assert "has no map; run" in result.output.replace("\n", " ")
    (dataset.root / "map.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        SceneMap.load(dataset.root)


def test_poses_are_chosen_by_what_was_recorded(walk):
    frames = walk.frames
    bare = [replace(frame, T_world_camera=None) for frame in frames]
    assert choose_poses(frames, None) == "known"
    assert choose_poses(bare, None) == "none"
    assert choose_poses([bare[0], *frames[1:]], None) == "none"  # nine of ten are not nearly all
    with pytest.raises(InputError, match="0 of 10 frames have a pose"):
        choose_poses(bare, "known")


def test_frames_that_share_their_view_are_paired_across_time(walk):
    frames = [replace(walk.frames[0], name=f"walk/{i}.jpg") for i in range(60)]
    assert (0, 16) in sequential_pairs(frames)
    assert (0, 17) not in sequential_pairs(frames)
    there_and_back = np.stack([make_pose(np.eye(3), [min(i, 59 - i) * 0.5, 0, 0]) for i in range(60)])
    overlap = view_overlap(there_and_back, [CAMERA] * 60, np.full(60, 3.0))
    np.testing.assert_allclose(overlap, overlap.T)
    assert overlap[0, 59] > 0.7  # not 1: the nearest and furthest of the sampled points may graze the edge
    assert overlap[0, 29] == 0
    assert (2, 57) in loop_pairs(overlap, frames, minimum=0.3)
    assert all(abs(a - b) > 16 for a, b in loop_pairs(overlap, frames, minimum=0.3))


def test_frames_that_look_alike_are_found_by_their_features(walk, known_map):
    store = FeatureStore(walk, OPTIONS.features)
    names = [frame.name for frame in mapping_frames(walk, False)]
    descriptors = [descriptors for _, descriptors in store.all_features(names)]
    similarity = appearance_similarity([*descriptors, np.zeros((0, 128), np.uint8)])
    assert similarity.shape == (10, 10)
    assert similarity[0, 1] > similarity[0, 8]
    assert np.isfinite(similarity).all()
