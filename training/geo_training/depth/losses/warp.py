"""From one view into another through depth and motion: the geometry that trains depth without depth.

Pixels are (x, y) with (0, 0) at the centre of the top-left pixel. Everything is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_training.depth.batch import ClipBatch

_NEAR = 1e-3  # points this close to the camera plane, or behind it, have no pixel


def pixel_grid(height_px: int, width_px: int, device=None, dtype=torch.float32) -> torch.Tensor:
    """The centres of all pixels, (2, H, W): x, then y."""
    y_h = torch.arange(height_px, device=device, dtype=dtype)
    x_w = torch.arange(width_px, device=device, dtype=dtype)
    y_hw, x_hw = torch.meshgrid(y_h, x_w, indexing="ij")
    return torch.stack([x_hw, y_hw])


def back_project(depth_b1hw: torch.Tensor, K_b33: torch.Tensor) -> torch.Tensor:
    """The points (B, 3, H, W) in the camera's frame that the pixels show: depth along z times K^-1 (x, y, 1)."""
    grid_2hw = pixel_grid(*depth_b1hw.shape[-2:], depth_b1hw.device, depth_b1hw.dtype)
    focal_b2 = torch.stack([K_b33[:, 0, 0], K_b33[:, 1, 1]], 1)
    ray_b2hw = (grid_2hw - K_b33[:, :2, 2, None, None]) / focal_b2[..., None, None]
    return torch.cat([ray_b2hw * depth_b1hw, depth_b1hw], 1)


def project(points_b3hw: torch.Tensor, K_b33: torch.Tensor, T_b44: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Points projected into a camera that `T_b44` takes them to: pixels (B, 2, H, W) and depth there (B, 1, H, W).

    Points behind that camera get a pixel far outside the image.
    """
    batch, _, height, width = points_b3hw.shape
    moved_b3n = T_b44[:, :3, :3] @ points_b3hw.flatten(2) + T_b44[:, :3, 3:]
    x_b3hw = moved_b3n.reshape(batch, 3, height, width)
    z_b1hw = x_b3hw[:, 2:]
    focal_b2 = torch.stack([K_b33[:, 0, 0], K_b33[:, 1, 1]], 1)[..., None, None]
    pixels_b2hw = x_b3hw[:, :2] / z_b1hw.clamp(min=_NEAR) * focal_b2 + K_b33[:, :2, 2, None, None]
    return torch.where(z_b1hw > _NEAR, pixels_b2hw, torch.full_like(pixels_b2hw, -1e4)), z_b1hw


def sample(image_bchw: torch.Tensor, pixels_b2hw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bilinear samples (B, C, H, W) of an image at pixels, and where these lie inside it (bool, B, 1, H, W).

    Outside, the nearest pixel of the border is taken.
    """
    height, width = image_bchw.shape[-2:]
    last_2 = pixels_b2hw.new_tensor([max(width - 1, 1), max(height - 1, 1)])[:, None, None]
    # align_corners: -1 and 1 are the centres of the first and the last pixel, as (0, 0) is here.
    grid_bhw2 = (2 * pixels_b2hw / last_2 - 1).permute(0, 2, 3, 1)
    warped = F.grid_sample(image_bchw, grid_bhw2, mode="bilinear", padding_mode="border", align_corners=True)
    inside = (pixels_b2hw >= 0) & (pixels_b2hw <= last_2)
    return warped, inside.all(1, keepdim=True)


@dataclass(frozen=True)
class Correspondences:
    """The target's pixels in each source, `pixels_bs2hw`, and their depth there, `z_bs1hw`."""

    pixels_bs2hw: torch.Tensor
    z_bs1hw: torch.Tensor


def reproject(depth_b1hw: torch.Tensor, batch: ClipBatch, T_source_target_bs44: torch.Tensor) -> Correspondences:
    """Where the target's pixels lie in its sources, through depth and motion."""
    points_b3hw = back_project(depth_b1hw, batch.K_b33)
    pairs = [project(points_b3hw, batch.K_b33, T_source_target_bs44[:, s]) for s in range(batch.sources)]
    return Correspondences(torch.stack([pixels for pixels, _ in pairs], 1), torch.stack([z for _, z in pairs], 1))


def scaled_intrinsics(K_b33: torch.Tensor, factor_x: float, factor_y: float) -> torch.Tensor:
    """K (B, 3, 3) of the image resized by these factors; pixel centres stay where they are on the sensor."""
    scale_33 = K_b33.new_tensor([[factor_x, 0, 0.5 * factor_x - 0.5], [0, factor_y, 0.5 * factor_y - 0.5], [0, 0, 1]])
    return scale_33 @ K_b33
