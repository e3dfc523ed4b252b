"""The photometric error of two images, and its reduction over sources: view synthesis as a training signal."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

SSIM_SHARE = 0.85
_C1, _C2 = 0.01**2, 0.03**2


def ssim_distance(a_bchw: torch.Tensor, b_bchw: torch.Tensor) -> torch.Tensor:
    """(1 - SSIM) / 2 of each pixel's 3x3 surroundings, 0 to 1, same shape. Images in 0..1 (Wang et al. 2004)."""
    both = F.pad(torch.cat([a_bchw, b_bchw]), (1, 1, 1, 1), mode="reflect")
    mean_a, mean_b = _mean_of_3x3(both).chunk(2)
    square_a, square_b = _mean_of_3x3(both * both).chunk(2)
    a_padded, b_padded = both.chunk(2)
    covariance = _mean_of_3x3(a_padded * b_padded) - mean_a * mean_b
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    alike = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    alike = alike / ((mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2))
    return ((1 - alike) / 2).clamp(0, 1)


def _mean_of_3x3(image_bchw: torch.Tensor) -> torch.Tensor:
    if image_bchw.device.type != "cpu":
        return F.avg_pool2d(image_bchw, 3, 1)
    # On a CPU pooling is done pixel by pixel, sums of whole images are not: several times faster.
    row_bchw = image_bchw[..., :-2, :] + image_bchw[..., 1:-1, :] + image_bchw[..., 2:, :]
    return (row_bchw[..., :-2] + row_bchw[..., 1:-1] + row_bchw[..., 2:]) / 9


def photometric_error(a_b3hw: torch.Tensor, b_b3hw: torch.Tensor, kind: str) -> torch.Tensor:
    """How far two images are apart at each pixel, (B, 1, H, W): "l1", or "ssim": 0.85 SSIM + 0.15 L1."""
    l1_b1hw = (a_b3hw - b_b3hw).abs().mean(1, keepdim=True)
    if kind == "l1":
        return l1_b1hw
    return SSIM_SHARE * ssim_distance(a_b3hw, b_b3hw).mean(1, keepdim=True) + (1 - SSIM_SHARE) * l1_b1hw


def summed_reprojection_loss(
    errors_bshw: torch.Tensor, inside_bshw: torch.Tensor, explained_bshw: torch.Tensor | None = None
) -> torch.Tensor:
    """Equation 1 of SfMLearner, as a mean over the pixels: the errors of all sources, weighed by how far a source is
    expected to explain a pixel, summed over the sources. Pixels that are not inside count nothing."""
    weight = inside_bshw.to(errors_bshw.dtype)
    if explained_bshw is not None:
        weight = weight * explained_bshw
    return (errors_bshw * weight).mean((0, 2, 3)).sum()


def minimum_reprojection_loss(
    errors_bshw: torch.Tensor,
    inside_bshw: torch.Tensor,
    identity_bshw: torch.Tensor | None,
    weight_b1hw: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over pixels of the least error of any source (Godard et al. 2019), and which pixels counted (bool, B, 1,
    H, W).

    A pixel is left out where no source shows it, and where a source that is not warped (`identity_bshw`, its errors)
    explains it as well: the camera stood still there, or the thing moves with it. `weight_b1hw` weighs the pixels.
    """
    infinite = torch.full_like(errors_bshw, 1e3)
    least_b1hw = torch.where(inside_bshw, errors_bshw, infinite).min(1, keepdim=True).values
    counted = inside_bshw.any(1, keepdim=True)
    if identity_bshw is not None:
        counted = counted & (least_b1hw.detach() < identity_bshw.min(1, keepdim=True).values)
    error_b1hw = torch.where(counted, least_b1hw, torch.zeros_like(least_b1hw))
    if weight_b1hw is not None:
        error_b1hw = error_b1hw * weight_b1hw
    return error_b1hw.sum() / counted.sum().clamp(min=1), counted
