"""The loss of the landmark head, as named terms."""

from __future__ import annotations

import torch

from geo_perception.localization.network import CELL_PX

_RADIUS_CELLS = 2


def heatmap_loss(
    logits_blhw: torch.Tensor,
    invisible_l: torch.Tensor,
    pixels_bl2: torch.Tensor,
    state_bl: torch.Tensor,
    sigma_cells: float,
) -> dict[str, torch.Tensor]:
    """Cross-entropy of each landmark's distribution over all cells and "not visible".

    Seen landmarks (state +1) have a Gaussian target around their place, unseen ones (-1) the target "not visible", and
    those that may be seen (0) are left out. Returns the means of both kinds as `seen` and `unseen`, in nats.
    """
    B, L, H, W = logits_blhw.shape
    logits_bln = logits_blhw.float().flatten(2)
    invisible_bl = invisible_l.float().view(1, L).expand(B, L)
    log_total_bl = torch.logaddexp(logits_bln.logsumexp(dim=2), invisible_bl)
    seen_bl, unseen_bl = state_bl > 0, state_bl < 0
    unseen = (log_total_bl - invisible_bl)[unseen_bl]
    terms = {"unseen": unseen.mean() if unseen.numel() else log_total_bl.sum() * 0}
    index_mk, weight_mk = target_cells(pixels_bl2[seen_bl], H, W, sigma_cells)
    image_m, landmark_m = seen_bl.nonzero(as_tuple=True)
    expected_m = (logits_bln[image_m[:, None], landmark_m[:, None], index_mk] * weight_mk).sum(dim=1)
    seen = log_total_bl[seen_bl] - expected_m
    terms["seen"] = seen.mean() if seen.numel() else log_total_bl.sum() * 0
    return terms


def target_cells(pixels_m2: torch.Tensor, H: int, W: int, sigma_cells: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells (M, K) around each pixel and their Gaussian weights (M, K), which sum to one."""
    cells_m2 = (pixels_m2.float() + 0.5) / CELL_PX - 0.5
    steps = torch.arange(-_RADIUS_CELLS, _RADIUS_CELLS + 1, device=pixels_m2.device)
    columns_mk = cells_m2[:, :1].round().long() + steps.repeat(len(steps))
    rows_mk = cells_m2[:, 1:].round().long() + steps.repeat_interleave(len(steps))
    distance2_mk = (columns_mk - cells_m2[:, :1]) ** 2 + (rows_mk - cells_m2[:, 1:]) ** 2
    inside_mk = (columns_mk >= 0) & (columns_mk < W) & (rows_mk >= 0) & (rows_mk < H)
    weight_mk = torch.exp(-distance2_mk / (2 * sigma_cells**2)) * inside_mk
    weight_mk = weight_mk / weight_mk.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return rows_mk.clamp(0, H - 1) * W + columns_mk.clamp(0, W - 1), weight_mk
