"""The paper's direct regressor (Ould Amer et al., "Single image calibration using knowledge distillation approaches"):
its network, its targets, its loss and its errors.

One backbone, its last maps averaged over the image, and three linear outputs that share nothing else: focal length,
pitch and roll, each divided by its largest absolute value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import timm
import torch
from torch import nn

from geo_perception import __version__
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone, timm_features
from geo_perception.runtime.weights import load_weights, save_weights
from geo_training.calibration.data.crops import CropDistribution, CropSpec
from geo_training.calibration.frozen import FrozenConfig
from geo_training.console import warn

PARAMETERS = ("focal", "pitch", "roll")
KIND, FORMAT_VERSION = "paper calibration network", 1
Pretrained = Literal["required", "if_there", "none"]
# A cosine layer's outputs must span about two units (roll goes from -1 to 1) while the feature turns by some 30
# degrees: 2 / sin(30 deg). Learned from there.
FIRST_COSINE_SCALE = 4.0


@dataclass(frozen=True)
class TargetScale:
    """The largest absolute value of each parameter, by which it is divided (section 4.1)."""

    focal_px: float
    pitch_deg: float
    roll_deg: float

    @classmethod
    def of(cls, crops: CropDistribution) -> TargetScale:
        """That of a distribution. Raises InputError when it gives no focal lengths, or no range of angles."""
        if crops.focal_px is None:
            raise InputError("crops give a field of view; the paper's network learns focal_px: give that range instead")
        pitch_deg, roll_deg = (max(map(abs, angles)) for angles in (crops.pitch_deg, crops.roll_deg))
        if not pitch_deg or not roll_deg:
            raise InputError("crops keep pitch or roll at zero; there is nothing to learn: widen the range")
        return cls(float(crops.focal_px[1]), float(pitch_deg), float(roll_deg))

    @property
    def as_array(self) -> np.ndarray:
        """(3,): px, deg, deg."""
        return np.array([self.focal_px, self.pitch_deg, self.roll_deg])

    def targets(self, spec: CropSpec) -> np.ndarray:
        """The targets of a crop, float32 (3,): with the paper's crops in [0, 1], [-1, 0] and [-1, 1]."""
        values = np.array([spec.focal_px, math.degrees(spec.pitch_rad), math.degrees(spec.roll_rad)])
        return (values / self.as_array).astype(np.float32)


class Prediction(NamedTuple):
    """What the network says of B images."""

    outputs_b3: torch.Tensor  # normalized focal length, pitch, roll
    features_bc: torch.Tensor  # what the last layer saw


class CosineLayer(nn.Module):
    """LUCIR's last layer (Hou et al. 2019, equation 4) for a regression: output_k = eta <w_k / |w_k|, f / |f|>.

    The sign comes from the angle between weight and feature, the range from eta, one learned scale. There is no bias:
    the features of all images have a direction in common, and a weight's share of it is a constant output.
    """

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        self.weight_kc = nn.Parameter(torch.randn(outputs, channels) / math.sqrt(channels))
        self.scale = nn.Parameter(torch.tensor(FIRST_COSINE_SCALE))

    def forward(self, features_bc: torch.Tensor) -> torch.Tensor:
        """(B, C) to (B, K)."""
        weight_kc = nn.functional.normalize(self.weight_kc, dim=1)
        return self.scale * nn.functional.normalize(features_bc, dim=1) @ weight_kc.T


class PaperNetwork(nn.Module):
    """Any timm backbone, mean-pooled, and three outputs by a linear or a cosine layer.

    With `frozen` the backbone is not in it: it takes what `FrozenMaps` keeps of an image, and learns a small network.

    `correct_outputs` lays q_k = alpha_k o_k + beta_k over the outputs (BiC's second stage); without it alpha is 1 and
    beta 0. Training changes neither. Weights as `create_backbone` finds them; raises InputError as it does.
    """

    def __init__(self, backbone: str, weights: Path | None = None, pretrained: Pretrained = "required",
                 cosine: bool = False, frozen: FrozenConfig | None = None):  # fmt: skip
        super().__init__()
        self.backbone_name, self.cosine, self.frozen = backbone, cosine, frozen
        if frozen is None:
            self.backbone = _create_features(backbone, weights, pretrained)
            channels = self.backbone.feature_info.channels()[-1]
            config = timm.get_pretrained_cfg(backbone)
            self.register_buffer("mean_1311", 255 * torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
            self.register_buffer("std_1311", 255 * torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        else:
            self.trunk, channels = frozen.trunk(frozen.inputs(backbone)), frozen.hidden
        self.head = CosineLayer(channels, len(PARAMETERS)) if cosine else nn.Linear(channels, len(PARAMETERS))
        self.register_buffer("alpha_3", torch.ones(len(PARAMETERS)))
        self.register_buffer("beta_3", torch.zeros(len(PARAMETERS)))
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: torch.Tensor) -> Prediction:
        """RGB (B, 3, H, W) in 0..255, uint8 or float, channels last in memory for speed; with `frozen` what is kept of
        the images (B, inputs)."""
        if self.frozen is None:
            features_bc = self.backbone((inputs.float() - self.mean_1311) / self.std_1311)[-1].mean(dim=(2, 3))
        else:
            features_bc = self.trunk(inputs.float())
        return Prediction(self.alpha_3 * self.head(features_bc) + self.beta_3, features_bc)

    def correct_outputs(self, alpha_3: torch.Tensor, beta_3: torch.Tensor) -> None:
        """Lays another affine map over the outputs as they are now."""
        self.beta_3.copy_(alpha_3.to(self.beta_3) * self.beta_3 + beta_3.to(self.beta_3))
        self.alpha_3.mul_(alpha_3.to(self.alpha_3))

    def save(self, path: Path, scale: TargetScale, size_px: tuple[int, int]) -> None:
        """Writes the weights, with the crops' (width, height) and the targets' scale in the header."""
        header = {
            "kind": KIND, "format_version": FORMAT_VERSION, "producer": f"geo_perception {__version__}",
            "backbone": self.backbone_name, "cosine": self.cosine, "size_px": list(size_px), "scale": vars(scale),
            "frozen": None if self.frozen is None else self.frozen.model_dump(mode="json"),
        }  # fmt: skip
        save_weights(path, {key: value.cpu().numpy() for key, value in self.state_dict().items()}, header)

    @classmethod
    def load(cls, path: Path) -> tuple[PaperNetwork, TargetScale]:
        """What `save` wrote. Raises InputError when the file is not one."""
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        frozen = header.get("frozen") and FrozenConfig(**header["frozen"])
        network = cls(header["backbone"], pretrained="none", cosine=header["cosine"], frozen=frozen)
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
        return network, TargetScale(**header["scale"])


def starting_weights(name: str, weights: Path | None, pretrained: Pretrained) -> str | None:
    """Checksum of the weights that the feature network of a `PaperNetwork` begins with; None where they are drawn."""
    if pretrained == "none":
        return None
    try:
        return create_backbone(name, weights).checksum
    except InputError:
        if pretrained == "required" or weights is not None:
            raise
        return None


def _create_features(name: str, weights: Path | None, pretrained: Pretrained) -> nn.Module:
    """The feature network, all of it learning."""
    if pretrained != "none":
        try:
            return create_backbone(name, weights).network.train().requires_grad_(True)
        except InputError as error:
            if pretrained == "required" or weights is not None or name not in timm.list_models():
                raise
            warn(f"{error}; it starts from random weights, which costs accuracy")
    return timm_features(name)


def smooth_l1(outputs_b3: torch.Tensor, targets_b3: torch.Tensor, weights_b3: torch.Tensor | None = None):
    """Equation 4, a scalar: summed over the L images of the batch and the n outputs of each, divided by n.

    Read to the letter: n is the number of regression outputs (three), and the sum runs over the batch of size L. So the
    batch is summed, not averaged, and a step grows with it. `weights_b3` weighs single terms.
    """
    terms_b3 = nn.functional.smooth_l1_loss(outputs_b3, targets_b3, reduction="none", beta=1.0)
    return (terms_b3 if weights_b3 is None else weights_b3 * terms_b3).sum() / outputs_b3.shape[1]


def mse_metrics(outputs_n3: np.ndarray, targets_n3: np.ndarray, scale: TargetScale) -> dict[str, float]:
    """Mean squared errors of N crops.

    `focal`, `pitch`, `roll` and their mean `umse` are of the normalized targets, without a unit: the paper gives no
    unit, and only these can be averaged. Its values are likely these times 100 (a roll of 1.33 would else be worse
    than always answering zero). `focal_rmse_px`, `pitch_rmse_deg`, `roll_rmse_deg` are the roots in px and degrees.
    """
    squared_3 = ((np.asarray(outputs_n3, float) - np.asarray(targets_n3, float)) ** 2).mean(axis=0)
    metrics = dict(zip(PARAMETERS, map(float, squared_3), strict=True)) | {"umse": float(squared_3.mean())}
    names = ("focal_rmse_px", "pitch_rmse_deg", "roll_rmse_deg")
    return metrics | dict(zip(names, map(float, np.sqrt(squared_3) * scale.as_array), strict=True))
