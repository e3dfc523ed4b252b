"""Where true depth is known: terms that ask for it, up to how far the image's scale can be known."""

from __future__ import annotations

import torch

from geo_perception.depth.sharpener import DepthChoice

SCALE_SHARE = 0.3  # how much of the error of an image's common scale counts
_LEVELS = 3


def log_error(depth_b1hw: torch.Tensor, true_b1hw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log(depth / truth) and where the truth is known (> 0), both (B, 1, H, W)."""
    known = true_b1hw > 0
    log_true = torch.log(torch.where(known, true_b1hw, torch.ones_like(true_b1hw)))
    error = torch.log(depth_b1hw.clamp(min=1e-6)) - log_true
    return torch.where(known, error, torch.zeros_like(error)), known


def centred(error_b1hw: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The errors without their mean over each image, and that mean (B, 1, 1, 1)."""
    count = known.sum((2, 3), keepdim=True).clamp(min=1)
    mean_b111 = error_b1hw.sum((2, 3), keepdim=True) / count
    return torch.where(known, error_b1hw - mean_b111, torch.zeros_like(error_b1hw)), mean_b111


def depth_loss(depth_b1hw: torch.Tensor, true_b1hw: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the logarithm: of what is left without the image's common scale, and SCALE_SHARE of that
    scale. One view cannot tell its scale well, and must not pay for it in shape. 0 where no truth is known."""
    error, known = log_error(depth_b1hw, true_b1hw)
    rest, mean_b111 = centred(error, known)
    seen = known.any(-1).any(-1).any(-1)
    count = seen.sum().clamp(min=1)
    per_image = rest.abs().sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)
    per_image = per_image + SCALE_SHARE * mean_b111.flatten().abs()
    return torch.where(seen, per_image, torch.zeros_like(per_image)).sum() / count


def gradient_loss(depth_b1hw: torch.Tensor, true_b1hw: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the differences of the logarithm between neighbours 1, 2 and 4 pixels apart: edges and
    slopes (Li and Snavely 2018). Only between pixels that both are known."""
    return differences(*log_error(depth_b1hw, true_b1hw), _LEVELS)


def choice_loss(choice: DepthChoice, depth_b1hw: torch.Tensor, true_b1hw: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of the expected absolute error of the logarithm, where a pixel takes a candidate with the
    probability that the choice gives it. `depth_b1hw` is the depth of the weighted mean, by whose median error the
    image's common scale is taken out. A mean of two surfaces is no better here than either: what is learned decides.

    The bimodal output of Tosi et al. (SMD-Nets, 2021) does as much with two depths and a likelihood.
    """
    error_b1hw, known = log_error(depth_b1hw, true_b1hw)
    unknown = torch.full_like(error_b1hw, float("nan"))
    median_b = torch.where(known, error_b1hw, unknown).detach().flatten(1).nanmedian(1).values.nan_to_num()
    # Depth is larger where disparity is smaller.
    apart_bkhw = choice.mean_b1hw() - choice.log_bkhw + error_b1hw - median_b[:, None, None, None]
    expected_b1hw = (choice.weight_bkhw * apart_bkhw.abs()).sum(1, keepdim=True)
    return torch.where(known, expected_b1hw, torch.zeros_like(expected_b1hw)).sum() / known.sum().clamp(min=1)


def differences(error_b1hw: torch.Tensor, known: torch.Tensor, levels: int) -> torch.Tensor:
    """Mean absolute difference of errors between neighbours 1, 2, ... 2^(levels - 1) pixels apart along both axes, over
    the pairs of which both are known: the mean of these means."""
    total = error_b1hw.new_zeros(())
    for level in range(levels):
        step = 2**level
        for axis in (2, 3):
            length = error_b1hw.shape[axis]
            if length <= step:
                continue
            after, before = (error_b1hw.narrow(axis, start, length - step) for start in (step, 0))
            both = known.narrow(axis, step, length - step) & known.narrow(axis, 0, length - step)
            apart = torch.where(both, (after - before).abs(), torch.zeros_like(after))
            total = total + apart.sum() / both.sum().clamp(min=1)
    return total / (2 * levels)
