"""Descriptors that are learned together with depth, instead of SIFT's (the keypoint paper's future work).

Camera motion has to be known: were descriptor, depth and motion all free, they could agree on anything. Keypoints are
still SIFT's. A keypoint of the target is compared with the source where it lands there.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_training.depth.warp import sample

CHANNELS = 32
_WIDTH = 48


class DescriptorNetwork(nn.Module):
    """From images in 0 to 1 (B, 3, H, W) to descriptors (B, 32, H, W) with an L2 norm of 1, one for every pixel.

    Surroundings of about 30 pixels are seen at half the size, which is where the work is; what a pixel itself looks
    like is added at full size, so that places stay sharp.
    """

    def __init__(self, channels: int = CHANNELS):
        super().__init__()
        self.fine = nn.Conv2d(3, 16, 3, padding=1, padding_mode="replicate")
        self.wide = nn.Sequential(
            _block(3, _WIDTH, kernel=5, stride=2), _block(_WIDTH, _WIDTH), _block(_WIDTH, _WIDTH, dilation=2),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, padding_mode="replicate"),
        )  # fmt: skip
        self.mix = nn.Sequential(nn.ReLU(), nn.Conv2d(16 + _WIDTH, channels, 1))

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        centred = 2 * image_b3hw - 1
        fine, wide = self.fine(centred), self.wide(centred)
        wide = F.interpolate(wide, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        descriptors_bchw = self.mix(torch.cat([fine, wide.to(fine.dtype)], 1))
        # Half precision has too few digits for a norm.
        return F.normalize(descriptors_bchw.to(torch.promote_types(descriptors_bchw.dtype, torch.float32)), dim=1)


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
    """How badly the source's descriptor where a keypoint lands is told from those where others land: a scalar.

    InfoNCE (van den Oord et al. 2018), the mean over keypoints. For a keypoint of the target at x, that lands in the
    source at `pixels_b2hw`[x]: the cross entropy of finding its own landing place among those of all keypoints of the
    image by the similarity of unit descriptors over the `temperature`. Landing places within `radius_px` of its own are
    left out: they show nearly the same.

    `inside_b1hw` (bool): landed inside the source. `keypoint_b1hw` (bool): what the detector chose in the target, None
    for every pixel. Of an image with more than `most_keypoints` that many are drawn, which bounds the memory; an image
    with fewer than two counts nothing.

    The gradient reaches both descriptor maps, and depth and motion through where each keypoint itself lands. Where the
    others land is taken as it is, so that depth never moves to make a wrong place look less alike.
    """
    chosen_b1hw = inside_b1hw if keypoint_b1hw is None else inside_b1hw & keypoint_b1hw
    total, count = target_bchw.new_zeros(()), 0
    for b, chosen_hw in enumerate(chosen_b1hw[:, 0]):
        place_n = chosen_hw.flatten().nonzero()[:, 0]
        if len(place_n) < 2:
            continue
        place_n = place_n[torch.randperm(len(place_n), device=place_n.device)[:most_keypoints]]
        landing_2n = pixels_b2hw[b].flatten(1)[:, place_n]
        target_nc = target_bchw[b].flatten(1)[:, place_n].T
        total = total + _cross_entropy(target_nc, source_bchw[b : b + 1], landing_2n, temperature, radius_px)
        count += len(place_n)
    # Without a keypoint anywhere: 0, and still a function of what learns.
    return total / count if count else 0.0 * (target_bchw.sum() + source_bchw.sum())


def _cross_entropy(
    target_nc: torch.Tensor, source_1chw: torch.Tensor, landing_2n: torch.Tensor, temperature: float, radius_px: float
) -> torch.Tensor:
    """Summed over the N keypoints of one image."""
    own_nc = _sampled(source_1chw, landing_2n)
    others_nc = _sampled(source_1chw, landing_2n.detach())
    logits_nn = target_nc @ others_nc.T / temperature
    near_nn = torch.cdist(landing_2n.detach().T, landing_2n.detach().T) < radius_px
    logits_nn = logits_nn.masked_fill(near_nn, float("-inf"))
    own_n1 = (target_nc * own_nc).sum(1, keepdim=True) / temperature
    # The own place is among the near ones, so that it stands once: in front.
    logits = torch.cat([own_n1, logits_nn], 1)
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="sum")


def _sampled(source_1chw: torch.Tensor, landing_2n: torch.Tensor) -> torch.Tensor:
    """Descriptors (N, C) of a map at places, with an L2 norm of 1 again."""
    return F.normalize(sample(source_1chw, landing_2n[None, :, None])[0][0, :, 0].T, dim=1)


def _block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, padding_mode="replicate")
    return nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.ReLU())
