"""Training that also learns from completed depth."""

import numpy as np
import pytest
import torch
from geo_training.datasets.fused import METADATA_FILE, write_fused
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.clip_data import ClipStream, clip_sources, depth_files
from geo_training.depth.fit import data_digest
from geo_training.storage.kept_json import write_kept_json
from tiny_walk import CAMERA, make_walk

from geo_perception.errors import InputError

FUSED_M, UNSURE_M = 5.0, 7.0


@pytest.fixture
def walk(tmp_path):
    """A walk without measured depth, of which every frame was completed: its left half surely."""
    dataset = make_walk(tmp_path / "data")
    root = dataset.root
    for path in (root / "depth").rglob("*.*"):
        path.unlink()
    depth_hw = np.full((CAMERA.height_px, CAMERA.width_px), FUSED_M, np.float32)
    sigma_hw = np.full_like(depth_hw, 0.01)
    depth_hw[:, CAMERA.width_px // 2 :], sigma_hw[:, CAMERA.width_px // 2 :] = UNSURE_M, 0.2
    for frame in dataset.frames:
        write_fused(root, frame, depth_hw, sigma_hw)
    write_kept_json(root / "fused" / METADATA_FILE, {"unit": "m"})
    return root


def config_of(root, **changes):
    light = {"flip": False, "zoom": 1.0, "light": None}
    losses = {"weights": {"depth": 1.0}}
    options = {"size_px": (64, 64), "batch": 2, "augmentation": light, "pretrained": False, "losses": losses}
    return DepthTrainingConfig.load(None, datasets=[root], motion="known", **(options | changes))


def test_what_is_sure_is_learned_from_and_the_rest_is_unknown(walk):
    config = config_of(walk, fused_sigma=0.05)
    depth_b1hw = ClipStream(clip_sources(config), config, torch.device("cpu")).batch(0).depth_b1hw
    assert (depth_b1hw[..., :31] == FUSED_M).all()
    assert (depth_b1hw[..., 33:] == 0).all()


def test_a_looser_bound_takes_all(walk):
    config = config_of(walk, fused_sigma=0.5)
    depth_b1hw = ClipStream(clip_sources(config), config, torch.device("cpu")).batch(0).depth_b1hw
    assert set(depth_b1hw.unique().tolist()) == {FUSED_M, UNSURE_M}


def test_without_the_key_completed_depth_is_no_truth(walk):
    with pytest.raises(InputError, match="no frames with depth"):
        clip_sources(config_of(walk))


def test_another_completion_is_another_training(walk):
    config = config_of(walk, fused_sigma=0.05)
    sources = clip_sources(config)
    before = data_digest(config, sources)
    frame = sources[0].dataset.frames[0]
    shape = CAMERA.height_px, CAMERA.width_px
    assert len(depth_files(sources[0].dataset, frame, True)) == 2
    write_fused(walk, frame, np.full(shape, 1.0, np.float32), np.full(shape, 0.01, np.float32))
    assert data_digest(config, sources) != before
