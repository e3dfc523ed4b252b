"""The benchmark of refined poses: the drift that it adds, and all metrics of a small walk, with the real COLMAP."""

import cv2
import numpy as np
import pytest
from board_walk import CAMERA, boards, poses_of_walk, render
from geo_training.experiments.bench import BenchOptions, run_benchmark
from geo_training.experiments.benches import poses_prior

from geo_perception.geometry import invert_pose, make_pose, so3_log


def test_drift_grows_with_the_root_of_the_way_and_is_the_same_every_time():
    true_n44 = np.stack([make_pose(np.eye(3), [0.1 * i, 0, 0]) for i in range(4000)])
    found_n44 = poses_prior.drifting(true_n44, 2.0, np.random.default_rng(0))
    np.testing.assert_array_equal(found_n44, poses_prior.drifting(true_n44, 2.0, np.random.default_rng(0)))
    for step in (1, 16):
        true_motion_n44, motion_n44 = (invert_pose(T[:-step]) @ T[step:] for T in (true_n44, found_n44))
        turn_deg = np.degrees(so3_log(invert_pose(true_motion_n44)[:, :3, :3] @ motion_n44[:, :3, :3])).std()
        expected_deg = 2 * np.sqrt(step * poses_prior.DRIFT_DEG**2 + 2 * poses_prior.JITTER_DEG**2)
        np.testing.assert_allclose(turn_deg, expected_deg, rtol=0.1)


@pytest.mark.slow
def test_a_small_walk_comes_out_nearer_and_gives_all_metrics(tmp_path, monkeypatch):
    folder, scene, poses = tmp_path / "house" / "walk_a", list(boards(1)), poses_of_walk(24)
    (folder / "rgb").mkdir(parents=True)
    for index, T_world_camera in enumerate(poses):
        image_bgr = cv2.cvtColor(render(scene, T_world_camera)[0], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "rgb" / f"{index:05d}.png"), image_bgr)
    np.savetxt(folder / "poses.txt", np.reshape(poses, (-1, 16)))
    np.savetxt(folder / "K.txt", CAMERA.K)
    monkeypatch.setattr(poses_prior, "SEEDS", 1)
    content, _ = run_benchmark(poses_prior.BENCHMARK, tmp_path, tmp_path / "work", BenchOptions())
    figures = content["figures"]
    assert set(figures) == set(poses_prior.BENCHMARK.metrics)
    assert content["config"]["frames"] == 12
    assert figures["noise2_nearer_seeds"] == 1
    for measure in ("motion2_deg", "motion10_deg", "epipolar_px"):
        assert figures[f"noise2_{measure}_after"] < 0.5 * figures[f"noise2_{measure}_before"]
