"""What another network says of the same image: terms that ask for its depth, up to what it cannot know itself.

The quantities are aligned first, as robustly as MiDaS does (Ranftl et al. 2020, section 5): by medians, and where a
shift is unknown, too, by mean absolute deviations from them.
"""

from __future__ import annotations

from typing import Literal

import torch

from geo_training.depth.losses.supervision import SCALE_SHARE, differences, log_error

TeacherKind = Literal["metric", "depth", "disparity"]
_LEVELS = 4  # as MiDaS
_FLAT = 1e-4  # of the median: a teacher whose answers deviate less than this says nothing of a shape


def teacher_loss(
    depth_b1hw: torch.Tensor, inverse_b1hw: torch.Tensor, kind: TeacherKind, shift_share: float = 0.0
) -> torch.Tensor:
    """Mean absolute difference from the teacher, once both are aligned; 0 where it says nothing. A mean over the images
    in which it says anything.

    `inverse_b1hw` is the teacher's inverse depth, 0 where it says nothing. How it is aligned is its `kind`:

    depth      known up to a factor: the difference of the logarithms, less its median over the image
    metric     as depth, and SCALE_SHARE of that median counts, too
    disparity  inverse depth up to a factor and a shift: L_ssimae of MiDaS, without the half in front of its sum

    With a `shift_share` the shift of a disparity is taken for none, with so much weight: by the logarithm of s / t, the
    mean absolute deviation over the median, which no factor changes.
    """
    error, known, taken_b111 = aligned_error(depth_b1hw, inverse_b1hw, kind)
    seen = known.flatten(1).any(1)
    per_image = error.abs().sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)
    share = {"metric": SCALE_SHARE, "disparity": shift_share, "depth": 0.0}[kind]
    if share > 0:
        per_image = per_image + share * taken_b111.flatten().abs()
    return torch.where(seen, per_image, torch.zeros_like(per_image)).sum() / seen.sum().clamp(min=1)


def teacher_gradient_loss(depth_b1hw: torch.Tensor, inverse_b1hw: torch.Tensor, kind: TeacherKind) -> torch.Tensor:
    """Mean absolute differences of the aligned error between neighbours 1, 2, 4 and 8 pixels apart (L_reg of
    MiDaS, a mean over the scales rather than their sum): edges lie where the teacher's do."""
    error, known, _ = aligned_error(depth_b1hw, inverse_b1hw, kind)
    return differences(error, known, _LEVELS)


def aligned_error(
    depth_b1hw: torch.Tensor, inverse_b1hw: torch.Tensor, kind: TeacherKind
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is left of the difference from the teacher, 0 where it says nothing; where it says anything (both B, 1, H,
    W); and what was taken out (B, 1, 1, 1): the median difference of the logarithms, or of the logarithms of s / t."""
    known = inverse_b1hw > 0
    if kind != "disparity":
        true_b1hw = torch.where(known, 1 / inverse_b1hw.clamp(min=1e-12), torch.zeros_like(inverse_b1hw))
        error, _ = log_error(depth_b1hw, true_b1hw)
        median_b111 = masked_median(error, known)
        return torch.where(known, error - median_b111, torch.zeros_like(error)), known, median_b111
    own_b1hw, own_t_b111, own_s_b111 = _standardized(1 / depth_b1hw.clamp(min=1e-6), known)
    asked_b1hw, t_b111, s_b111 = _standardized(inverse_b1hw, known)
    shaped_b111 = s_b111 > _FLAT * t_b111
    known = known & shaped_b111
    error = torch.where(known, own_b1hw - asked_b1hw, torch.zeros_like(own_b1hw))
    ones_b111 = torch.ones_like(t_b111)
    spreads = [
        torch.where(shaped_b111, s.clamp(min=1e-9) / t.clamp(min=1e-9), ones_b111)
        for s, t in ((own_s_b111, own_t_b111), (s_b111, t_b111))
    ]
    return error, known, torch.log(spreads[0] / spreads[1])


def masked_median(values_b1hw: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The median of each image's known values (the lower of the two in the middle), (B, 1, 1, 1); 0 without any."""
    nothing = torch.full_like(values_b1hw, torch.nan)
    median_b = torch.nanmedian(torch.where(known, values_b1hw, nothing).flatten(1), 1).values
    return torch.where(known.flatten(1).any(1), median_b, torch.zeros_like(median_b))[:, None, None, None]


def _standardized(values_b1hw: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(d - t) / s with t the median and s the mean absolute deviation from it over the known pixels; t and s."""
    t_b111 = masked_median(values_b1hw, known)
    off_b1hw = torch.where(known, values_b1hw - t_b111, torch.zeros_like(values_b1hw))
    s_b111 = off_b1hw.abs().sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    return off_b1hw / s_b111.clamp(min=1e-9), t_b111, s_b111
