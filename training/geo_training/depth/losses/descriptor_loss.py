"""The loss of learned descriptors: a keypoint's own place in the source is told from those of the others (InfoNCE)."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_training.depth.losses.warp import sample


def descriptor_loss(
    target_bchw: torch.Tensor,
    source_bchw: torch.Tensor,
    pixels_b2hw: torch.Tensor,
    inside_b1hw: torch.Tensor,
    keypoint_b1hw: torch.Tensor | None = None,
    temperature: float = 0.1,
    most_keypoints: int = 256,
    radius_px: float = 8.0,
) -> torch.Tensor:
    """How badly the source's descriptor of a keypoint is told from those of other keypoints: a scalar.

    InfoNCE (van den Oord et al. 2018), the mean over keypoints. For a keypoint of the target at x, reprojected into the
    source at `pixels_b2hw`[x]: the cross entropy of choosing its own reprojection among those of all keypoints of the
    image by the similarity of unit descriptors over the `temperature`. Those within `radius_px` of its own are left
    out: they show nearly the same.

    `inside_b1hw` (bool): reprojected inside the source. `keypoint_b1hw` (bool): what the detector chose in the target,
    None for every pixel. Of an image with more than `most_keypoints` that many are drawn, which bounds the memory; an
    image with fewer than two counts nothing.

    The gradient reaches both descriptor maps, and depth and motion through each keypoint's own reprojection. Those of
    the others are taken as they are, so that depth never moves to make a wrong place look less alike.
    """
    chosen_b1hw = inside_b1hw if keypoint_b1hw is None else inside_b1hw & keypoint_b1hw
    total, count = target_bchw.new_zeros(()), 0
    for b, chosen_hw in enumerate(chosen_b1hw[:, 0]):
        place_n = chosen_hw.flatten().nonzero()[:, 0]
        if len(place_n) < 2:
            continue
        place_n = place_n[torch.randperm(len(place_n), device=place_n.device)[:most_keypoints]]
        reprojected_2n = pixels_b2hw[b].flatten(1)[:, place_n]
        target_nc = target_bchw[b].flatten(1)[:, place_n].T
        total = total + _cross_entropy(target_nc, source_bchw[b : b + 1], reprojected_2n, temperature, radius_px)
        count += len(place_n)
    # Without a keypoint anywhere: 0, and still a function of what learns.
    return total / count if count else 0.0 * (target_bchw.sum() + source_bchw.sum())


def _cross_entropy(
    target_nc: torch.Tensor,
    source_1chw: torch.Tensor,
    reprojected_2n: torch.Tensor,
    temperature: float,
    radius_px: float,
) -> torch.Tensor:
    """Summed over the N keypoints of one image."""
    own_nc = _sampled(source_1chw, reprojected_2n)
    others_nc = _sampled(source_1chw, reprojected_2n.detach())
    logits_nn = target_nc @ others_nc.T / temperature
    near_nn = torch.cdist(reprojected_2n.detach().T, reprojected_2n.detach().T) < radius_px
    logits_nn = logits_nn.masked_fill(near_nn, float("-inf"))
    own_n1 = (target_nc * own_nc).sum(1, keepdim=True) / temperature
    # The own place is among the near ones, so that it stands once: in front.
    logits = torch.cat([own_n1, logits_nn], 1)
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="sum")


def _sampled(source_1chw: torch.Tensor, reprojected_2n: torch.Tensor) -> torch.Tensor:
    """Descriptors (N, C) of a map at places, with an L2 norm of 1 again."""
    return F.normalize(sample(source_1chw, reprojected_2n[None, :, None])[0][0, :, 0].T, dim=1)
