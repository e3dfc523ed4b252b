"""The loss of the landmark head, as named terms."""

from __future__ import annotations

import torch

from geo_perception.localization.network import CELL_PX, FINE_PX, FINE_RADIUS, HeadMaps, LandmarkHead, fine_window
from geo_training.engine.whole_batch import in_any, own_draw, whole_mean

_RADIUS_CELLS = 2


def head_losses(
    network: torch.nn.Module,
    features: list[torch.Tensor],
    pixels_bl2: torch.Tensor,
    state_bl: torch.Tensor,
    unseen_share: float,
    sigma_cells: float,
) -> dict[str, torch.Tensor]:
    """The terms of a `LandmarkHead` on a batch of feature maps, in nats: `seen`, `unseen` and, where it has a fine map,
    `fine`.

    Landmarks that are seen in the batch count, and a share of the others: most are in no image of it, and teach little.
    """
    seen_l = in_any((state_bl > 0).any(dim=0))
    drawn_l = torch.rand(len(seen_l), device=seen_l.device) < unseen_share
    chosen_k = (seen_l | drawn_l).nonzero()[:, 0]
    maps = network(features, chosen_k)
    terms = heatmap_loss(
        maps.logits_blhw, maps.invisible_l, pixels_bl2[:, chosen_k], state_bl[:, chosen_k], sigma_cells
    )
    if maps.fine_bdhw is not None:
        head = getattr(network, "module", network)  # behind DistributedDataParallel
        terms["fine"] = fine_loss(head, maps, pixels_bl2, state_bl, sigma_cells)
    return terms


def heatmap_loss(
    logits_blhw: torch.Tensor,
    invisible_l: torch.Tensor,
    pixels_bl2: torch.Tensor,
    state_bl: torch.Tensor,
    sigma_cells: float,
) -> dict[str, torch.Tensor]:
    """Cross-entropy of each landmark's distribution over all cells and "not visible".

    Seen landmarks (state +1) have a Gaussian target around their place, unseen ones (-1) the target "not visible", and
    those that may be seen (0) are left out. Returns the means of both kinds over the whole batch as `seen` and
    `unseen`, in nats.
    """
    B, L, H, W = logits_blhw.shape
    logits_bln = logits_blhw.float().flatten(2)
    invisible_bl = invisible_l.float().view(1, L).expand(B, L)
    log_total_bl = torch.logaddexp(logits_bln.logsumexp(dim=2), invisible_bl)
    seen_bl, unseen_bl = state_bl > 0, state_bl < 0
    terms = {"unseen": whole_mean((log_total_bl - invisible_bl)[unseen_bl])}
    index_mk, weight_mk = target_cells(pixels_bl2[seen_bl], H, W, sigma_cells)
    image_m, landmark_m = seen_bl.nonzero(as_tuple=True)
    expected_m = (logits_bln[image_m[:, None], landmark_m[:, None], index_mk] * weight_mk).sum(dim=1)
    terms["seen"] = whole_mean(log_total_bl[seen_bl] - expected_m)
    return terms


def fine_loss(
    head: LandmarkHead, maps: HeadMaps, pixels_bl2: torch.Tensor, state_bl: torch.Tensor, sigma_cells: float
) -> torch.Tensor:
    """Cross-entropy, in nats, of seen landmarks' places in the fine map, within windows a little off centre, as
    the coarse peaks will be. A Gaussian of `sigma_cells` fine cells is the target."""
    image_m, landmark_m = (state_bl > 0).nonzero(as_tuple=True)
    pixels_m2 = pixels_bl2[image_m, landmark_m].float()
    B, L = state_bl.shape
    drawn_bl2 = own_draw(lambda rows: torch.rand(rows, L, 2, device=pixels_m2.device), B)
    off_m2 = (drawn_bl2[image_m, landmark_m] * 2 - 1) * (FINE_RADIUS - 1.5) * FINE_PX
    rows_mk, columns_mk = fine_window(pixels_m2 + off_m2)
    logits_mk = head.fine_logits(maps.fine_bdhw, image_m, landmark_m, rows_mk, columns_mk)
    cells_m2 = (pixels_m2 + 0.5) / FINE_PX - 0.5
    distance2_mk = (columns_mk - cells_m2[:, :1]) ** 2 + (rows_mk - cells_m2[:, 1:]) ** 2
    target_mk = torch.exp(-distance2_mk / (2 * sigma_cells**2)) * torch.isfinite(logits_mk)
    target_mk = target_mk / target_mk.sum(dim=1, keepdim=True).clamp_min(1e-12)
    log_mk = logits_mk.log_softmax(dim=1).masked_fill(~torch.isfinite(logits_mk), 0.0)
    return whole_mean(-(target_mk * log_mk).sum(dim=1))


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
