"""The loss of keypoint guidance: descriptors, not grey values, should match after warping (equation 2).

The descriptors of a source view are sampled where the pixels of the target view are reprojected to, so that the
gradient reaches depth and motion through the pixels; the descriptors themselves need none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from geo_training.depth.losses.warp import sample

Describe = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # image, row, column (N,): (N, C)


def keypoint_similarity(
    target_bchw: torch.Tensor,
    warped_bchw: torch.Tensor,
    inside_b1hw: torch.Tensor,
    keypoint_b1hw: torch.Tensor | None = None,
    weight_b1hw: torch.Tensor | None = None,
) -> torch.Tensor:
    """How far apart descriptors are at the keypoints: a scalar, 0 where they are the same.

    Equation 2 is the sum over keypoints of the absolute differences of the elements of their descriptors. Here that sum
    is divided by the number of keypoints, so that its weight holds for any image size and any number of keypoints.
    Only the keypoints whose warped descriptor comes from inside the source (`inside_b1hw`, bool) are summed and
    counted: a motion that leaves the image gains nothing.

    `keypoint_b1hw` (bool) are the pixels that the detector chose, None for every pixel (the paper's "no det").
    `weight_b1hw` in 0 to 1 is the explainability mask, None for 1 everywhere ("no expl"). It multiplies each difference
    but not the count, so that it has to be paid for by its own regularization, as in the photometric loss.
    """
    chosen_b1hw = inside_b1hw if keypoint_b1hw is None else inside_b1hw & keypoint_b1hw
    difference_b1hw = (target_bchw - warped_bchw).abs().sum(1, keepdim=True)
    return _mean_over(chosen_b1hw, difference_b1hw, weight_b1hw)


def sampled_similarity(
    target_bchw: torch.Tensor,
    source_bchw: torch.Tensor,
    pixels_b2hw: torch.Tensor,
    keypoint_b1hw: torch.Tensor | None = None,
    weight_b1hw: torch.Tensor | None = None,
) -> torch.Tensor:
    """`keypoint_similarity` of the source's descriptors at `pixels_b2hw` (the target's pixels reprojected
    into the source, in pixels of the descriptor maps): the same value and gradient.

    With a detector, only its pixels are sampled. That spares most of the memory and time of the dense way: a full map
    of 128 channels is never made.
    """
    if keypoint_b1hw is None:
        warped_bchw, inside_b1hw = sample(source_bchw, pixels_b2hw)
        return keypoint_similarity(target_bchw, warped_bchw, inside_b1hw, None, weight_b1hw)

    def looked_up(maps_bchw: torch.Tensor) -> Describe:
        return lambda b, row, column: maps_bchw[b, :, row, column]

    return described_similarity(looked_up(target_bchw), looked_up(source_bchw), pixels_b2hw, keypoint_b1hw, weight_b1hw)


def described_similarity(
    target: Describe,
    source: Describe,
    pixels_b2hw: torch.Tensor,
    keypoint_b1hw: torch.Tensor,
    weight_b1hw: torch.Tensor | None = None,
) -> torch.Tensor:
    """`sampled_similarity` at keypoints where there are no maps of descriptors: `target` and `source` make those of the
    pixels that they are asked for (the image (N,) each is of, row, column). The same value and gradient.
    """
    height, width = pixels_b2hw.shape[-2:]
    b, row, column = keypoint_b1hw[:, 0].nonzero(as_tuple=True)
    x_n, y_n = pixels_b2hw[b, 0, row, column], pixels_b2hw[b, 1, row, column]
    inside_n = (x_n >= 0) & (x_n <= width - 1) & (y_n >= 0) & (y_n <= height - 1)
    # Bilinear, of the four pixels around; outside, the nearest one of the border. No number has no pixel, either.
    x_n, y_n = x_n.clamp(0, width - 1), y_n.clamp(0, height - 1)
    left_n, top_n = (torch.nan_to_num(value.detach()).floor().long() for value in (x_n, y_n))
    right_n, bottom_n = (left_n + 1).clamp(max=width - 1), (top_n + 1).clamp(max=height - 1)
    across_n1, down_n1 = (x_n - left_n)[:, None], (y_n - top_n)[:, None]
    upper_nc = source(b, top_n, left_n) * (1 - across_n1) + source(b, top_n, right_n) * across_n1
    lower_nc = source(b, bottom_n, left_n) * (1 - across_n1) + source(b, bottom_n, right_n) * across_n1
    warped_nc = upper_nc * (1 - down_n1) + lower_nc * down_n1
    difference_n = (target(b, row, column) - warped_nc).abs().sum(1)
    return _mean_over(inside_n, difference_n, None if weight_b1hw is None else weight_b1hw[b, 0, row, column])


def _mean_over(chosen: torch.Tensor, difference: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """The mean of weight times difference over what is chosen; 0, with a gradient of 0, where nothing is."""
    weighted = difference if weight is None else weight * difference
    # where, not a product: what is not chosen may be infinite far outside the image.
    total = torch.where(chosen, weighted, torch.zeros_like(weighted)).sum()
    return total / chosen.sum().clamp(min=1)
