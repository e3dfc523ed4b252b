"""The networks of the papers: timm's backbones at a stride of 8, dilated and skip blocks, bearings."""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch import nn

from geo_perception.errors import InputError
from geo_perception.localization.network import CELL_PX
from geo_perception.runtime.backbone import create_backbone, timm_features
from geo_training.console import say
from geo_training.experiments.landmark_papers.config import BackboneConfig, BearingConfig, HeadConfig, ReferenceConfig


class StridedBackbone(nn.Module):
    """The last map of features of a timm network whose strides were changed.

    `stride` and `channels` are those of the map, before the reduction. `has_weights` says whether it started from
    weights on this machine; a frozen one is only frozen then, and stays in evaluation mode.
    """

    mean_1311: torch.Tensor
    std_1311: torch.Tensor

    def __init__(self, config: BackboneConfig, load: bool = True):
        super().__init__()
        timm_features(config.name)  # raises where there is no such network
        self.network = _features(config)
        removed = [_remove_stride(self.network, stage, config.name) for stage in config.removed_strides]
        reduction = 8 if config.dilated else self.network.feature_info.reduction()[-1]
        self.stride = reduction // 2 ** len(removed)
        self.channels = self.network.feature_info.channels()[-1]
        self.has_weights = load and config.pretrained and _load(self.network, config)
        self.frozen = config.frozen and self.has_weights
        if self.frozen:
            self.network.requires_grad_(False)
        info = timm.get_pretrained_cfg(config.name) if config.normalized else None
        mean, std = (info.mean, info.std) if info else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean_1311", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std_1311", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> StridedBackbone:
        return super().train(mode and not self.frozen)

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        """RGB in 0..255, float, to a map (B, channels, H / stride, W / stride)."""
        map_bchw = self.network((image_b3hw / 255.0 - self.mean_1311) / self.std_1311)[-1]
        if map_bchw.shape[1] != self.channels:  # transformers give their channels last
            map_bchw = map_bchw.permute(0, 3, 1, 2)
        return map_bchw


class DilatedBlock(nn.Module):
    """Parallel dilated 3x3 convolutions, each to an equal part of the channels, side by side."""

    def __init__(self, channels: int, dilations: tuple[int, ...]):
        super().__init__()
        if channels % len(dilations):
            raise InputError(f"{channels} channels are not {len(dilations)} equal parts; change head.dilations")
        part = channels // len(dilations)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, part, 3, padding=d, dilation=d), nn.BatchNorm2d(part), nn.ReLU())
            for d in dilations
        )

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        return torch.cat([part(x_bchw) for part in self.parts], dim=1)


class SkipBlock(nn.Module):
    """1x1 convolutions around which the input is carried."""

    def __init__(self, channels: int, convolutions: int):
        super().__init__()
        layers = [layer for _ in range(convolutions) for layer in (nn.Conv2d(channels, channels, 1), nn.ReLU())]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        return x_bchw + self.layers(x_bchw)


class HeatmapNetwork(nn.Module):
    """A backbone at a stride of 8, and a head that gives a heatmap for each of its landmarks.

    Raises InputError when the backbone's map has another stride.
    """

    def __init__(self, backbone: StridedBackbone, config: BackboneConfig, head: HeadConfig, landmarks: int):
        super().__init__()
        if backbone.stride != CELL_PX:
            raise InputError(
                f"the backbone '{config.name}' gives maps of stride {backbone.stride}, but {CELL_PX} is needed; change "
                "removed_strides, dilated or levels"
            )
        self.backbone = backbone
        channels = config.reduced_to or backbone.channels
        layers: list[nn.Module] = []
        if config.reduced_to:
            layers += [nn.Conv2d(backbone.channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        for _ in range(head.blocks):
            layers += [DilatedBlock(channels, head.dilations)] if head.dilations else []
            layers += [SkipBlock(channels, head.skip_convolutions)] if head.skip_convolutions else []
        self.head = nn.Sequential(*layers, nn.Conv2d(channels, landmarks, 1))

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        """Images (RGB in 0..255) to heatmaps (B, L, H / 8, W / 8), 1 where a landmark is."""
        return self.head(self.backbone(image_b3hw))


class BearingNetwork(nn.Module):
    """An image to the direction of every landmark in the camera's frame, seen or not: unit vectors (B, L, 3)."""

    def __init__(self, config: BearingConfig, landmarks: int, load: bool = True):
        super().__init__()
        self.backbone = StridedBackbone(config.backbone, load)
        cells = config.grid_hw[0] * config.grid_hw[1]
        narrow = max(1, config.width // 8)  # the grid keeps where in the image something was
        self.regress = nn.Sequential(
            nn.Conv2d(self.backbone.channels, narrow, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(config.grid_hw),
            nn.Flatten(), nn.Linear(narrow * cells, config.width), nn.ReLU(), nn.Linear(config.width, 3 * landmarks),
        )  # fmt: skip

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.regress(self.backbone(image_b3hw)).unflatten(1, (-1, 3)).float(), dim=2)


class ReferenceNetwork(nn.Module):
    """The detectors of a reference, each of its own landmarks, and its bearing network where it has one.

    With `load` they start from weights on this machine, else they are drawn at random. Detectors on a frozen backbone
    share it.
    """

    def __init__(self, config: ReferenceConfig, load: bool = True):
        super().__init__()
        torch.manual_seed(config.seed)
        first = StridedBackbone(config.backbone, load)
        backbones = [first] + [
            first if first.frozen else StridedBackbone(config.backbone, load) for _ in range(config.networks - 1)
        ]
        self.detectors = nn.ModuleList(
            HeatmapNetwork(own, config.backbone, config.head, config.landmarks_each) for own in backbones
        )
        self.bearing = BearingNetwork(config.bearing, config.landmarks, load) if config.bearing else None

    @property
    def backbone(self) -> StridedBackbone:
        """That of the first detector."""
        return self.detectors[0].backbone

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        """The heatmaps (B, L, H / 8, W / 8) of all detectors."""
        return torch.cat([detector(image_b3hw) for detector in self.detectors], dim=1)

    def from_features(self, map_bchw: torch.Tensor) -> torch.Tensor:
        """The same from the map of the backbone that they share."""
        return torch.cat([detector.head(map_bchw) for detector in self.detectors], dim=1)


def _features(config: BackboneConfig) -> nn.Module:
    options: dict = {"output_stride": CELL_PX} if config.dilated else {}
    if config.levels:
        options["out_indices"] = tuple(range(config.levels))
    try:
        if config.name.startswith("swin"):  # which else takes images of one size only
            options["strict_img_size"] = False
        return timm.create_model(config.name, pretrained=False, features_only=True, **options)
    except TypeError:
        raise InputError(f"the backbone '{config.name}' cannot be dilated; leave out dilated") from None
    except (IndexError, AssertionError, ValueError):
        raise InputError(f"the backbone '{config.name}' does not have {config.levels} levels; lower levels") from None


def _remove_stride(network: nn.Module, stage: int, name: str) -> int:
    """Takes the stride out of a stage: `blocks[stage]`, or `layer<stage>`. Returns the stage."""
    modules, found = dict(network.named_modules()), False
    part = modules.get(f"blocks.{stage}") or modules.get(f"layer{stage}")
    for module in part.modules() if part is not None else ():
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            module.stride, found = (1, 1), True
        elif isinstance(module, nn.AvgPool2d):  # before the 1x1 convolution of a shortcut
            module.kernel_size = module.stride = 1
    if not found:
        raise InputError(f"stage {stage} of the backbone '{name}' has no stride to remove; change removed_strides")
    return stage


def _load(network: nn.Module, config: BackboneConfig) -> bool:
    """Loads the weights that are on this machine; says so where there are none. Raises InputError when a file of
    weights was given and does not fit."""
    try:
        state = create_backbone(config.name, config.file).network.state_dict()
    except InputError as error:
        if config.file is not None:
            raise
        say(f"{error}; {config.name} starts from random weights, and none of it is frozen")
        return False
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    return True
