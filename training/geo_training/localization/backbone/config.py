"""Options of a training of a scene-agnostic backbone. Saved beside every result."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from geo_perception.runtime import DEFAULT_BACKBONE
from geo_training.config import Strict
from geo_training.localization.config import AugmentationConfig, HeadTrainingConfig


class BackboneTrainingConfig(Strict):
    """One training of one backbone on several scenes."""

    help_command: ClassVar[str] = "geo-train localization backbone --help"
    scenes: tuple[Path, ...] = Field((), description="dataset folders on which `map` and `landmarks` have run")
    landmarks: int | None = Field(None, ge=1, description="the first so many of each scene; null takes all")
    backbone: str = Field(DEFAULT_BACKBONE, description="the network that it starts from, as `head --backbone` has it")
    backbone_file: Path | None = Field(None, description="its weights, where no package brings them")
    strategy: Literal["alternating", "accumulated"] = Field(
        "alternating", description="a step on a batch of one scene, or on a batch of each of them"
    )
    width: int = Field(0, ge=0, le=1024, description="of the heads' learned part; 0: they are linear")
    dilations: tuple[int, ...] = Field((1,), description="of the blocks of the heads' learned part")
    linear_width: int = Field(
        256, ge=0, le=1024, description="channels of the heads' linear part, filled in closed form; 0 leaves it out"
    )
    fine_width: int = Field(48, ge=0, le=512, description="channels of the fine map of the heads' learned part")
    closed_form_frames: int = Field(60, ge=1, description="of each scene, of which the linear parts are made")
    frozen_stages: int = Field(
        0, ge=-1, description="the stem and so many stages do not learn; -1: all learn, 0: all but the stem"
    )
    network_width_px: int = Field(640, ge=128, le=2048, description="longer images are made smaller to this side")
    crop_px: int | None = Field(
        320, ge=64, multiple_of=32, description="side of the windows that are learned from; null takes whole views"
    )
    steps: int = Field(2000, ge=1)
    batch: int = Field(4, ge=1, description="views of one scene")
    learning_rate: float = Field(1e-3, gt=0, description="of the heads")
    backbone_rate: float = Field(0.5, gt=0, le=1, description="share of it by which the backbone learns")
    weight_decay: float = Field(1e-2, ge=0)
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights that are kept")
    label_sigma_cells: float = Field(0.7, gt=0)
    negative_weight: float = Field(1.0, ge=0)
    unseen_share: float = Field(
        0.25, ge=0, le=1, description="of the landmarks that no image of a batch sees, those used"
    )
    held_out: float = Field(0.08, ge=0, le=0.5, description="share of a scene's frames kept back to draw curves")
    held_out_frames: int = Field(24, ge=1, description="of a scene, that many of those are localized")
    evaluations: int = Field(5, ge=1, description="how often the held-out frames are localized on the way")
    half: bool = Field(True, description="half precision where the device is fast in it")
    seed: int = 0
    device: str = "auto"
    augmentation: AugmentationConfig = AugmentationConfig()

    @model_validator(mode="after")
    def _check(self) -> BackboneTrainingConfig:
        if not self.scenes:
            raise ValueError("no scenes are given; list dataset folders under scenes")
        if self.width == 0 and self.linear_width == 0:
            raise ValueError("the heads have no part; give width or linear_width")
        if 0 < self.width < 16:
            raise ValueError("width must be 0 or at least 16")
        return self

    def views(self) -> HeadTrainingConfig:
        """What decides which views of a scene's frames there are."""
        return HeadTrainingConfig(
            network_width_px=self.network_width_px, held_out=self.held_out, seed=self.seed,
            augmentation=self.augmentation, device=self.device,
        )  # fmt: skip
