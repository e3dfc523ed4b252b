"""Which pixels are SIFT keypoints: extrema of differences of Gaussians over place and scale, as a mask.

kornia's detector gives a list of fixed length for each image. A loss wants every keypoint of the whole batch as a mask,
so the search here is a few blurs and poolings on the device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.errors import InputError
from geo_training.depth.networks.dense_sift import to_grey

_LEVELS = 3  # scales in an octave, as Lowe's
_SIGMA_PX = 1.6
_IMAGE_SIGMA_PX = 0.5  # blur that the image itself is taken to have
_SMALLEST_OCTAVE_PX = 16
# Lowe moves an extremum on whose peak is more than 0.5 away, and often loses it then. Without moving, 0.6 agrees best
# with OpenCV both ways.
_FARTHEST_PEAK = 0.6


class KeypointDetector(nn.Module):
    """Lowe's keypoints of images as a mask. It has no parameters, and passes no gradient: choosing has none.

    `contrast` is the least difference of Gaussians (image in 0 to 1) times the 3 scales of an octave, `edge_ratio` the
    largest ratio of its two curvatures; both mean what OpenCV's `contrastThreshold` and `edgeThreshold` do.
    `radius_px` also marks the square of 2 r + 1 pixels around each keypoint: its surroundings, not its point alone.
    `border_px` leaves out what is closer to the border (7: the 15 x 15 patch lies inside the image).

    Places are not refined below a pixel, since the mask has only pixels.
    """

    def __init__(self, contrast: float = 0.04, edge_ratio: float = 10.0, radius_px: int = 0, border_px: int = 7):
        super().__init__()
        if contrast <= 0 or edge_ratio < 1 or radius_px < 0 or border_px < 0:
            raise InputError(
                f"keypoints of contrast {contrast}, edge ratio {edge_ratio}, radius {radius_px}, border {border_px}; "
                "use a contrast above 0, an edge ratio of 1 or more, and 0 or more for the others"
            )
        self.contrast, self.edge_ratio = contrast, edge_ratio
        self.radius_px, self.border_px = radius_px, border_px

    @torch.no_grad()
    def forward(self, image_bchw: torch.Tensor) -> torch.Tensor:
        """Of images in 0 to 1 (B, 3 or 1, H, W), where keypoints are: bool (B, 1, H, W)."""
        grey_b1hw = to_grey(image_bchw)
        height, width = grey_b1hw.shape[-2:]
        mask_b1hw = torch.zeros_like(grey_b1hw, dtype=torch.bool)
        for octave, level_blhw in enumerate(_scale_space(grey_b1hw)):
            b, row, column = self._extrema(level_blhw.diff(dim=1))
            mask_b1hw[b, 0, _to_image(row, octave, height), _to_image(column, octave, width)] = True
        mask_b1hw = self._without_border(mask_b1hw)
        if self.radius_px:
            size = 2 * self.radius_px + 1
            mask_b1hw = F.max_pool2d(mask_b1hw.to(grey_b1hw.dtype), size, 1, self.radius_px) > 0
        return mask_b1hw

    def _extrema(self, dog_blhw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image, row and column of what is larger, or smaller, than its 26 neighbours, strong, and not on an edge."""
        middle_blhw = dog_blhw[:, 1:-1, 1:-1, 1:-1]
        largest_blhw, smallest_blhw = _of_neighbours(dog_blhw, torch.maximum), _of_neighbours(dog_blhw, torch.minimum)
        extreme = (middle_blhw == largest_blhw) | (middle_blhw == smallest_blhw)
        # The peak between pixels is a little higher than the pixel: half of the contrast is asked for first.
        b, level, row, column = (extreme & (middle_blhw.abs() * _LEVELS >= self.contrast / 2)).nonzero(as_tuple=True)
        steps = torch.arange(3, device=dog_blhw.device)
        around_n333 = dog_blhw[
            b[:, None, None, None],
            level[:, None, None, None] + steps[:, None, None],
            row[:, None, None, None] + steps[:, None],
            column[:, None, None, None] + steps,
        ]
        kept = self._is_keypoint(around_n333)
        return b[kept], row[kept] + 1, column[kept] + 1

    def _is_keypoint(self, around_n333: torch.Tensor) -> torch.Tensor:
        """Lowe's three tests, on the 27 values (scale, row, column) around each extremum: the peak of the quadric
        through them is close by, it is strong, and its curvatures are alike."""
        gradient_n3, hessian_n33 = _derivatives(around_n333)
        # A flat direction has its peak nowhere near; the small diagonal keeps the solution finite, and far away.
        eye_33 = torch.eye(3, device=around_n333.device, dtype=around_n333.dtype)
        offset_n3 = -torch.linalg.solve_ex(hessian_n33 + 1e-9 * eye_33, gradient_n3)[0]
        peak_n = around_n333[:, 1, 1, 1] + 0.5 * (gradient_n3 * offset_n3).sum(1)
        yy, xx, yx = hessian_n33[:, 1, 1], hessian_n33[:, 2, 2], hessian_n33[:, 1, 2]
        determinant = xx * yy - yx**2
        limit = (self.edge_ratio + 1) ** 2 / self.edge_ratio
        blob = (determinant > 0) & ((xx + yy) ** 2 < limit * determinant)
        return (offset_n3.abs() < _FARTHEST_PEAK).all(1) & (peak_n.abs() * _LEVELS >= self.contrast) & blob

    def _without_border(self, mask_b1hw: torch.Tensor) -> torch.Tensor:
        edge = self.border_px
        inner_b1hw = torch.zeros_like(mask_b1hw)
        height, width = mask_b1hw.shape[-2:]
        inner_b1hw[..., edge : height - edge, edge : width - edge] = True
        return mask_b1hw & inner_b1hw


def _scale_space(grey_b1hw: torch.Tensor) -> Iterator[torch.Tensor]:
    """Octaves of six ever more blurred images (B, 6, h, w); the first of twice the size, each next of half of it.

    kornia's ScalePyramid doubles the image with aligned corners, so that blur changes over the image and finds
    keypoints of its own. Here every pixel is doubled alike, as OpenCV does.
    """
    from kornia.filters import gaussian_blur2d  # loads slowly, and few losses need it

    def blur(image_b1hw: torch.Tensor, have_px: float, want_px: float) -> torch.Tensor:
        sigma_px = math.sqrt(want_px**2 - have_px**2)
        # Four deviations each way, but no more than a small octave can be mirrored by.
        size = 2 * min(math.ceil(4 * sigma_px), min(image_b1hw.shape[-2:]) - 1) + 1
        if image_b1hw.device.type == "cpu":
            return _blurred_by_opencv(image_b1hw, size, sigma_px)
        return gaussian_blur2d(image_b1hw, (size, size), (sigma_px, sigma_px), border_type="reflect")

    doubled_b1hw = F.interpolate(grey_b1hw, scale_factor=2, mode="bilinear", align_corners=False)
    first_b1hw = blur(doubled_b1hw, 2 * _IMAGE_SIGMA_PX, _SIGMA_PX)
    sigmas_px = [_SIGMA_PX * 2 ** (level / _LEVELS) for level in range(_LEVELS + 3)]
    while min(first_b1hw.shape[-2:]) >= _SMALLEST_OCTAVE_PX:
        levels = [first_b1hw]
        for have_px, want_px in itertools.pairwise(sigmas_px):
            levels.append(blur(levels[-1], have_px, want_px))
        yield torch.cat(levels, 1)
        first_b1hw = levels[_LEVELS][..., ::2, ::2]  # blurred twice as much as the first


def _of_neighbours(
    dog_blhw: torch.Tensor, chosen: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The largest, or smallest, of each value and its 26 neighbours in level, row and column; without the borders."""
    for axis in (1, 2, 3):
        inner = dog_blhw.shape[axis] - 2
        parts = [dog_blhw.narrow(axis, start, inner) for start in range(3)]
        dog_blhw = chosen(chosen(parts[0], parts[1]), parts[2])
    return dog_blhw


def _blurred_by_opencv(image_b1hw: torch.Tensor, size: int, sigma_px: float) -> torch.Tensor:
    """The same blur. On a CPU OpenCV is many times faster than a convolution of torch."""
    from kornia.filters import get_gaussian_kernel1d

    kernel = get_gaussian_kernel1d(size, sigma_px, dtype=image_b1hw.dtype)[0].numpy()
    images = [image_1hw[0].numpy() for image_1hw in image_b1hw.detach()]
    blurred = [cv2.sepFilter2D(image_hw, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101) for image_hw in images]
    return torch.from_numpy(np.stack(blurred)[:, None])


def _to_image(index_n: torch.Tensor, octave: int, image_px: int) -> torch.Tensor:
    """Rows or columns of an octave as the nearest ones of the image: doubling it moved the pixel centres by 1/4."""
    return (index_n * 2.0 ** (octave - 1) - 0.25).round().long().clamp(0, image_px - 1)


def _derivatives(around_n333: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences at the middle of 27 values: gradient (N, 3) and Hessian (N, 3, 3)."""
    middle_n = around_n333[:, 1, 1, 1]
    gradient, hessian = [], [[middle_n] * 3 for _ in range(3)]
    for i in range(3):
        line_n3 = around_n333[(slice(None), *(slice(None) if k == i else 1 for k in range(3)))]
        gradient.append((line_n3[:, 2] - line_n3[:, 0]) / 2)
        hessian[i][i] = line_n3[:, 2] + line_n3[:, 0] - 2 * middle_n
        for j in range(i):
            plane_n33 = around_n333[(slice(None), *(slice(None) if k in (i, j) else 1 for k in range(3)))]
            corners_n = plane_n33[:, 0, 0] + plane_n33[:, 2, 2] - plane_n33[:, 0, 2] - plane_n33[:, 2, 0]
            hessian[i][j] = hessian[j][i] = corners_n / 4
    return torch.stack(gradient, 1), torch.stack([torch.stack(row, 1) for row in hessian], 1)
