"""Perspective fields: what a camera's focal length and attitude make of every pixel.

At each pixel, `up` is the direction in the image in which a point moves when it is lifted against gravity (a unit
vector, x right, y down), and `sin_latitude` the sine of the elevation of the pixel's ray above the horizon (Jin et al.,
"Perspective Fields for Single Image Camera Calibration", 2023). Three numbers decide both, everywhere.

Batched torch functions. B images, N pixels. `xy_n2` are pixels from the principal point divided by `image_scale`, and
`log_focal_b` is the logarithm of the focal length divided by it. `up_b3` is the unit vector against gravity in the
optical frame.
"""

from __future__ import annotations

import torch

from geo_perception.calibration.scale import image_scale


def image_grid(height_px: int, width_px: int, stride: int, device=None) -> torch.Tensor:
    """(N, 2) float32: the centres of the cells of `stride` pixels, row by row, from the image's centre, divided by
    `image_scale`."""
    y = (torch.arange(height_px // stride, device=device) + 0.5) * stride - height_px / 2
    x = (torch.arange(width_px // stride, device=device) + 0.5) * stride - width_px / 2
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2).flip(-1)
    return grid / image_scale(height_px, width_px)


def perspective_fields(log_focal_b: torch.Tensor, up_b3: torch.Tensor, xy_n2: torch.Tensor):
    """`up_bn2` and `sin_latitude_bn` of the cameras at the pixels."""
    up_bn2, sine_bn, _, _ = _fields(log_focal_b, up_b3, xy_n2)
    return up_bn2, sine_bn


def tangent_basis(up_b3: torch.Tensor) -> torch.Tensor:
    """(B, 3, 2): two unit vectors that are perpendicular to `up_b3` and to each other.

    A step along the first is a roll (times the cosine of the pitch), along the second a pitch. Where the camera looks
    straight up or down the first is the image's x axis.
    """
    x, y, _ = up_b3.unbind(-1)
    level = torch.hypot(x, y)
    safe = level > 1e-6
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    first_b3 = torch.stack(
        [torch.where(safe, y / level.clamp(min=1e-6), one), torch.where(safe, -x / level.clamp(min=1e-6), zero), zero],
        -1,
    )
    return torch.stack([first_b3, torch.linalg.cross(first_b3, up_b3)], -1)


def fields_with_jacobians(log_focal_b: torch.Tensor, up_b3: torch.Tensor, xy_n2: torch.Tensor):
    """The fields (B, N, 3) as (up x, up y, sin latitude), and their derivatives (B, N, 3, 3) by the log of the focal
    length and by the two tangent directions of `tangent_basis`."""
    up_bn2, sine_bn, w_bn2, ray_bn3 = _fields(log_focal_b, up_b3, xy_n2)
    basis_b32 = tangent_basis(up_b3)
    length_bn = w_bn2.norm(dim=-1).clamp(min=1e-6)
    x_bn, y_bn = ray_bn3[..., 0], ray_bn3[..., 1]
    uz_b1 = up_b3[:, 2:3]
    # w = (ux - x uz, uy - y uz) for the ray (x, y, 1); x and y shrink as the focal length grows: d x / d log f = -x.
    dw_dfocal_bn2 = torch.stack([x_bn * uz_b1, y_bn * uz_b1], -1)
    dw_dup_bn22 = basis_b32[:, None, :2, :] - ray_bn3[..., :2, None] * basis_b32[:, None, 2:3, :]
    dw_bn23 = torch.cat([dw_dfocal_bn2[..., None], dw_dup_bn22], -1)
    across_bn13 = (up_bn2[..., None] * dw_bn23).sum(-2, keepdim=True)
    dup_bn23 = (dw_bn23 - up_bn2[..., None] * across_bn13) / length_bn[..., None, None]
    norm_bn = ray_bn3.norm(dim=-1)
    q_bn3 = torch.stack([-x_bn, -y_bn, torch.zeros_like(x_bn)], -1)
    dsine_dfocal_bn = (q_bn3 * up_b3[:, None]).sum(-1) / norm_bn - sine_bn * (q_bn3 * ray_bn3).sum(-1) / norm_bn**2
    dsine_dup_bn2 = torch.einsum("bni,bij->bnj", ray_bn3 / norm_bn[..., None], basis_b32)
    dsine_bn13 = torch.cat([dsine_dfocal_bn[..., None], dsine_dup_bn2], -1)[..., None, :]
    return torch.cat([up_bn2, sine_bn[..., None]], -1), torch.cat([dup_bn23, dsine_bn13], -2)


def _fields(log_focal_b, up_b3, xy_n2):
    plane_bn2 = xy_n2[None] * torch.exp(-log_focal_b)[:, None, None]
    ray_bn3 = torch.cat([plane_bn2, torch.ones_like(plane_bn2[..., :1])], -1)
    w_bn2 = up_b3[:, None, :2] - plane_bn2 * up_b3[:, None, 2:]
    # At the zenith itself no direction is up; there the vector is left short rather than divided by zero.
    up_bn2 = w_bn2 / w_bn2.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    sine_bn = (ray_bn3 * up_b3[:, None]).sum(-1) / ray_bn3.norm(dim=-1)
    return up_bn2, sine_bn, w_bn2, ray_bn3
