"""PoseNet as SfMLearner has it, and what its weights file gives back."""

import cv2
import numpy as np
import pytest
import torch
from geo_training.depth.networks.pose_network import PoseEstimator, PoseNetwork, PoseNetworkConfig

from geo_perception.errors import InputError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PoseNetwork(PoseNetworkConfig(sources=2, explainability=True)).eval()


def test_channels_kernels_and_strides_are_those_of_the_paper(network):
    shared = [layer[0] for layer in network.encoder]
    assert [c.in_channels for c in shared] == [9, 16, 32, 64, 128]
    assert [c.out_channels for c in shared] == [16, 32, 64, 128, 256]
    assert [c.kernel_size[0] for c in shared] == [7, 5, 3, 3, 3]
    assert all(c.stride == (2, 2) for c in shared)
    pose = [network.pose[0][0], network.pose[1][0], network.pose[2]]
    assert [c.out_channels for c in pose] == [256, 256, 12]
    assert [c.kernel_size[0] for c in pose] == [3, 3, 1]
    assert [c.stride[0] for c in pose] == [2, 2, 1]


def test_the_mask_branch_goes_up_from_the_fifth_convolution(network):
    up = [layer[0] for layer in network.up]
    assert [c.in_channels for c in up] == [256, 256, 128, 64, 32]
    assert [c.out_channels for c in up] == [256, 128, 64, 32, 16]
    masks = [layer for layer in network.masks if isinstance(layer, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in masks] == [
        (128, 4, 3), (64, 4, 3), (32, 4, 5), (16, 4, 7)
    ]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(64, 96), (67, 93)])
def test_one_motion_and_four_masks_for_every_source(network, height, width):
    with torch.inference_mode():
        T_bs44, masks = network(torch.rand(2, 3, height, width), torch.rand(2, 2, 3, height, width))
    assert T_bs44.shape == (2, 2, 4, 4)
    expected = [(2, 2, -(-height // 2**s), -(-width // 2**s)) for s in range(4)]
    assert [tuple(mask.shape) for mask in masks] == expected
    assert all(((mask > 0) & (mask < 1)).all() for mask in masks)


def test_motion_is_the_mean_over_the_image_times_a_hundredth(network):
    """Translation first, then rotation; the last layer alone decides when its weights are zero."""
    last = network.pose[2]
    kept = {name: value.clone() for name, value in last.state_dict().items()}
    torch.nn.init.zeros_(last.weight)
    last.bias.data.copy_(torch.tensor([1.0, 2, 3, 10, -20, 30, 0, 0, 0, 0, 0, 0]))
    with torch.inference_mode():
        T_bs44, _ = network(torch.rand(1, 3, 64, 64), torch.rand(1, 2, 3, 64, 64))
    last.load_state_dict(kept)
    np.testing.assert_allclose(T_bs44[0, 0, :3, 3], [0.01, 0.02, 0.03], atol=1e-6)
    np.testing.assert_allclose(T_bs44[0, 0, :3, :3], cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0], atol=1e-6)
    np.testing.assert_allclose(T_bs44[0, 1], np.eye(4), atol=1e-7)


def test_without_explainability_there_is_no_mask_branch():
    network = PoseNetwork(PoseNetworkConfig(sources=1))
    assert not [name for name, _ in network.named_parameters() if "mask" in name or name.startswith("up")]
    with torch.inference_mode():
        T_bs44, masks = network(torch.rand(1, 3, 32, 32), torch.rand(1, 1, 3, 32, 32))
    assert T_bs44.shape == (1, 1, 4, 4)
    assert masks is None


def views(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, 48, 80, 3), dtype=np.uint8))


def test_a_weights_file_gives_the_same_motions(network, tmp_path):
    made = PoseEstimator(network, (64, 32), "cpu")
    made.save(tmp_path / "motion.safetensors", {"note": "a test"})
    read = PoseEstimator.load(tmp_path / "motion.safetensors", "cpu")
    assert (read.views, read.size_px, read.header["note"]) == (3, (64, 32), "a test")
    for one, other in zip(made.motion(views(3)), read.motion(views(3)), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == (4, 4)


def test_the_middle_view_is_the_target(network):
    estimator, (before, target, after) = PoseEstimator(network, (80, 48), "cpu"), views(3)
    stacked = [torch.from_numpy(view).permute(2, 0, 1)[None].float() / 255 for view in (before, target, after)]
    with torch.inference_mode():
        expected, _ = network(stacked[1], torch.stack([stacked[0], stacked[2]], 1))
    got = estimator.motion([before, target, after])
    np.testing.assert_allclose(np.stack(got), expected[0], atol=1e-7)


def test_another_number_of_views_is_refused(network):
    with pytest.raises(InputError, match="2 views were given; this motion network takes 3"):
        PoseEstimator(network, (64, 32), "cpu").motion(views(2))


def test_a_damaged_file_is_refused(network, tmp_path):
    path = tmp_path / "motion.safetensors"
    PoseEstimator(network, (64, 32), "cpu").save(path, {"network": "none"})
    with pytest.raises(InputError, match="does not fit a motion network"):
        PoseEstimator.load(path, "cpu")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError):
        PoseEstimator.load(path, "cpu")
