"""From one view into another through depth and motion: the geometry that trains depth without depth.

Pixels are (x, y) with (0, 0) at the centre of the top-left pixel. Everything is differentiable.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

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
    """Where points land in a camera that `T_b44` takes them to: pixels (B, 2, H, W) and depth there (B, 1, H, W).

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


def scaled_intrinsics(K_b33: torch.Tensor, factor_x: float, factor_y: float) -> torch.Tensor:
    """K (B, 3, 3) of the image resized by these factors; pixel centres stay where they are on the sensor."""
    scale_33 = K_b33.new_tensor([[factor_x, 0, 0.5 * factor_x - 0.5], [0, factor_y, 0.5 * factor_y - 0.5], [0, 0, 1]])
    return scale_33 @ K_b33


def motion_matrix(rotation_b3: torch.Tensor, translation_b3: torch.Tensor) -> torch.Tensor:
    """T (B, 4, 4) of a rotation vector in radians and a translation. Exact, and smooth through zero (Rodrigues)."""
    angle2_b = (rotation_b3**2).sum(-1)
    small_b = angle2_b < 1e-6
    angle_b = torch.where(small_b, torch.ones_like(angle2_b), angle2_b).sqrt()
    sine_b = torch.where(small_b, 1 - angle2_b / 6, torch.sin(angle_b) / angle_b)
    cosine_b = torch.where(small_b, 0.5 - angle2_b / 24, (1 - torch.cos(angle_b)) / angle_b**2)
    x, y, z = rotation_b3.unbind(-1)
    zero = torch.zeros_like(x)
    cross_b33 = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    R_b33 = torch.eye(3, device=x.device, dtype=x.dtype) + sine_b[:, None, None] * cross_b33
    R_b33 = R_b33 + cosine_b[:, None, None] * (cross_b33 @ cross_b33)
    top_b34 = torch.cat([R_b33, translation_b3[..., None]], -1)
    bottom_b14 = top_b34.new_tensor([0, 0, 0, 1.0]).expand(len(top_b34), 1, 4)
    return torch.cat([top_b34, bottom_b14], 1)


def invert_motion(T_b44: torch.Tensor) -> torch.Tensor:
    """T^-1 of rigid motions (B, 4, 4)."""
    R_b33 = T_b44[:, :3, :3].transpose(1, 2)
    top_b34 = torch.cat([R_b33, -R_b33 @ T_b44[:, :3, 3:]], -1)
    return torch.cat([top_b34, T_b44[:, 3:]], 1)
