"""What the tests of the depth benchmarks share: data, rooms and trainings that take no time."""

import json
import shutil

import cv2
import numpy as np
import pytest
from bench_walks import SIZE_HW, make_walk, textured
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth import fit as fit_module
from geo_training.depth.data.instance_masks import write_ids
from geo_training.depth.networks.pose_network import PoseEstimator, PoseNetwork, PoseNetworkConfig
from geo_training.engine.run import FitResult
from geo_training.experiments import bench as bench_module
from geo_training.experiments.benches import depth_stages
from geo_training.synthetic import depth_rooms
from tiny_panoramas import TINY_BACKBONE

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig
from geo_perception.geometry import Camera


@pytest.fixture
def data(tmp_path):
    """An office, a house, a drive and samples with lidar, each of a few small frames."""
    root = tmp_path / "data"
    make_walk(root / "office", 12, "rgb", depth=True)
    make_walk(root / "drive", 16, "grey")
    for name in ("walk_a", "walk_b", "walk_c"):
        small = name == "walk_b"
        make_walk(root / "house" / name, 3 if small else 12, "rgb", depth=True, box=not small)
    kitti = root / "depth_samples" / "kitti"
    for name in ("rgb", "depth"):
        (kitti / name).mkdir(parents=True)
    cv2.imwrite(str(kitti / "rgb" / "a.png"), textured(99))
    cv2.imwrite(str(kitti / "depth" / "a.png"), np.full(SIZE_HW, 20 * 256, np.uint16))
    entry = {"rgb": "x/a.png", "depth": "x/a.png", "cam_in": [60, 60, 36, 24], "depth_scale": 256}
    (kitti / "test_annotations.json").write_text(json.dumps({"files": [entry]}))
    return root


@pytest.fixture
def rooms(monkeypatch):
    """In place of rendered rooms: as many frames and masks as were asked for, a box before a slanted wall."""

    def write(out, options, overwrite=False):
        ids_hw = np.zeros(SIZE_HW, np.uint16)
        ids_hw[12:36, 24:48] = 3
        wall_m = np.tile(np.linspace(2, 4, SIZE_HW[1], dtype=np.float32), (SIZE_HW[0], 1))
        with SceneWriter(out, ["boxes"], overwrite) as writer:
            writer.describe(scale="metric", scale_source="made up")
            camera_id = writer.add_camera(Camera(SIZE_HW[1], SIZE_HW[0], 60, 60, 36, 24))
            for room, burst, shot in np.ndindex(options.rooms, options.bursts, options.burst_frames):
                frame = {"image_rgb": textured(shot), "depth_m": np.where(ids_hw, 1.0, wall_m)}
                frames = writer.add_frame(f"room{room:04d}_{burst}", 10**8 * shot, camera_id, **frame)
                write_ids((writer._work / "masks" / frames.name).with_suffix(".png"), ids_hw)
        return options.rooms * options.bursts * options.burst_frames

    monkeypatch.setattr(depth_rooms, "depth_dataset", write)


@pytest.fixture
def fits(monkeypatch, tmp_path):
    """Trainings that take a hundredth of a second for each step and learn nothing: real networks as they were drawn,
    written and read like trained ones. The configs that were asked for, in order."""
    asked, depth_path, motion_path = [], tmp_path / "depth.safetensors", tmp_path / "motion.safetensors"
    network = DepthNetwork(DepthNetworkConfig(TINY_BACKBONE, (8, 8, 8, 8, 8)))
    DepthEstimator(network, "cpu", 64 * 32).save(depth_path, {})
    PoseEstimator(PoseNetwork(PoseNetworkConfig(1)), (64, 32), "cpu").save(motion_path, {})

    def fit(config, out, overwrite=False):
        asked.append((out.name, config))
        assert config.start_from is None or config.start_from.is_file()
        out.parent.mkdir(parents=True, exist_ok=True)
        pose_path = out.with_suffix(".pose.safetensors")
        shutil.copy(depth_path, out)
        shutil.copy(motion_path, pose_path)
        metrics = {"train_s": 0.01 * config.steps, "steps": config.steps}
        return FitResult(out, out.parent, metrics, [], (pose_path,))

    monkeypatch.setattr(fit_module, "fit_depth", fit)
    monkeypatch.setattr(depth_stages, "_PROBE_S", 0.01)
    monkeypatch.setattr(bench_module, "describe_versions", dict)  # a commit between two runs is another version
    return asked
