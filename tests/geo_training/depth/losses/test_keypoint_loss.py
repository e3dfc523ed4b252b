"""The keypoint loss: equation 2 by hand, and gradients through the whole chain from depth to descriptors."""

from functools import partial

import pytest
import torch
from geo_training.depth.losses.keypoint_loss import described_similarity, keypoint_similarity, sampled_similarity
from geo_training.depth.losses.warp import back_project, pixel_grid, project, sample
from geo_training.depth.networks.dense_sift import DenseSift

# Two channels, 1 x 3 pixels: the absolute differences sum to 3, 0.5 and 7.
TARGET = torch.tensor([[[[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]]]])
WARPED = torch.tensor([[[[0.0, 2.5, 0.0]], [[2.0, 0.0, -4.0]]]])
ALL = torch.ones(1, 1, 1, 3, dtype=torch.bool)


def mask(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool).reshape(1, 1, 1, -1)


def scene(seed: int = 0, size_hw: tuple[int, int] = (5, 6)) -> tuple[torch.Tensor, ...]:
    """Random descriptors of target and source, depth, K and a motion, in double."""
    random = torch.Generator().manual_seed(seed)
    target, source = (torch.rand(2, 3, *size_hw, generator=random, dtype=torch.float64) for _ in range(2))
    depth_b1hw = 2 + torch.rand(2, 1, *size_hw, generator=random, dtype=torch.float64)
    K_b33 = torch.tensor([[8.0, 0, 2.5], [0, 8.0, 2.0], [0, 0, 1]], dtype=torch.float64).expand(2, 3, 3)
    T_b44 = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    T_b44[:, :3, 3] = torch.tensor([[0.31, 0.12, 0.05], [-0.22, 0.07, -0.1]], dtype=torch.float64)
    return target, source, depth_b1hw, K_b33, T_b44


def test_it_is_the_sum_over_channels_and_the_mean_over_keypoints():
    assert keypoint_similarity(TARGET, WARPED, ALL) == pytest.approx((3 + 0.5 + 7) / 3)


def test_only_keypoints_inside_the_source_are_summed_and_counted():
    assert keypoint_similarity(TARGET, WARPED, ALL, mask(1, 1, 0)) == pytest.approx((3 + 0.5) / 2)
    assert keypoint_similarity(TARGET, WARPED, mask(1, 0, 1), mask(1, 1, 0)) == pytest.approx(3)


def test_explainability_weighs_but_is_not_counted():
    weight = torch.tensor([0.5, 1.0, 0.0]).reshape(1, 1, 1, 3)
    assert keypoint_similarity(TARGET, WARPED, ALL, None, weight) == pytest.approx((1.5 + 0.5) / 3)
    assert keypoint_similarity(TARGET, WARPED, ALL, mask(1, 0, 1), weight) == pytest.approx(1.5 / 2)


def test_without_a_keypoint_it_is_zero_with_a_gradient_of_zero():
    warped = WARPED.clone().requires_grad_(True)
    loss = keypoint_similarity(TARGET, warped, ALL, mask(0, 0, 0))
    loss.backward()
    assert loss == 0
    assert not warped.grad.any()


def test_without_motion_it_is_exactly_zero():
    image = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    descriptors = DenseSift()(image)
    pixels = pixel_grid(24, 30)[None]
    assert sampled_similarity(descriptors, descriptors, pixels) < 1e-4  # the rounding of sampling alone
    assert keypoint_similarity(descriptors, descriptors, torch.ones(1, 1, 24, 30, dtype=torch.bool)) == 0


@pytest.mark.parametrize("detector", [False, True])
@pytest.mark.parametrize("explainability", [False, True])
def test_gradient_from_descriptors_to_depth_and_motion(detector, explainability):
    target, source, depth_b1hw, K_b33, T_b44 = scene()
    keypoint = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.4 if detector else None
    weight = torch.rand(2, 1, 5, 6, dtype=torch.float64) if explainability else None

    def chain(depth_b1hw, translation_b3, *weights):
        T = torch.cat([torch.cat([T_b44[:, :3, :3], translation_b3[..., None]], 2), T_b44[:, 3:]], 1)
        pixels, _ = project(back_project(depth_b1hw, K_b33), K_b33, T)
        return sampled_similarity(target, source, pixels, keypoint, *weights)

    inputs = [depth_b1hw, T_b44[:, :3, 3].clone(), *([weight] if explainability else [])]
    assert torch.autograd.gradcheck(chain, [tensor.requires_grad_(True) for tensor in inputs])


@pytest.mark.parametrize("explainability", [False, True])
def test_sampling_only_keypoints_gives_the_same_value_and_gradient(explainability):
    target, source, depth_b1hw, K_b33, T_b44 = scene(2)
    keypoint = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.4
    weight = torch.rand(2, 1, 5, 6, dtype=torch.float64) if explainability else None
    found = []
    for sparse in (True, False):
        depth = depth_b1hw.clone().requires_grad_(True)
        pixels, _ = project(back_project(depth, K_b33), K_b33, T_b44)
        if sparse:
            loss = sampled_similarity(target, source, pixels, keypoint, weight)
        else:
            loss = keypoint_similarity(target, *sample(source, pixels), keypoint, weight)
        loss.backward()
        found.append((loss.detach(), depth.grad))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])


def test_descriptors_that_are_made_at_keypoints_alone_give_the_same_loss():
    random = torch.Generator().manual_seed(3)
    images = torch.rand(2, 2, 3, 20, 26, generator=random, dtype=torch.float64)
    keypoint = torch.rand(2, 1, 20, 26, generator=random) < 0.1
    pixels = pixel_grid(20, 26, dtype=torch.float64) + 6 * torch.rand(2, 2, 20, 26, generator=random).double() - 3
    sift = DenseSift()
    dense = sampled_similarity(sift(images[0]), sift(images[1]), pixels, keypoint)
    described = (partial(sift.at, sift.histograms(views)) for views in images)
    assert described_similarity(*described, pixels, keypoint) == pytest.approx(float(dense), rel=1e-9)


def test_a_pixel_that_is_no_number_counts_as_outside():
    target, source, *_ = scene()
    pixels = pixel_grid(5, 6, dtype=torch.float64).repeat(2, 1, 1, 1)
    keypoint = torch.ones(2, 1, 5, 6, dtype=torch.bool)
    without = keypoint.clone()
    without[0, 0, 2, 3] = False
    expected = sampled_similarity(target, source, pixels, without)
    pixels[0, :, 2, 3] = torch.nan
    assert sampled_similarity(target, source, pixels, keypoint) == pytest.approx(float(expected))


def test_gradient_goes_through_sift_of_the_source_to_depth():
    # A step against the gradient brings a wrong constant depth of a textured wall nearer to the true one.
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 14, 20, generator=random)
    wide = torch.nn.functional.interpolate(coarse, size=(56, 80), mode="bicubic", align_corners=False).clamp(0, 1)
    target_image, source_image = wide[..., 4:56, 10:70], wide[..., 4:56, 6:66]  # x lands at x + 4
    with torch.no_grad():
        target, source = DenseSift()(target_image), DenseSift()(source_image)
    K_b33 = torch.tensor([[[40.0, 0, 29.5], [0, 40.0, 25.5], [0, 0, 1]]])
    T_b44 = torch.eye(4)[None].clone()
    T_b44[0, 0, 3] = 0.2  # 4 px at a depth of 2 m
    losses = {}
    for depth_m in (1.8, 2.0, 2.25):
        disparity = torch.tensor(1 / depth_m, requires_grad=True)
        pixels, _ = project(back_project((1 / disparity).expand(1, 1, 52, 60), K_b33), K_b33, T_b44)
        inner = torch.zeros(1, 1, 52, 60, dtype=torch.bool)
        inner[..., 8:-8, 8:-12] = True
        loss = sampled_similarity(target, source, pixels, inner)
        loss.backward()
        losses[depth_m] = (float(loss.detach()), float(disparity.grad))
    assert losses[2.0][0] < 1e-3
    assert losses[1.8][0] > 0.1
    assert losses[1.8][1] > 0
    assert losses[2.25][0] > 0.1
    assert losses[2.25][1] < 0
