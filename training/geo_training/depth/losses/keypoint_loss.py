"""The loss of keypoint guidance: descriptors, not grey values, should match after warping (equation 2).

The descriptors of a source view are sampled where the pixels of the target view are reprojected to, so that the
gradient reaches depth and motion through the pixels; the descriptors themselves need none.
"""

from __future__ import annotations

import torch

from geo_training.depth.losses.warp import sample


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
    differences, insides, weights = [], [], []
    for b, keypoint_hw in enumerate(keypoint_b1hw[:, 0]):
        warped_1c1n, inside_111n = sample(source_bchw[b : b + 1], pixels_b2hw[b, :, keypoint_hw][None, :, None])
        differences.append((target_bchw[b, :, keypoint_hw] - warped_1c1n[0, :, 0]).abs().sum(0))
        insides.append(inside_111n[0, 0, 0])
        if weight_b1hw is not None:
            weights.append(weight_b1hw[b, 0, keypoint_hw])
    return _mean_over(torch.cat(insides), torch.cat(differences), torch.cat(weights) if weights else None)


def _mean_over(chosen: torch.Tensor, difference: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """The mean of weight times difference over what is chosen; 0, with a gradient of 0, where nothing is."""
    weighted = difference if weight is None else weight * difference
    # where, not a product: what is not chosen may be infinite far outside the image.
    total = torch.where(chosen, weighted, torch.zeros_like(weighted)).sum()
    return total / chosen.sum().clamp(min=1)
