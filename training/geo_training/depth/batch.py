"""A batch of clips, as the networks and the losses take it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from geo_training.depth.losses.teacher_loss import TeacherKind


@dataclass(frozen=True)
class ClipBatch:
    """B clips of one size with S sources each, on the training device. Images are RGB in 0..1, float32.

    `view_b3hw` is the target as the depth network sees it (in another light), `target_b3hw` as it was recorded.
    `K_b33` is the camera of all images of a clip. `T_source_target_bs44` are the true motions, None where a clip of the
    batch has none; `depth_b1hw` true depth in metres, 0 where unknown; `boundary_b1hw` the map of object boundaries,
    which the clips that `has_boundary_b` marks have. `teacher_b1hw` is the inverse depth that a teacher says, 0 where
    it says nothing, and `teacher_kind` up to what it is known (losses/teacher_loss.py); None without a teacher.
    """

    view_b3hw: torch.Tensor
    target_b3hw: torch.Tensor
    sources_bs3hw: torch.Tensor
    K_b33: torch.Tensor
    T_source_target_bs44: torch.Tensor | None
    depth_b1hw: torch.Tensor
    boundary_b1hw: torch.Tensor
    has_boundary_b: torch.Tensor
    teacher_b1hw: torch.Tensor | None = None
    teacher_kind: TeacherKind | None = None

    @property
    def sources(self) -> int:
        return self.sources_bs3hw.shape[1]
