"""The loss of learned descriptors: by hand, where its gradient goes, and that they agree with true depth."""

import math

import pytest
import torch
from geo_training.depth.losses.descriptor_loss import descriptor_loss
from geo_training.depth.losses.warp import back_project, pixel_grid, project, sample
from geo_training.depth.networks.descriptors import DescriptorNetwork
from torch.nn import functional as F  # noqa: N812 (the usual name)

HEIGHT, WIDTH = 32, 48
FOCAL_PX, BASELINE_M, DEPTH_M = 60.0, 0.2, 2.0  # a shift of 6 px
K_B33 = torch.tensor([[[FOCAL_PX, 0, 23.5], [0, FOCAL_PX, 15.5], [0, 0, 1]]])


def wall(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A textured wall seen twice, (1, 3, H, W) each: target pixel x is at x + 6 in the source."""
    coarse = torch.rand(1, 3, 16, 30, generator=torch.Generator().manual_seed(seed))
    wide = F.interpolate(coarse, size=(HEIGHT, WIDTH + 12), mode="bicubic", align_corners=False).clamp(0, 1)
    return wide[..., 6 : WIDTH + 6], wide[..., :WIDTH]


def reprojected(depth_m: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
    """The wall's pixels in the source, for this depth, and where they are inside it."""
    T_b44 = torch.eye(4)[None].clone()
    T_b44[0, 0, 3] = BASELINE_M
    depth_b1hw = torch.as_tensor(depth_m).expand(1, 1, HEIGHT, WIDTH)
    pixels, _ = project(back_project(depth_b1hw, K_B33), K_B33, T_b44)
    inside = (pixels[:, :1] >= 0) & (pixels[:, :1] <= WIDTH - 1)
    return pixels, inside


def spread(height_px: int, width_px: int, step_px: int) -> torch.Tensor:
    keypoint = torch.zeros(1, 1, height_px, width_px, dtype=torch.bool)
    keypoint[..., ::step_px, ::step_px] = True
    return keypoint


def test_the_loss_is_the_cross_entropy_of_finding_the_own_place():
    # Two keypoints 20 px apart with descriptors (1, 0) and (0, 1) in both views, temperature 0.5:
    # own similarity 1 / 0.5, other 0, so that each costs log(1 + e^-2).
    maps = torch.zeros(1, 2, 3, 30)
    maps[0, 0, 1, 4], maps[0, 1, 1, 24] = 1, 1
    keypoint = torch.zeros(1, 1, 3, 30, dtype=torch.bool)
    keypoint[..., 1, 4] = keypoint[..., 1, 24] = True
    inside, pixels = torch.ones_like(keypoint), pixel_grid(3, 30)[None]
    loss = descriptor_loss(maps, maps, pixels, inside, keypoint, temperature=0.5)
    assert loss == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    # Nearer than the radius the other is no negative, and nothing is left to be told apart.
    assert descriptor_loss(maps, maps, pixels, inside, keypoint, temperature=0.5, radius_px=25) == 0


def test_the_number_of_keypoints_is_bounded():
    torch.manual_seed(0)
    maps = F.normalize(torch.rand(1, 4, HEIGHT, WIDTH), dim=1)
    inside = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    loss = descriptor_loss(maps, maps, pixel_grid(HEIGHT, WIDTH)[None], inside, most_keypoints=50)
    assert 0 < loss < math.log(50) + 20  # at most 50 answers; similarities over the temperature lie within 20


def test_without_keypoints_it_is_zero_and_can_still_be_trained():
    maps = torch.rand(1, 4, HEIGHT, WIDTH, requires_grad=True)
    pixels, inside = reprojected(DEPTH_M)
    loss = descriptor_loss(maps, maps, pixels, inside, torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not maps.grad.any()


def test_gradient_of_descriptors():
    random = torch.Generator().manual_seed(3)
    target, source = (torch.rand(1, 2, 3, 12, generator=random, dtype=torch.float64) for _ in range(2))
    keypoint = spread(3, 12, 5)
    inside, pixels = torch.ones_like(keypoint), pixel_grid(3, 12, dtype=torch.float64)[None] + 0.3

    def loss(target, source):
        torch.manual_seed(0)
        return descriptor_loss(target, source, pixels, inside, keypoint, radius_px=3)

    assert torch.autograd.gradcheck(loss, (target.requires_grad_(True), source.requires_grad_(True)))


def test_gradient_of_places_is_that_of_the_own_place():
    # Moving where one keypoint lands changes its own answer. That it also becomes another wrong answer for the other
    # keypoint must not be felt, so the numeric gradient is taken with the others' places held.
    random = torch.Generator().manual_seed(3)
    target, source = (F.normalize(torch.rand(1, 3, 4, 24, generator=random).double(), dim=1) for _ in range(2))
    keypoint = torch.zeros(1, 1, 4, 24, dtype=torch.bool)
    keypoint[..., 1, 3] = keypoint[..., 1, 19] = True
    inside = torch.ones_like(keypoint)
    pixels = (pixel_grid(4, 24, dtype=torch.float64)[None] + 0.3).requires_grad_(True)
    descriptor_loss(target, source, pixels, inside, keypoint, temperature=0.5).backward()

    def own_answer(x: float) -> float:
        """The cross entropy of the first keypoint when it lands at column x and the other stays."""
        at = torch.tensor([[x, 1.3], [19.3, 1.3]], dtype=torch.float64).T[None, :, None]
        own, other = F.normalize(sample(source, at)[0][0, :, 0].T, dim=1)
        descriptor = target[0, :, 1, 3]
        return float(F.softplus((descriptor @ other - descriptor @ own) / 0.5)) / 2

    assert (pixels.grad.abs().sum(1, keepdim=True) > 0).eq(keypoint).all()
    numeric = (own_answer(3.3 + 1e-5) - own_answer(3.3 - 1e-5)) / 2e-5
    assert float(pixels.grad[0, 0, 1, 3]) == pytest.approx(numeric, rel=1e-4)


def test_trained_on_true_depth_it_falls_and_is_lowest_there():
    torch.manual_seed(0)
    network = DescriptorNetwork()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    keypoint, (pixels, inside) = spread(HEIGHT, WIDTH, 4), reprojected(DEPTH_M)
    history = []
    for step in range(20):
        target, source = wall(step)
        loss = descriptor_loss(network(target), network(source), pixels, inside, keypoint)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert sum(history[-5:]) < 0.6 * sum(history[:5])
    target, source = (network(image) for image in wall(99))
    found = {}
    for depth_m in (1.7, 2.0, 2.4):
        disparity = torch.tensor(1 / depth_m, requires_grad=True)
        loss = descriptor_loss(target.detach(), source.detach(), *reprojected(1 / disparity), keypoint)
        loss.backward()
        found[depth_m] = (float(loss.detach()), float(disparity.grad))
    assert found[2.0][0] < 0.7 * min(found[1.7][0], found[2.4][0])
    # The gradient points back to the true depth from both sides.
    assert found[1.7][1] > 0
    assert found[2.4][1] < 0
