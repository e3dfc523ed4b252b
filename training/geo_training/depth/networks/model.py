"""The networks that learn together: depth, ego-motion and, where they are wanted, descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from geo_perception.depth.estimator import CANONICAL_FOCAL_PX
from geo_perception.depth.network import DepthNetwork, make_depth_network
from geo_perception.depth.sharpener import DepthChoice
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone, freeze_stages
from geo_training.depth.batch import ClipBatch
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.networks.descriptors import DescriptorNetwork
from geo_training.depth.networks.pose_network import PoseNetwork, PoseNetworkConfig

NEAR_LOG_DISPARITY = 1.6  # 5 per unit of length


@dataclass(frozen=True)
class Prediction:
    """`disparity` and `depth` of the target, finest scale first, (B, 1, h, w); `log_sigma_b1hw` of the finest or None;
    `T_source_target_bs44` the motions (None without sources); `explained` by scale (B, S, h, w), or None;
    `source_depth_b1hw` of the source numbered `source`, or None; `descriptors`: of the target, and of every source (B,
    S, C, h, w), or None; `choice`: of what the finest was made, as the logarithm of disparity, or None.
    """

    disparity: list[torch.Tensor]
    depth: list[torch.Tensor]
    log_sigma_b1hw: torch.Tensor | None
    T_source_target_bs44: torch.Tensor | None
    explained: list[torch.Tensor] | None
    source: int = 0
    source_depth_b1hw: torch.Tensor | None = None
    descriptors: tuple[torch.Tensor, torch.Tensor] | None = None
    choice: DepthChoice | None = None


class DepthAndMotion(nn.Module):
    """`forward` takes a ClipBatch and gives a Prediction."""

    def __init__(self, config: DepthTrainingConfig):
        super().__init__()
        losses, sources = config.losses, config.clips.length - 1
        self.known_motion = config.motion == "known"
        self.two_views = losses.weighs("consistency") or (losses.weighs("confidence") and not losses.weighs("depth"))
        self.depth = depth_network(config)
        self.stacked = config.motion_views == "stacked"
        self.motion: PoseNetwork | None = None
        if losses.needs_views and (not self.known_motion or losses.explainability):
            at_once = sources if self.stacked else 1
            self.motion = PoseNetwork(PoseNetworkConfig(at_once, losses.explainability))
        # What no term reaches must not wait for a gradient: several GPUs would wait for ever.
        if not losses.weighs("confidence") and isinstance(self.depth, DepthNetwork):
            self.depth.uncertainty.requires_grad_(False)
        if config.learn == "sharpener":
            self.depth.requires_grad_(False)
            self.depth.sharpener.requires_grad_(True)
        if self.known_motion and self.motion is not None:
            self.motion.pose.requires_grad_(False)
        self.descriptor: nn.Module | None = None
        if losses.weighs("descriptor"):
            self.descriptor = DescriptorNetwork()

    def forward(self, batch: ClipBatch) -> Prediction:
        output = self.depth(batch.view_b3hw.contiguous(memory_format=torch.channels_last))
        factor_b111 = self.focal_factor(batch.K_b33)
        T_bs44, explained = self._motion(batch)
        source = int(torch.randint(batch.sources, ())) if self.two_views else 0
        source_depth = None
        if self.two_views:
            images = batch.sources_bs3hw[:, source].contiguous(memory_format=torch.channels_last)
            source_depth = factor_b111 / self.depth(images).disparity[0]
        descriptors = None
        if self.descriptor is not None:
            of_sources = self.descriptor(batch.sources_bs3hw.flatten(0, 1)).unflatten(0, (-1, batch.sources))
            descriptors = self.descriptor(batch.target_b3hw), of_sources
        depth = [factor_b111 / disparity for disparity in output.disparity]
        return Prediction(
            output.disparity, depth, output.log_sigma_b1hw, T_bs44, explained, source, source_depth, descriptors,
            output.choice,
        )  # fmt: skip

    def focal_factor(self, K_b33: torch.Tensor) -> torch.Tensor:
        """Depth times disparity, (B, 1, 1, 1): see `estimator.focal_factor`."""
        if not self.depth.focal_normalized:
            return torch.ones_like(K_b33[:, :1, :1, None])
        return (torch.sqrt(K_b33[:, 0, 0] * K_b33[:, 1, 1]) / CANONICAL_FOCAL_PX)[:, None, None, None]

    def _motion(self, batch: ClipBatch) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        T_bs44, explained = batch.T_source_target_bs44, None
        if self.motion is not None:
            if self.stacked:
                predicted, explained = self.motion(batch.target_b3hw, batch.sources_bs3hw)
            else:
                count = batch.sources
                target = batch.target_b3hw[:, None].expand_as(batch.sources_bs3hw).flatten(0, 1)
                predicted, masks = self.motion(target, batch.sources_bs3hw.flatten(0, 1)[:, None])
                predicted = predicted[:, 0].unflatten(0, (-1, count))
                explained = masks and [mask[:, 0].unflatten(0, (-1, count)) for mask in masks]
            T_bs44 = T_bs44 if self.known_motion else predicted
        if T_bs44 is None and batch.sources:
            raise InputError("a clip has no poses; set motion to learned, or give datasets with poses")
        return T_bs44, explained


def depth_network(config: DepthTrainingConfig) -> nn.Module:
    """A fresh depth network, on the backbone's pretrained weights where the config wants them. Raises InputError when
    these are not on this machine."""
    if config.architecture == "dispnet":
        return make_depth_network({"architecture": "dispnet"})
    network: DepthNetwork = make_depth_network(
        {"architecture": "encoder_decoder", "backbone": config.backbone, "sharpener_width": config.sharpener_width}
    )
    if config.pretrained:
        pretrained = create_backbone(config.backbone, config.backbone_file)
        network.backbone.load_state_dict(pretrained.network.state_dict())
    freeze_stages(network.backbone, config.frozen_stages)
    if config.motion == "learned":
        # Near, as SfMLearner's starts: motion that is still small then moves the picture, and depth has a gradient.
        torch.nn.init.constant_(network.predict[0].bias, NEAR_LOG_DISPARITY)
    return network.to(memory_format=torch.channels_last)
