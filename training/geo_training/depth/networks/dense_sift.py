"""Dense SIFT as a node of the network: one descriptor for every pixel, computed when it is needed, where it is needed.

Nothing is stored on disk. Where few pixels count, as with keypoints, only theirs are made.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.errors import InputError

PATCH_PX = 15
_CELLS = 4  # of a patch, along each side
_LARGEST = 0.2  # element of a descriptor
_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue (BT.601, as OpenCV's)


class DenseSift(nn.Module):
    """SIFT descriptors of patches of one size at angle zero: at every pixel, or at some. Gradients and cells are those
    of kornia's DenseSIFTDescriptor, which gathers them by a convolution that takes most of its time.

    kornia lays 4 x 4 cells of s pixels around a point half way between pixels. Averaging the image over 2 x 2 pixels
    first moves that point onto a pixel again. A descriptor then depends on a square of 4 s + 3 pixels around its own:
    4 s of the cells, 2 of the central differences, 1 of the average. s = 3 gives exactly the paper's 15 x 15. Larger
    patches are 19, 23, 27 ...

    `stride`: a descriptor for every stride-th pixel only, a stride^2-th of the memory; descriptor (i, j) is that of
    pixel (stride i, stride j), so a pixel divided by the stride is its place in the descriptor map.
    `angles`: directions a cell tells apart; 8 are SIFT's 128 channels, 4 give 64.

    It has no parameters and adds nothing to a checkpoint. Raises InputError for another patch size.
    """

    def __init__(self, patch_px: int = PATCH_PX, stride: int = 1, angles: int = 8):
        super().__init__()
        from kornia.feature import DenseSIFTDescriptor  # loads slowly, and few losses need it

        cell_px, rest = divmod(patch_px - 3, 4)
        if rest or cell_px < 2:
            raise InputError(f"a SIFT patch of {patch_px} pixels is not 4 s + 3 with s >= 2; use 11, 15, 19, 23 ...")
        if stride < 1 or angles < 2:
            raise InputError(f"dense SIFT with stride {stride} and {angles} angles; use stride 1 and 2 angles, or more")
        self.stride, self.channels = stride, 16 * angles
        self.angles, self._cell_px = angles, cell_px
        self._padding = (3 * cell_px - 1 - (1 - cell_px % 2)) // 2
        # In a list, so that its constant kernels are neither trained nor saved.
        self._sift = [DenseSIFTDescriptor(angles, _CELLS, cell_px).requires_grad_(False).eval()]

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        """Of images in 0 to 1 (B, 3, H, W), or grey (B, 1, H, W), the descriptors (B, 128, H, W) with an L2 norm of 1,
        or 0 where the patch is flat. Channels are direction first, then the cell's row and column.

        Differentiable in the image. Views that need no gradient belong into `torch.no_grad()`.
        """
        histograms_bahw = self.histograms(image_b3hw)
        if image_b3hw.device.type != "cpu":
            return self._dense(histograms_bahw)
        # One at a time, what is computed on the way stays small: less than half of the time on a CPU.
        return torch.cat([self._dense(histograms_1ahw) for histograms_1ahw in histograms_bahw.split(1)])

    def histograms(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        """What all descriptors of an image are made of, for `at`: gradients by direction, each summed over a cell, (B,
        A, h, w). A sixteenth of the descriptors' size, and most of the time that they take is not spent yet."""
        grey_b1hw = to_grey(image_b3hw)
        # One pixel more than the image, half a pixel up and left of it; the border goes on beyond the edge.
        halfway_b1hw = F.avg_pool2d(F.pad(grey_b1hw, (1, 1, 1, 1), mode="replicate"), 2, stride=1)
        sift = self._sift[0]
        directions_bahw = sift.get_gradient_histograms(halfway_b1hw)
        kernel_11kk = sift.get_pooling_kernel().to(halfway_b1hw).expand(self.angles, -1, -1, -1)
        summed_bahw = F.conv2d(directions_bahw, kernel_11kk, padding=self._cell_px // 2, groups=self.angles)
        return F.pad(summed_bahw, (self._padding,) * 4)

    def at(self, histograms_bahw: torch.Tensor, b: torch.Tensor, row: torch.Tensor, column: torch.Tensor):
        """The descriptors (N, 128) of pixels: the image (N,) each is of, its row and its column, integers inside the
        image. The same values as `forward` has there with stride 1."""
        cells = self._cell_px * torch.arange(_CELLS, device=histograms_bahw.device)
        rows_n41 = row[:, None, None] + cells[:, None]
        columns_n14 = column[:, None, None] + cells
        values_n44a = histograms_bahw.permute(0, 2, 3, 1)[b[:, None, None], rows_n41, columns_n14]
        return _normalized(values_n44a.permute(0, 3, 1, 2).flatten(1))

    def _dense(self, histograms_bahw: torch.Tensor) -> torch.Tensor:
        reach_px = (_CELLS - 1) * self._cell_px
        height, width = (side - reach_px for side in histograms_bahw.shape[-2:])
        starts_px = range(0, _CELLS * self._cell_px, self._cell_px)
        cells = [
            histograms_bahw[:, :, y : y + height : self.stride, x : x + width : self.stride]
            for y in starts_px
            for x in starts_px
        ]
        return _normalized(torch.stack(cells, 2).flatten(1, 2))


def _normalized(descriptors_bc: torch.Tensor) -> torch.Tensor:
    """Lowe's: to unit length, nothing above 0.2, to unit length again. Of (N, C) or (B, C, H, W)."""
    normal_bc = F.normalize(F.normalize(descriptors_bc, dim=1).clamp(max=_LARGEST), dim=1)
    if not descriptors_bc.requires_grad:
        return normal_bc
    # A flat patch has no direction, and no gradient, either.
    return torch.where((descriptors_bc == 0).all(1, keepdim=True), 0.0, normal_bc)


def to_grey(image_bchw: torch.Tensor) -> torch.Tensor:
    """Brightness (B, 1, H, W) of RGB (B, 3, H, W); grey stays as it is."""
    if image_bchw.shape[1] == 1:
        return image_bchw
    weights_31 = image_bchw.new_tensor(_GREY_WEIGHTS)[:, None, None]
    return (image_bchw * weights_31).sum(1, keepdim=True)
