"""What depth is expected to be like: smooth, the same from two views, and not everywhere unexplained."""

from __future__ import annotations

import torch


def second_order_smoothness(disparity_b1hw: torch.Tensor) -> torch.Tensor:
    """Mean absolute second differences in x, in xy, in yx and in y, added (SfMLearner)."""
    dy, dx = _differences(disparity_b1hw)
    dyx, dxx = _differences(dx)
    dyy, dxy = _differences(dy)
    return dxx.abs().mean() + dxy.abs().mean() + dyx.abs().mean() + dyy.abs().mean()


def edge_aware_smoothness(disparity_b1hw: torch.Tensor, image_b3hw: torch.Tensor) -> torch.Tensor:
    """|dx d*| exp(-|dx I|) + |dy d*| exp(-|dy I|), means over pixels; d* is the disparity divided by its mean over the
    image, so that shrinking it does not pay (Godard et al. 2017, 2019)."""
    normal_b1hw = normalized_disparity(disparity_b1hw)
    dy, dx = _differences(normal_b1hw)
    image_dy, image_dx = (part.abs().mean(1, keepdim=True) for part in _differences(image_b3hw))
    return (dx.abs() * torch.exp(-image_dx)).mean() + (dy.abs() * torch.exp(-image_dy)).mean()


def normalized_disparity(disparity_b1hw: torch.Tensor) -> torch.Tensor:
    """Disparity divided by its mean over the image: a term of it does not change when all disparities are multiplied,
    which changes no picture either where motion is learned."""
    return disparity_b1hw / (disparity_b1hw.mean((2, 3), keepdim=True) + 1e-7)


def mask_regularization(explained_bshw: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the explainability mask against 1 everywhere, summed over the sources (SfMLearner)."""
    return -torch.log(explained_bshw.clamp(min=1e-6)).mean((0, 2, 3)).sum()


def inconsistency(computed_b1hw: torch.Tensor, seen_b1hw: torch.Tensor) -> torch.Tensor:
    """|a - b| / (a + b) of the depth that one view computes for another and the depth seen there, 0 to 1, (B, 1, H, W)
    (Bian et al. 2019)."""
    total = (computed_b1hw + seen_b1hw).clamp(min=1e-6)
    return ((computed_b1hw - seen_b1hw).abs() / total).clamp(0, 1)


def laplace_likelihood(error_b1hw: torch.Tensor, log_sigma_b1hw: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood |e| / s + log s of errors under Laplace distributions of scale s."""
    nll = error_b1hw.abs() * torch.exp(-log_sigma_b1hw) + log_sigma_b1hw
    return torch.where(counted, nll, torch.zeros_like(nll)).sum() / counted.sum().clamp(min=1)


def _differences(image_bchw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First differences along y and along x."""
    return image_bchw[:, :, 1:] - image_bchw[:, :, :-1], image_bchw[..., 1:] - image_bchw[..., :-1]
