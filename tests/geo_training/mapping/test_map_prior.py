"""`geo-train map --poses prior` with the real COLMAP: poses that drift, exact ones, missing ones, given sigmas."""

import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from board_walk import CAMERA, write_dataset
from geo_training.datasets.scene import SceneDataset
from geo_training.mapping.build import MapOptions, build_map, mapping_frames
from geo_training.mapping.colmap_io import registered_poses
from geo_training.mapping.features import FeatureOptions, FeatureStore
from geo_training.mapping.pairs import choose_pairs
from geo_training.mapping.recorded_poses import GivenSigmas
from geo_training.mapping.report import readable

from geo_perception.geometry import invert_pose, make_pose, pose_error, so3_exp

OPTIONS = MapOptions(poses="prior", features=FeatureOptions(num_threads=2))


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Ten frames with exact poses, of which the sixth is kept for judging; with their features, which copies share."""
    root = tmp_path_factory.mktemp("walk") / "data"
    dataset = write_dataset(root, [("walk", 1, 10)], lambda i: "test" if i == 5 else "train", depth=True)
    store, frames = FeatureStore(dataset, OPTIONS.features), mapping_frames(dataset, False)
    store.extract(frames)
    store.match(choose_pairs(frames, dataset, store, True)[1])
    return dataset


def drifting(frames, step_m=0.01, step_rad=0.004, seed=0):
    """The frames with poses whose errors add up from one to the next."""
    rng, T_n44 = np.random.default_rng(seed), [frames[0].T_world_camera]
    for before, after in itertools.pairwise(frames):
        error = make_pose(so3_exp(step_rad * rng.normal(size=3)), step_m * rng.normal(size=3))
        T_n44.append(T_n44[-1] @ invert_pose(before.T_world_camera) @ after.T_world_camera @ error)
    return [replace(frame, T_world_camera=T) for frame, T in zip(frames, T_n44, strict=True)]


def motion_error(estimated, truth):
    """Median error of the motion from each frame to the next: metres, radians."""
    steps = [
        pose_error(invert_pose(truth[a]) @ truth[b], invert_pose(estimated[a]) @ estimated[b])
        for a, b in itertools.pairwise(sorted(estimated))
    ]
    return np.median(steps, axis=0)


@pytest.fixture(scope="module")
def drifted(walk, tmp_path_factory):
    """The walk with poses that drift, mapped with them as priors: dataset, report, model."""
    root = tmp_path_factory.mktemp("drifted") / "data"
    shutil.copytree(walk.root, root)
    dataset = SceneDataset(root)
    dataset.save_frames(drifting(dataset.frames))
    return dataset, *build_map(dataset, OPTIONS)


def test_poses_that_drift_come_out_nearer_to_the_truth(walk, drifted):
    dataset, report, model = drifted
    truth = {frame.name: frame.T_world_camera for frame in walk.frames}
    recorded = {frame.name: frame.T_world_camera for frame in dataset.frames if frame.split == "train"}
    refined = registered_poses(model)
    assert report.good, report.problems
    assert report.registered == 9
    assert report.mapper == "bundle adjustment"
    metres, radians = motion_error(refined, truth) / motion_error(recorded, truth)
    assert metres < 0.5
    assert radians < 0.3


def test_the_report_says_what_became_of_the_recorded_poses(drifted):
    dataset, report, model = drifted
    found, refined = report.refinement, registered_poses(model)
    moved = [pose_error(f.T_world_camera, refined[f.name]) for f in dataset.frames if f.name in refined]
    median_m, median_rad = np.median(moved, axis=0)
    assert found["moved_median"] == pytest.approx(median_m)
    assert found["turned_median_deg"] == pytest.approx(np.degrees(median_rad))
    assert found["verdict"] == "improved"
    assert found["epipolar_matches"] > 100
    assert found["epipolar_after_px"] < 0.5 * found["epipolar_before_px"]
    assert found["epipolar_by_step"]["1"]["after_px"] < found["epipolar_by_step"]["1"]["before_px"]
    assert found["transfer_after_px"] < 0.8 * found["transfer_before_px"]
    assert found["reprojection_after_px"] < found["reprojection_before_px"]
    assert set(found["sigma_motion"]) == {"1", "4", "16", "64"}
    assert set(found["sigma_source"].values()) == {"estimated"}
    assert json.loads(json.dumps(report.to_json()))["refinement"]["verdict"] == "improved"
    said = "\n".join(readable(report))
    assert "refined       improved: held-out matches fit within" in said
    assert "(estimated, one sigma)" in said


def test_exact_poses_are_left_where_they_are_and_said_to_be_no_worse(walk):
    report, _model = build_map(walk, OPTIONS)
    assert report.good, report.problems
    assert report.scale.factor == pytest.approx(1.0, abs=0.01)
    assert report.refinement["moved_median"] < 0.01
    assert report.refinement["verdict"] != "improved" or report.refinement["epipolar_before_px"] < 0.3


def test_sigmas_that_are_given_are_used(walk):
    given = GivenSigmas(absolute=0.2, absolute_rad=0.1, motion=1e-5, motion_rad=1e-6)
    report, _model = build_map(walk, replace(OPTIONS, prior_sigmas=given))
    found = report.refinement
    assert found["sigma_absolute"] == 0.2
    assert found["sigma_absolute_deg"] == pytest.approx(np.degrees(0.1))
    assert found["sigma_motion"]["4"] == {"sigma": 2e-5, "sigma_deg": pytest.approx(np.degrees(2e-6))}
    assert set(found["sigma_source"].values()) == {"given"}
    assert found["moved_max"] < 1e-3  # so sure that the images change nothing


def test_a_frame_without_a_pose_is_placed_beside_those_that_have_one(walk, tmp_path):
    shutil.copytree(walk.root, tmp_path / "data")
    dataset = SceneDataset(tmp_path / "data")
    dataset.save_frames([replace(f, T_world_camera=None) if i == 3 else f for i, f in enumerate(dataset.frames)])
    report, model = build_map(dataset, OPTIONS)
    assert report.good, report.problems
    assert report.registered == 9
    assert report.scale.poses_total == 8
    left_out = walk.frames[3]
    found = registered_poses(model)[left_out.name]
    assert np.linalg.norm(found[:3, 3] - left_out.T_world_camera[:3, 3]) < 0.05


@pytest.mark.slow
def test_a_guessed_camera_is_refined_with_the_poses(tmp_path):
    guess = replace(CAMERA, fx_px=300.0, fy_px=300.0)
    dataset = write_dataset(tmp_path / "data", [("walk", 1, 10)], known=False, camera=guess)
    report, model = build_map(dataset, OPTIONS)
    assert report.good, report.problems
    assert model.cameras[1].params[0] == pytest.approx(280, abs=6)
