"""A scene's backbone and head as one graph that any engine can run: an image in, every landmark's place out."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from geo_perception.localization.network import CELL_PX, LandmarkHead, Peaks, find_peaks
from geo_perception.runtime.backbone import Backbone
from geo_perception.runtime.engine import relative_errors
from geo_perception.runtime.weights import state_checksum

_LEAST_SCORE = 1e-4  # below, numbers are too small for a place to mean anything
_ELSEWHERE_SLACK = 0.03  # of the landmarks
_SCORE_SLACK = 0.01


class SceneGraph(nn.Module):
    """RGB (1, 3, H, W) of 0 to 255 to the backbone's maps, which the second look reads, each landmark's best place in
    the coarse map (1, L, 2), its score and spread (1, L), and the fine features where the head has them."""

    def __init__(self, backbone: Backbone, head: LandmarkHead):
        super().__init__()
        self.backbone, self.head = backbone, head
        self.levels = len(backbone.strides)
        self.checksum = hashlib.sha256(f"{backbone.checksum} {state_checksum(head)}".encode()).hexdigest()

    @property
    def output_names(self) -> list[str]:
        named = [f"features_{index}" for index in range(self.levels)] + ["pixels", "score", "spread_px"]
        return [*named, "fine"] if self.head.has_fine else named

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        features = self.backbone(image_b3hw)
        maps = self.head(features)
        peaks = find_peaks(maps.logits_blhw, maps.invisible_l)
        fine = [] if maps.fine_bdhw is None else [maps.fine_bdhw]
        return [*features, peaks.pixels_bl2, peaks.score_bl, peaks.spread_px_bl, *fine]

    def read(self, tensors: list[torch.Tensor]) -> tuple[list[torch.Tensor], Peaks]:
        """The backbone's maps, and the landmarks with their places read in the fine map."""
        peaks = Peaks(*tensors[self.levels : self.levels + 3])
        fine_bdhw = tensors[-1] if self.head.has_fine else None
        return tensors[: self.levels], self.head.refined(peaks, fine_bdhw)

    def errors(self, found: list[torch.Tensor], exact: list[torch.Tensor]) -> list[tuple[float, float]]:
        """Of each map; of the places, by the share that is elsewhere than half a cell; of the scores."""
        at = self.levels
        off_px_bl = (found[at].float() - exact[at].float()).norm(dim=-1)
        seen_bl = torch.maximum(found[at + 1], exact[at + 1]) > _LEAST_SCORE
        elsewhere = float(((off_px_bl > CELL_PX / 2) & seen_bl).float().mean())
        score = float((found[at + 1].float() - exact[at + 1].float()).abs().mean())
        maps = relative_errors([*found[:at], *found[at + 3 :]], [*exact[:at], *exact[at + 3 :]])
        return [*maps, (elsewhere, _ELSEWHERE_SLACK), (score, _SCORE_SLACK)]
