"""Dense SIFT as a node of the network: one descriptor for every pixel, computed when it is needed, where it is needed.

Nothing is stored on disk. On one core of a CPU a view of 416 x 128 pixels costs 0.2 s, a quarter of that with stride 2.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.errors import InputError

PATCH_PX = 15
_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue (BT.601, as OpenCV's)


class DenseSift(nn.Module):
    """SIFT descriptors at every pixel, of patches of one size at angle zero, by kornia's DenseSIFTDescriptor.

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
        padding = (3 * cell_px - 1 - (1 - cell_px % 2)) // 2
        # SIFT as Lowe's: the square-rooted variant is another descriptor.
        sift = DenseSIFTDescriptor(angles, 4, cell_px, rootsift=False, stride=stride, padding=padding)
        # In a list, so that its constant kernels are neither trained nor saved.
        self._sift = [sift.requires_grad_(False).eval()]

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        """Of images in 0 to 1 (B, 3, H, W), or grey (B, 1, H, W), the descriptors (B, 128, H, W) with an L2 norm of 1,
        or 0 where the patch is flat. Channels are direction first, then the cell's row and column.

        Differentiable in the image. Views that need no gradient belong into `torch.no_grad()`.
        """
        grey_b1hw = to_grey(image_b3hw)
        # One pixel more than the image, half a pixel up and left of it; the border goes on beyond the edge.
        halfway_b1hw = F.avg_pool2d(F.pad(grey_b1hw, (1, 1, 1, 1), mode="replicate"), 2, stride=1)
        sift = self._sift[0].to(halfway_b1hw.device)
        if halfway_b1hw.device.type != "cpu":
            return sift(halfway_b1hw)
        # One at a time, what is computed on the way stays small: less than half of the time on a CPU.
        return torch.cat([sift(image_11hw) for image_11hw in halfway_b1hw.split(1)])


def to_grey(image_bchw: torch.Tensor) -> torch.Tensor:
    """Brightness (B, 1, H, W) of RGB (B, 3, H, W); grey stays as it is."""
    if image_bchw.shape[1] == 1:
        return image_bchw
    weights_31 = image_bchw.new_tensor(_GREY_WEIGHTS)[:, None, None]
    return (image_bchw * weights_31).sum(1, keepdim=True)
