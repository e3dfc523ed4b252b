"""What can be chosen when a head is trained. Saved beside every result."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geo_perception.errors import InputError
from geo_perception.runtime import DEFAULT_BACKBONE


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentationConfig(_Strict):
    """How far a training view may differ from its frame. Angles in degrees; the rest are factors or shares."""

    roll_deg: float = Field(15.0, ge=0, le=180)
    tilt_deg: float = Field(10.0, ge=0, le=45, description="turn about the camera's x and y axes")
    zoom: float = Field(1.3, ge=1, le=3, description="largest change of focal length, either way")
    brightness: float = Field(0.35, ge=0, le=1)
    contrast: float = Field(0.35, ge=0, le=1)
    gamma: float = Field(0.3, ge=0, le=1, description="largest change of the exponent, as a logarithm")
    colour: float = Field(0.2, ge=0, le=1, description="gain of each colour channel")
    shading: float = Field(0.25, ge=0, le=2, description="deviation of a smooth field of light, as a logarithm")
    blur: float = Field(0.3, ge=0, le=1, description="share of the views that are blurred")
    grey: float = Field(0.1, ge=0, le=1, description="share of the views without colour")
    noise: float = Field(6.0, ge=0, le=64, description="largest standard deviation of pixel noise, of 255")
    erase: float = Field(0.3, ge=0, le=1, description="share of the views in which a box is covered")


class HeadTrainingConfig(_Strict):
    """One training of one scene's head."""

    backbone: str = DEFAULT_BACKBONE
    backbone_file: Path | None = None
    width: int = Field(192, ge=16, le=1024)
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    fine_width: int = Field(48, ge=0, le=512, description="channels of the fine map; 0 leaves it out")
    network_width_px: int = Field(640, ge=128, le=2048, description="longer images are made smaller to this side")
    views: int = Field(4, ge=1, le=64, description="augmented views of each frame in the buffer")
    buffer_gib: float = Field(6.0, gt=0, description="memory the feature buffer may take; views are left out to fit")
    refresh: float = Field(0.15, ge=0, le=1, description="share of the buffer that is made anew after each epoch")
    steps: int = Field(1800, ge=1)
    batch: int = Field(4, ge=1)
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


def load_config(path: Path | None, **changes) -> HeadTrainingConfig:
    """The config in a YAML file, with `changes` that are not None laid over it.

    Raises InputError that names the key when one is unknown or has a wrong value.
    """
    content = {}
    if path is not None:
        try:
            content = yaml.safe_load(Path(path).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} must hold keys and values; `geo-train localization head --help` names them")
    content |= {key: value for key, value in changes.items() if value is not None}
    try:
        return HeadTrainingConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key, place = ".".join(map(str, first["loc"])), path or "the options"
        raise InputError(f"config key '{key}': {first['msg']}; mend it in {place}") from None
