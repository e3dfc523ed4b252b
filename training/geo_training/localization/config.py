"""Options of a training of a landmark head. Saved beside every result."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from geo_perception.runtime import DEFAULT_BACKBONE
from geo_training.config import Strict
from geo_training.engine.augmentation import PhotometricConfig


class AugmentationConfig(PhotometricConfig):
    """How far a training view may differ from its frame. Angles in degrees; the rest are factors or shares."""

    roll_deg: float = Field(15.0, ge=0, le=180)
    tilt_deg: float = Field(10.0, ge=0, le=45, description="turn about the camera's x and y axes")
    zoom: float = Field(1.3, ge=1, le=3, description="largest change of focal length, either way")


class HeadTrainingConfig(Strict):
    """One training of one scene's head."""

    help_command: ClassVar[str] = "geo-train localization head --help"
    backbone: str = DEFAULT_BACKBONE
    backbone_file: Path | None = None
    width: int = Field(192, ge=16, le=1024)
    linear_width: int = Field(
        256, ge=0, le=1024, description="channels of the part that is filled in closed form; 0 leaves it out"
    )
    closed_form_frames: int = Field(300, ge=1, description="frames that the closed form and the map points are made of")
    bytes_per_frame: int = Field(
        8000,
        ge=0,
        description="size of the scene file for each mapped frame: map points are added up to it, and up to "
        "half of it in any case",
    )
    max_bytes: int | None = Field(None, ge=0, description="size of the scene file, instead")
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    fine_width: int = Field(48, ge=0, le=512, description="channels of the fine map; 0 leaves it out")
    network_width_px: int = Field(640, ge=128, le=2048, description="longer images are made smaller to this side")
    views: int = Field(4, ge=1, le=64, description="augmented views of each frame in the buffer")
    buffer_gib: float = Field(
        6.0, gt=0, description="room that the feature buffer may take, of all processes; views are left out to fit"
    )
    buffer_place: Literal["auto", "device", "host", "disk"] = Field(
        "auto", description="memory of the device or of the host, a temporary file, or the first of them with room"
    )
    refresh: float = Field(0.15, ge=0, le=1, description="share of the buffer that is made anew after each epoch")
    steps: int = Field(1800, ge=0, description="0: the closed form alone, a scene in seconds")
    batch: int = Field(4, ge=1, description="views a step, of all processes together")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights that are kept")
    label_sigma_cells: float = Field(0.7, gt=0)
    negative_weight: float = Field(1.0, ge=0)
    unseen_share: float = Field(
        0.25, ge=0, le=1, description="of the landmarks that no image of a batch sees, those used"
    )
    feature_dropout: float = Field(0.1, ge=0, lt=1)
    held_out: float = Field(
        0.08, ge=0, le=0.5, description="share of the frames kept back to calibrate and to draw curves"
    )
    evaluations: int = Field(6, ge=1, description="how often the held-out frames are localized on the way")
    seed: int = 0
    device: str = "auto"
    augmentation: AugmentationConfig = AugmentationConfig()

    @model_validator(mode="after")
    def _has_a_head(self) -> HeadTrainingConfig:
        if self.steps == 0 and self.linear_width == 0:
            raise ValueError("steps 0 leaves only the closed form; give linear_width, or steps")
        return self
