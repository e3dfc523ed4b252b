"""What a reference is: its networks, its crops, its schedule. The packaged YAML files are those of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from geo_training.config import Strict

CONFIGS = Path(__file__).with_name("configs")
NAMES = tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


class BackboneConfig(Strict):
    """A network of timm, and what was done to its strides."""

    name: str = "tf_efficientnet_lite0"
    file: Path | None = None
    pretrained: bool = Field(True, description="start from the weights on this machine; false: drawn at random")
    levels: int | None = Field(None, ge=1, description="only its first levels of features; all where left out")
    removed_strides: tuple[int, ...] = Field(
        (), description="stages (timm's numbers) whose stride is taken out, with nothing in its place"
    )
    dilated: bool = Field(False, description="strides beyond 8 become dilations instead")
    reduced_to: int | None = Field(None, ge=1, description="channels after a 1x1 convolution; none where left out")
    normalized: bool = Field(True, description="images by the mean and deviation of the weights; false: 0 to 1")
    frozen: bool = Field(
        False, description="features are made once and kept in a buffer, where the weights are on this machine"
    )

    @model_validator(mode="after")
    def _strides_once(self) -> BackboneConfig:
        if self.dilated and self.removed_strides:
            raise ValueError("strides are removed or dilated, not both; leave out removed_strides, or dilated")
        return self


class HeadConfig(Strict):
    """Blocks of parallel dilated 3x3 convolutions, each with a skip block of 1x1 convolutions; then 1x1 to heatmaps."""

    blocks: int = Field(1, ge=0)
    dilations: tuple[int, ...] = Field((1, 2, 3, 4), description="of the parallel convolutions; empty leaves them out")
    skip_convolutions: int = Field(0, ge=0, description="1x1 convolutions of a skip block; 0 leaves it out")


class CropConfig(Strict):
    """What of the frames is learned from at once, and how far it may differ from them."""

    size_px: int = Field(96, ge=32, le=1024, multiple_of=32)
    positive: int = Field(4, ge=0, description="for each frame of a batch, turned crops that show a drawn landmark")
    random: int = Field(4, ge=0, description="for each frame of a batch, plain crops from anywhere in it")
    turn_deg: float = Field(5.73, ge=0, le=45, description="about each axis of the camera")
    zoom: float = Field(0.1, ge=0, lt=1, description="largest relative change of the focal length")
    brightness: float = Field(0.1, ge=0, le=1, description="added to half of the crops, of the range 0 to 1")
    colour: float = Field(0.01, ge=0, le=1, description="added to each channel of the others")

    @model_validator(mode="after")
    def _some(self) -> CropConfig:
        if self.positive + self.random == 0:
            raise ValueError("there are no crops; give positive or random ones")
        return self


class BearingConfig(Strict):
    """The network that regresses the bearings of all landmarks, seen or not."""

    backbone: BackboneConfig = BackboneConfig()
    width: int = Field(512, ge=1)
    grid_hw: tuple[int, int] = Field((4, 5), description="rows and columns to which its last map is averaged")
    batch: int = Field(8, ge=1)
    turn_deg: float = Field(5.73, ge=0, le=45)
    fewer_than: int = Field(10, ge=0, description="detected landmarks, below which the bearings are asked, too")
    sigma_deg: float = Field(2.0, gt=0, description="how far a regressed bearing is taken to be off")


class ReferenceConfig(Strict):
    """One training of a reference's networks for one scene."""

    help_command: ClassVar[str] = "geo-train localization reference --help"
    networks: int = Field(1, ge=1, description="each with landmarks of its own")
    landmarks_each: int = Field(125, ge=1)
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    bearing: BearingConfig | None = None
    network_width_px: int = Field(640, ge=128, le=2048, description="longer images are made smaller to this side")
    label_sigma_cells: float = Field(2.5, gt=0)
    label_floor: float = Field(0.1, ge=0, lt=1, description="labels below it are 0")
    crops: CropConfig = CropConfig()
    batch: int = Field(8, ge=1, description="frames of a step, each with its crops; frozen: features of a step")
    buffer_gib: float = Field(6.0, gt=0, description="memory for the features of a frozen backbone")
    epochs: int = Field(200, ge=1)
    steps: int = Field(0, ge=0, description="training steps instead; 0: as many as the epochs have")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["halving", "constant", "cosine"] = "halving"
    warm_up: float = Field(0.0, ge=0, le=1)
    gradient_norm: float = Field(1e4, gt=0)
    ema: float = Field(0.0, ge=0, lt=1)
    half: bool = Field(False, description="half precision where the device has it")
    peak_threshold: float = Field(0.2, gt=0, lt=1, description="of a heatmap, below which nothing counts")
    sigma_px: float = Field(2.0, gt=0, description="pixel error at a peak of 1; it weighs as the square of the peak")
    min_inliers: int = Field(4, ge=4)
    held_out: float = Field(0.08, ge=0, le=0.5, description="share of the frames kept back to draw curves")
    evaluations: int = Field(10, ge=1, description="how often the held-out frames are localized on the way")
    seed: int = 0
    device: str = "auto"

    @property
    def landmarks(self) -> int:
        return self.networks * self.landmarks_each
