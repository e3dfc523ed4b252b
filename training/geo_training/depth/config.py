"""What can be chosen when depth is trained. Saved beside every result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from geo_perception.runtime import DEFAULT_BACKBONE
from geo_training.config import Strict
from geo_training.depth.data.clips import ClipOptions
from geo_training.engine.augmentation import PhotometricConfig

CONFIGS = Path(__file__).parent / "configs"  # those that come with the package

TERMS = (
    "photometric", "smoothness", "mask", "consistency", "boundary", "keypoint", "descriptor", "depth", "gradient",
    "confidence", "teacher", "teacher_gradient", "choice",
)  # fmt: skip
TEACHER_WEIGHTS = {"teacher": 1.0, "teacher_gradient": 4.0}  # where --teacher is given to a config without them
DEFAULT_WEIGHTS = {"photometric": 1.0, "smoothness": 1e-3, "consistency": 0.5, "confidence": 0.05}


class LossConfig(Strict):
    """Which terms there are, what each weighs, and how each is made. The defaults are the best of what came after the
    papers; docs/depth.md describes every term."""

    weights: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS), description="of each term; one without a weight is not computed"
    )
    difference: Literal["l1", "ssim"] = Field("ssim", description="of two images: L1, or 0.85 SSIM + 0.15 L1")
    reduction: Literal["sum", "minimum"] = Field("minimum", description="over the sources of a clip, for each pixel")
    auto_mask: bool = Field(True, description="leave out pixels that identity reprojection explains better")
    explainability: bool = Field(False, description="weigh pixels by the mask that the motion network predicts")
    outside: Literal["zeros", "ignore"] = Field("ignore", description="what is compared where the source shows nothing")
    scales: Literal["multi", "single"] = "multi"
    full_resolution: bool = Field(True, description="bring every scale to full resolution, not the image to each scale")
    smoothness: Literal["edge_aware", "second_order"] = "edge_aware"
    boundary_order: Literal[1, 2] = Field(1, description="derivative of the disparity that boundaries ask for")
    boundary_normalized: bool = Field(
        False, description="the boundary term sees disparity divided by its mean over the image, as edge_aware does"
    )
    keypoint_detector: bool = Field(True, description="compare only at SIFT keypoints, not at every pixel")
    shift_share: float = Field(
        0.0,
        ge=0,
        le=10,
        description="how much it counts that a teacher's disparity has no shift, where that is unknown",
    )
    keypoint_radius_px: int = Field(0, ge=0, le=16, description="pixels around a keypoint that count as it")

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights):
        if not weights or not set(weights) <= set(TERMS):
            raise ValueError(f"must weigh some of {', '.join(TERMS)}, not {list(weights)}")
        if not all(0 <= weight < math.inf for weight in weights.values()) or max(weights.values()) <= 0:
            raise ValueError("every weight must be a number that is not negative, and one must be positive")
        return weights

    @model_validator(mode="after")
    def _check_mask(self):
        if self.weighs("mask") and not self.explainability:
            raise ValueError("the term mask needs explainability: true")
        return self

    def weighs(self, term: str) -> bool:
        return self.weights.get(term, 0.0) > 0

    @property
    def follow_teacher(self) -> bool:
        return any(map(self.weighs, TEACHER_WEIGHTS))

    @property
    def needs_views(self) -> bool:
        """Whether any term looks at other views than the target; without one, single frames are learned from."""
        compared = ("photometric", "mask", "consistency", "keypoint", "descriptor")
        return any(map(self.weighs, compared)) or (self.weighs("confidence") and not self.weighs("depth"))


class ClipAugmentationConfig(Strict):
    """How training clips differ from the recording."""

    flip: bool = True
    zoom: float = Field(1.3, ge=1, le=3, description="largest zoom into a clip")
    light: PhotometricConfig | None = Field(
        PhotometricConfig(
            brightness=0.2, contrast=0.2, gamma=0.2, colour=0.1, shading=0.1, blur=0.1, grey=0.1, noise=4.0, erase=0.0
        ),
        description="of the image that the depth network sees; nothing: none",
    )  # fmt: skip


class DepthTrainingConfig(Strict):
    """One training of depth, and of ego-motion where it is learned."""

    help_command: ClassVar[str] = "geo-train depth fit --help"
    datasets: tuple[Path, ...] = Field((), description="folders made by `geo-train dataset`")
    shares: tuple[float, ...] = Field((), description="of each dataset in a training step; nothing: by their clips")
    validation: tuple[Path, ...] = Field(
        (), description="datasets with depth, of which the frames of the split val (or else test) are looked at"
    )
    validation_frames: int = Field(60, ge=1)
    fused_sigma: float | None = Field(
        None,
        gt=0,
        description="learn from depth that `geo-train fuse` completed, too, where it is so sure (a share)",
    )
    clips: ClipOptions = ClipOptions()
    architecture: Literal["encoder_decoder", "dispnet"] = "encoder_decoder"
    backbone: str = DEFAULT_BACKBONE
    backbone_file: Path | None = None
    pretrained: bool = Field(True, description="begin with the backbone's ImageNet weights")
    sharpener_width: int = Field(
        0, ge=0, le=256, multiple_of=8, description="channels of what sharpens the edges of depth; 0: nothing does"
    )
    learn: Literal["all", "sharpener"] = Field("all", description="sharpener: the rest stays as it was")
    frozen_stages: int = Field(1, ge=-1, le=8, description="first stages of the backbone that do not learn; -1: none")
    motion: Literal["learned", "known"] = Field("learned", description="learn ego-motion, or take the dataset's poses")
    motion_views: Literal["pairs", "stacked"] = Field(
        "pairs", description="what the motion network sees at once: target and one source, or the whole clip"
    )
    area_px: int = Field(256 * 192, ge=32 * 32, le=1 << 21, description="pixels of a training image, about")
    size_px: tuple[int, int] | None = Field(None, description="width and height instead, the same for every dataset")
    augmentation: ClipAugmentationConfig = ClipAugmentationConfig()
    losses: LossConfig = LossConfig()
    steps: int = Field(4000, ge=1)
    batch: int = Field(6, ge=1, description="clips a step, of all processes together")
    learning_rate: float = Field(2e-4, gt=0)
    backbone_rate: float = Field(0.5, ge=0, le=1, description="of the learning rate, for the pretrained backbone")
    motion_rate: float = Field(1.0, gt=0, description="of the learning rate, for the motion network")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW; 0 is Adam")
    schedule: Literal["cosine", "constant", "step"] = Field(
        "cosine", description="step: a tenth of the rate in the last quarter"
    )
    warm_up: float = Field(0.02, ge=0, lt=1)
    gradient_norm: float = Field(5.0, gt=0, description="gradients longer than this are shortened to it")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights that are kept")
    start_from: Path | None = Field(None, description="weights of a finished run to go on from")
    keep_momentum: bool = Field(False, description="go on with that run's optimizer state, too")
    teacher: Path | None = Field(
        None, description="a network to learn from: weights, an ONNX file or a folder (docs/depth.md)"
    )
    half: bool = Field(True, description="half precision where the device is fast in it")
    evaluations: int = Field(5, ge=1)
    seed: int = 0
    device: str = "auto"

    @field_validator("shares")
    @classmethod
    def _check_shares(cls, shares, info):
        if shares and len(shares) != len(info.data.get("datasets", ())):
            raise ValueError("needs one number for each dataset, or none")
        if shares and (min(shares) < 0 or sum(shares) <= 0):
            raise ValueError("must not be negative, and one must be positive")
        return shares

    @field_validator("size_px")
    @classmethod
    def _check_size(cls, size_px):
        if size_px is not None and (min(size_px) < 32 or any(side % 32 for side in size_px)):
            raise ValueError("needs sides that are multiples of 32 pixels")
        return size_px

    @model_validator(mode="after")
    def _check_sharpener(self):
        sharpens = self.sharpener_width > 0 and self.architecture == "encoder_decoder"
        if not sharpens and (self.learn == "sharpener" or self.losses.weighs("choice")):
            raise ValueError("there is no sharpener to learn; set sharpener_width, with the encoder_decoder")
        if self.learn == "sharpener" and self.start_from is None:
            raise ValueError("learn: sharpener leaves the rest as it was; give --from WEIGHTS")
        if self.learn == "sharpener" and self.losses.needs_views and self.motion == "learned":
            raise ValueError("learn: sharpener leaves ego-motion as it was; set motion to known")
        return self

    @model_validator(mode="after")
    def _check_momentum(self):
        if self.keep_momentum and self.start_from is None:
            raise ValueError("keep_momentum needs start_from, the run whose momentum is kept")
        return self

    @model_validator(mode="after")
    def _check_teacher(self):
        if self.losses.follow_teacher and self.teacher is None:
            raise ValueError("the terms teacher and teacher_gradient need a teacher; give --teacher MODEL")
        if self.teacher is not None and not self.losses.follow_teacher:
            raise ValueError(f"no term looks at the teacher; weigh some of {', '.join(TEACHER_WEIGHTS)} in losses")
        return self
