"""Labels, loss and peaks of heatmaps, as SLD* has them."""

from __future__ import annotations

import torch

from geo_perception.localization.network import CELL_PX

_CERTAIN = 0.5  # a label whose highest cell is above it is brought to 1 there


def heatmap_labels(
    pixels_bl2: torch.Tensor, state_bl: torch.Tensor, H: int, W: int, sigma_cells: float, floor: float
) -> torch.Tensor:
    """Gaussians (B, L, H, W) around the places of seen landmarks (state +1), nothing for the others.

    What is below `floor` is 0, and the cell nearest to the place is 1, unless the place is far outside.
    """
    cells_bl2 = (pixels_bl2.float() + 0.5) / CELL_PX - 0.5
    rows_h = torch.arange(H, device=pixels_bl2.device, dtype=torch.float32)
    columns_w = torch.arange(W, device=pixels_bl2.device, dtype=torch.float32)
    # The Gaussian of a cell is the product of one along the rows and one along the columns.
    across_blw = torch.exp(-((columns_w - cells_bl2[..., :1]) ** 2) / (2 * sigma_cells**2))
    down_blh = torch.exp(-((rows_h - cells_bl2[..., 1:]) ** 2) / (2 * sigma_cells**2))
    label_blhw = down_blh[..., :, None] * across_blw[..., None, :]
    label_blhw = label_blhw * (state_bl > 0)[..., None, None]
    label_blhw = label_blhw * (label_blhw >= floor)
    highest_bl11 = label_blhw.amax(dim=(2, 3), keepdim=True)
    return torch.where(highest_bl11 > _CERTAIN, label_blhw / highest_bl11.clamp_min(_CERTAIN), label_blhw)


def heatmap_loss(heatmap_blhw: torch.Tensor, label_blhw: torch.Tensor, state_bl: torch.Tensor) -> torch.Tensor:
    """The sum of squared differences; landmarks that may be seen (state 0) are left out."""
    squared_bl = (heatmap_blhw.float() - label_blhw).square().sum(dim=(2, 3))
    return (squared_bl * (state_bl != 0)).sum()


def bearing_loss(bearing_bl3: torch.Tensor, true_bl3: torch.Tensor) -> torch.Tensor:
    """The mean over all landmarks of 2 (1 - cos), the squared distance of the unit vectors."""
    return (bearing_bl3 - true_bl3).square().sum(dim=2).mean()


@torch.no_grad()
def heatmap_peaks(heatmap_blhw: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (B, L, 2) in network pixels and scores (B, L): the mean of the cells above `threshold`, weighted by their
    values, and the highest value; 0 where no cell is above it."""
    _, _, H, W = heatmap_blhw.shape
    weight_blhw = heatmap_blhw.float() * (heatmap_blhw > threshold)
    total_bl = weight_blhw.sum(dim=(2, 3)).clamp_min(1e-4)
    rows_h = torch.arange(H, device=heatmap_blhw.device, dtype=torch.float32)
    columns_w = torch.arange(W, device=heatmap_blhw.device, dtype=torch.float32)
    x_bl = (weight_blhw.sum(dim=2) * columns_w).sum(dim=2) / total_bl
    y_bl = (weight_blhw.sum(dim=3) * rows_h).sum(dim=2) / total_bl
    return (torch.stack([x_bl, y_bl], dim=2) + 0.5) * CELL_PX - 0.5, weight_blhw.amax(dim=(2, 3))
