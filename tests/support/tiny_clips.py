"""One clip of a few pixels, and what a network could predict for it, to tell what a loss makes of them."""

from __future__ import annotations

import torch
from geo_training.depth.batch import ClipBatch
from geo_training.depth.config import LossConfig
from geo_training.depth.losses.losses import DepthLosses
from geo_training.depth.networks.model import Prediction

DOUBLE = torch.float64


def clips(target, *sources, fx_px=20.0, depth=None, boundary=None, motion=None, teacher=None,
          teacher_kind=None) -> ClipBatch:  # fmt: skip
    """One clip of images (3, H, W), its camera in the middle."""
    height, width = target.shape[-2:]
    K_133 = torch.tensor([[[fx_px, 0, (width - 1) / 2], [0, fx_px, (height - 1) / 2], [0, 0, 1]]], dtype=target.dtype)
    nothing = torch.zeros(1, 1, height, width, dtype=target.dtype)
    has_boundary = torch.tensor([boundary is not None])
    return ClipBatch(
        target[None], target[None], torch.stack(sources)[None], K_133, motion,
        nothing if depth is None else depth, nothing if boundary is None else boundary, has_boundary,
        teacher, teacher_kind,
    )  # fmt: skip


def constant(value, height=16, width=16) -> torch.Tensor:
    return torch.full((3, height, width), value, dtype=DOUBLE)


def still(sources=1) -> torch.Tensor:
    return torch.eye(4, dtype=DOUBLE).expand(1, sources, 4, 4)


def shifted(x_m: float) -> torch.Tensor:
    T_1144 = still().clone()
    T_1144[..., 0, 3] = x_m
    return T_1144


def flat(depth: float, scales=4, size=16) -> list[torch.Tensor]:
    return [torch.full((1, 1, size >> s, size >> s), 1 / depth, dtype=DOUBLE) for s in range(scales)]


def seen(disparity, T_source_target_bs44, explained=None, **more) -> Prediction:
    return Prediction(disparity, [1 / d for d in disparity], more.pop("log_sigma", None), T_source_target_bs44,
                      explained, **more)  # fmt: skip


def losses(**options) -> DepthLosses:
    return DepthLosses(LossConfig(**options))
