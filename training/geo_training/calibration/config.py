"""Options of a training of the calibration network. Saved beside every result."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from geo_perception.runtime import DEFAULT_BACKBONE
from geo_training.calibration.data.crops import ROBOT_DISTRIBUTION, CropDistribution
from geo_training.calibration.data.photographs import RecropConfig
from geo_training.config import Strict
from geo_training.engine.augmentation import PhotometricConfig

CONFIGS = Path(__file__).parent / "configs"  # those that come with the package

LOSS_WEIGHTS = {"up": 1.0, "latitude": 2.0, "cells": 0.1, "fields": 0.05, "fused": 0.1, "direct": 0.1}


class SyntheticConfig(Strict):
    """Rendered panoramas beside the real ones."""

    count: int = Field(160, ge=0, description="how many are made; 0: none")
    share: float = Field(0.35, ge=0, le=1, description="of the crops")
    seed: int = 1
    folder: Path | None = Field(None, description="where they are kept; nothing: beside the run")


class PhotographConfig(Strict):
    """Photographs with known K and gravity beside the panoramas."""

    datasets: tuple[Path, ...] = Field((), description="folders made by `geo-train dataset`, with poses and gravity")
    share: float = Field(0.2, ge=0, le=1, description="of the crops, where there are any")
    recrop: RecropConfig = RecropConfig()


class CalibrationTrainingConfig(Strict):
    """One training of the calibration network."""

    help_command: ClassVar[str] = "geo-train calibration fit --help"
    panoramas: Path | None = Field(None, description="folder of equirectangular panoramas")
    held_out: tuple[str, ...] = Field((), description="panoramas that are never looked at, by name")
    validation: tuple[str, ...] = Field((), description="panoramas that calibrate the uncertainty, by name")
    validation_crops: int = Field(400, ge=1)
    synthetic: SyntheticConfig = SyntheticConfig()
    photographs: PhotographConfig = PhotographConfig()
    crops: CropDistribution = ROBOT_DISTRIBUTION
    stretch: float = Field(1.0, ge=1, le=2, description="largest change of the height of a panorama's world")
    soften: float = Field(0.5, ge=0, le=1, description="share of the crops made as soft as a smaller picture")
    softest: float = Field(3.0, ge=1, le=8, description="how many times smaller that picture may be")
    augmentation: PhotometricConfig = PhotometricConfig(shading=0.15, blur=0.2, erase=0.2)
    backbone: str = DEFAULT_BACKBONE
    backbone_file: Path | None = None
    start_from: Path | None = Field(None, description="weights file to go on from, instead of the pretrained backbone")
    keep: float = Field(0.0, ge=0, description="how strongly the answers of start_from are kept (learning without "
                        "forgetting)")  # fmt: skip
    width: int = Field(96, ge=16, le=512, multiple_of=16)
    context_width: int = Field(192, ge=48, le=768, multiple_of=48)
    context_layers: int = Field(2, ge=0, le=8)
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the backbone's maps that a training step leaves out")
    steps: int = Field(2000, ge=1)
    batch: int = Field(24, ge=1, description="crops a step, of all processes together")
    learning_rate: float = Field(1e-3, gt=0)
    backbone_rate: float = Field(0.5, ge=0, le=1, description="of the learning rate, for the pretrained backbone")
    frozen_stages: int = Field(2, ge=-1, le=8, description="first stages of the backbone that do not learn; -1: none")
    weight_decay: float = Field(2e-2, ge=0)
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights that are kept")
    loss_weights: dict[str, float] = Field(
        default_factory=lambda: dict(LOSS_WEIGHTS), description="losses.py names them"
    )
    evaluations: int = Field(6, ge=1)
    seed: int = 0
    device: str = "auto"

    @field_validator("loss_weights")
    @classmethod
    def _check_loss_weights(cls, weights):
        if not weights or not set(weights) <= set(LOSS_WEIGHTS):
            raise ValueError(f"must weigh some of {', '.join(LOSS_WEIGHTS)}, not {list(weights)}")
        return weights
