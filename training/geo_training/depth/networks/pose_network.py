"""Ego-motion from a few images, and which pixels it does not explain (Zhou et al. 2017)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.image import resized
from geo_perception.runtime.weights import load_weights, save_weights

KIND, FORMAT_VERSION = "depth-motion", 1
ENCODER = ((16, 7), (32, 5), (64, 3), (128, 3), (256, 3))  # channels, kernel; each with stride 2
POSE = (256, 256)
MASKS = ((256, 3), (128, 3), (64, 3), (32, 5), (16, 7))  # up again, each by 2
MASK_SCALES = 4
MOTION_SCALE = 0.01


@dataclass(frozen=True)
class PoseNetworkConfig:
    """`sources` is how many images are seen besides the target; `explainability` whether masks are predicted."""

    sources: int = 1
    explainability: bool = False


class PoseNetwork(nn.Module):
    """Target and sources, stacked, to motions (rotation vector and translation, both times MOTION_SCALE) by the mean
    over the image. The mask branch starts at the fifth convolution."""

    def __init__(self, config: PoseNetworkConfig):
        super().__init__()
        self.config = config
        before, layers = 3 * (1 + config.sources), []
        for channels, kernel in ENCODER:
            layers.append(_convolution(before, channels, kernel))
            before = channels
        self.encoder = nn.ModuleList(layers)
        shared, layers = before, []
        for channels in POSE:
            layers.append(_convolution(before, channels, 3))
            before = channels
        self.pose = nn.Sequential(*layers, nn.Conv2d(before, 6 * config.sources, 1))
        self.up, self.masks = nn.ModuleList(), nn.ModuleList()
        if config.explainability:
            before = shared
            for index, (channels, kernel) in enumerate(MASKS):
                padding = (kernel - 1) // 2
                layer = nn.ConvTranspose2d(before, channels, kernel, 2, padding, 1)
                self.up.append(nn.Sequential(layer, nn.ReLU(inplace=True)))
                scored = index >= len(MASKS) - MASK_SCALES
                self.masks.append(
                    nn.Conv2d(channels, 2 * config.sources, kernel, padding=padding) if scored else nn.Identity()
                )
                before = channels
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, target_b3hw: torch.Tensor, sources_bs3hw: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """RGB in 0..1. Returns T_source_target (B, S, 4, 4) and, where it is predicted, the probability that a pixel
        of the target is explained by each source, (B, S, h, w), finest first at half the sides each."""
        x = torch.cat([target_b3hw[:, None], sources_bs3hw], 1).flatten(1, 2) * 2 - 1
        sizes = []
        for layer in self.encoder:
            sizes.append(x.shape[-2:])
            x = layer(x)
        motion_bs6 = MOTION_SCALE * self.pose(x).float().mean((2, 3)).unflatten(1, (self.config.sources, 6))
        T_bs44 = motion_matrix(motion_bs6[..., 3:].flatten(0, 1), motion_bs6[..., :3].flatten(0, 1))
        T_bs44 = T_bs44.unflatten(0, (-1, self.config.sources))
        if not self.config.explainability:
            return T_bs44, None
        masks = []
        for size, up, mask in zip(reversed(sizes), self.up, self.masks, strict=True):
            x = up(x)[..., : size[0], : size[1]]
            if not isinstance(mask, nn.Identity):
                logits = mask(x).float().unflatten(1, (self.config.sources, 2))
                masks.append(torch.softmax(logits, 2)[:, :, 1])
        return T_bs44, masks[::-1]


class PoseEstimator:
    """Ego-motion of recorded views, for the evaluation. The unit of length is the depth network's."""

    def __init__(
        self, network: PoseNetwork, size_px: tuple[int, int], device: str = "auto", header: dict | None = None
    ):
        self.device, self.size_px, self.header = pick_device(device), tuple(size_px), header or {}
        self.network = network.to(self.device).eval()

    @property
    def views(self) -> int:
        """How many views `motion` takes at once."""
        return 1 + self.network.config.sources

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> PoseEstimator:
        """Reads what `save` wrote. Raises InputError when it or the device cannot be used."""
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        try:
            network = PoseNetwork(PoseNetworkConfig(**header["network"]))
            network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
            return cls(network, tuple(header["size_px"]), device, header)
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} does not fit a motion network ({reason}); make it again") from None

    def save(self, path: str | Path, metadata: dict) -> None:
        """Writes the weights, with `metadata` in the header."""
        tensors = {name: value.cpu().numpy() for name, value in self.network.state_dict().items()}
        header = {"kind": KIND, "format_version": FORMAT_VERSION, "network": asdict(self.network.config)}
        save_weights(path, tensors, {**header, "size_px": list(self.size_px), **metadata})

    @torch.inference_mode()
    def motion(self, views: list[np.ndarray]) -> list[np.ndarray]:
        """T_source_target (4, 4) for every view (RGB uint8) but the target, which is the middle one of them (of two:
        the first). Raises InputError for another number of views than `views`."""
        if len(views) != self.views:
            raise InputError(f"{len(views)} views were given; this motion network takes {self.views}")
        small = [resized(view, self.size_px) for view in views]
        stacked = torch.from_numpy(np.stack(small)).to(self.device).permute(0, 3, 1, 2).float() / 255
        target = (len(views) - 1) // 2
        sources = [index for index in range(len(views)) if index != target]
        T_bs44, _ = self.network(stacked[target][None], stacked[sources][None])
        return list(T_bs44[0].double().cpu().numpy())


def _convolution(before: int, channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, channels, kernel, 2, (kernel - 1) // 2), nn.ReLU(inplace=True))


def motion_matrix(rotation_b3: torch.Tensor, translation_b3: torch.Tensor) -> torch.Tensor:
    """T (B, 4, 4) of a rotation vector in radians and a translation. Exact, and smooth through zero (Rodrigues)."""
    angle2_b = (rotation_b3**2).sum(-1)
    small_b = angle2_b < 1e-6
    angle_b = torch.where(small_b, torch.ones_like(angle2_b), angle2_b).sqrt()
    sine_b = torch.where(small_b, 1 - angle2_b / 6, torch.sin(angle_b) / angle_b)
    cosine_b = torch.where(small_b, 0.5 - angle2_b / 24, (1 - torch.cos(angle_b)) / angle_b**2)
    x, y, z = rotation_b3.unbind(-1)
    zero = torch.zeros_like(x)
    cross_b33 = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    R_b33 = torch.eye(3, device=x.device, dtype=x.dtype) + sine_b[:, None, None] * cross_b33
    R_b33 = R_b33 + cosine_b[:, None, None] * (cross_b33 @ cross_b33)
    top_b34 = torch.cat([R_b33, translation_b3[..., None]], -1)
    bottom_b14 = top_b34.new_tensor([0, 0, 0, 1.0]).expand(len(top_b34), 1, 4)
    return torch.cat([top_b34, bottom_b14], 1)
