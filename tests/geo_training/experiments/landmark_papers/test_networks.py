"""The references' networks and configs: what the papers say of them, counted by hand."""

import pytest
import torch
from geo_training.experiments.landmark_papers.config import CONFIGS, NAMES, BackboneConfig, ReferenceConfig
from geo_training.experiments.landmark_papers.networks import (
    DilatedBlock,
    HeatmapNetwork,
    ReferenceNetwork,
    SkipBlock,
    StridedBackbone,
)
from safetensors.torch import save_file
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime.backbone import timm_features


def packaged(name, **changes):
    return ReferenceConfig.load(CONFIGS / f"{name}.yaml", **changes)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def maps_of(network, height=64, width=96):
    with torch.no_grad():
        return network.eval()(torch.zeros(1, 3, height, width))


def test_the_packaged_configs_are_those_of_the_papers():
    assert NAMES == (
        "paper", "paper_dilated_backbone", "paper_efficientnet", "paper_efficientnet_dilated_backbone", "paper_swin",
        "sld_nbe", "sld_star",
    )  # fmt: skip
    sld_star, paper = packaged("sld_star"), packaged("paper")
    assert (sld_star.networks, sld_star.landmarks_each, sld_star.landmarks) == (8, 125, 1000)
    assert (sld_star.epochs, sld_star.learning_rate, sld_star.label_sigma_cells) == (200, 1e-3, 2.5)
    assert (sld_star.crops.size_px, sld_star.crops.positive, sld_star.crops.random) == (96, 4, 4)
    assert (paper.networks, paper.landmarks_each, paper.epochs, paper.batch) == (1, 100, 200, 8)
    assert (paper.backbone.reduced_to, paper.backbone.frozen, paper.head.blocks) == (512, True, 2)
    assert packaged("sld_nbe").bearing is not None


def test_what_no_text_says_is_marked_in_the_configs():
    for name in NAMES:
        text = (CONFIGS / f"{name}.yaml").read_text()
        assert "assumed" in text
        keys = ("learning_rate", "weight_decay", "schedule", "label_sigma_cells")
        lines = {line.split(":")[0]: line for line in text.splitlines() if line.split(":")[0] in keys}
        assert len(lines) == len(keys)
        assert name == "sld_star" or all("assumed" in line for line in lines.values())


def test_sld_star_by_hand():
    network = ReferenceNetwork(packaged("sld_star", networks=2), load=False)
    first, second = network.detectors
    assert first.backbone is not second.backbone  # an ensemble: nothing in common
    assert (first.backbone.channels, first.backbone.stride) == (320, 8)
    dilations = [convolution.dilation for convolution in first.head.modules() if isinstance(convolution, nn.Conv2d)]
    assert dilations == [(1, 1), (2, 2), (3, 3), (4, 4), (1, 1)]
    # Four 3x3 convolutions 320 to 80 with bias and batch normalization; 1x1 from 320 to 125.
    assert count(first.head) == 4 * (320 * 80 * 9 + 80 + 2 * 80) + 320 * 125 + 125 == 962_685
    assert count(first.backbone) == 2_958_848  # EfficientNet-Lite0 without its classifier
    assert maps_of(network).shape == (1, 250, 8, 12)
    # The third and fourth stage keep the size; the sixth halves it.
    blocks = first.backbone.network.blocks
    strides = [max(c.stride[0] for c in stage.modules() if isinstance(c, nn.Conv2d)) for stage in blocks]
    assert strides == [1, 2, 1, 1, 1, 2, 1]


def test_the_papers_network_by_hand():
    network = ReferenceNetwork(packaged("paper"), load=False).detectors[0]
    assert (network.backbone.channels, network.backbone.stride) == (2048, 8)
    assert count(network.backbone) == 86_742_336  # ResNeXt-101 32x8d without its classifier
    blocks = [layer for layer in network.head if isinstance(layer, DilatedBlock | SkipBlock)]
    assert [type(block) for block in blocks] == [DilatedBlock, SkipBlock] * 2
    dilated, skip = 4 * (512 * 128 * 9 + 128 + 2 * 128), 3 * (512 * 512 + 512)
    reduction = 2048 * 512 + 2 * 512
    assert count(network.head) == reduction + 2 * (dilated + skip) + 512 * 100 + 100 == 7_398_500
    assert maps_of(network).shape == (1, 100, 8, 12)


@pytest.mark.parametrize(
    ("name", "channels", "dilated_head"),
    [
        ("paper_efficientnet", 320, True),
        ("paper_efficientnet_dilated_backbone", 320, False),
        ("paper_swin", 192, True),
    ],
)
def test_the_papers_alternatives(name, channels, dilated_head):
    network = ReferenceNetwork(packaged(name), load=False).detectors[0]
    assert network.backbone.channels == channels
    assert any(isinstance(layer, DilatedBlock) for layer in network.head) == dilated_head
    in_backbone = [c.dilation for c in network.backbone.modules() if isinstance(c, nn.Conv2d) and c.dilation != (1, 1)]
    assert bool(in_backbone) == (name == "paper_efficientnet_dilated_backbone")
    assert maps_of(network).shape == (1, 100, 8, 12)


def test_dilation_in_resnext_is_in_its_last_two_stages():
    backbone = StridedBackbone(BackboneConfig(name="resnext50_32x4d", dilated=True), load=False)
    found = {name[:6] for name, c in backbone.network.named_modules() if getattr(c, "dilation", 1) not in (1, (1, 1))}
    assert found == {"layer3", "layer4"}
    assert maps_of(backbone).shape == (1, 2048, 8, 12)


def test_a_stride_is_taken_out_without_changing_the_weights():
    plain, changed = (StridedBackbone(BackboneConfig(removed_strides=removed)) for removed in ((), (3, 5)))
    assert (plain.stride, changed.stride) == (32, 8)
    assert plain.has_weights
    assert changed.has_weights
    for key, value in plain.network.state_dict().items():
        assert torch.equal(value, changed.network.state_dict()[key])


def test_images_go_in_as_0_to_1_or_normalized():
    plain, normalized = (
        StridedBackbone(BackboneConfig(normalized=given, removed_strides=(3, 5)), load=False) for given in (False, True)
    )
    assert plain.mean_1311.flatten().tolist() == [0, 0, 0]
    assert plain.std_1311.flatten().tolist() == [1, 1, 1]
    assert normalized.mean_1311.flatten().tolist() == [0.5] * 3
    assert normalized.std_1311.flatten().tolist() == [0.5] * 3


def test_a_skip_block_carries_its_input():
    block = SkipBlock(8, 2)
    x_bchw = torch.rand(1, 8, 3, 3)
    nn.init.zeros_(block.layers[2].weight)
    nn.init.zeros_(block.layers[2].bias)
    assert torch.equal(block(x_bchw), x_bchw)


def test_bearings_are_unit_vectors_of_all_landmarks():
    network = ReferenceNetwork(
        packaged("sld_nbe", backbone={"name": "resnet18", "removed_strides": [3, 4]}, landmarks_each=7), load=False
    ).eval()
    with torch.no_grad():
        bearing_bl3 = network.bearing(torch.rand(2, 3, 96, 128) * 255)
    assert bearing_bl3.shape == (2, 7, 3)
    assert torch.allclose(bearing_bl3.norm(dim=2), torch.ones(2, 7), atol=1e-5)


def test_a_backbone_without_weights_is_drawn_free_and_says_so(capsys):
    config = BackboneConfig(name="resnet18", removed_strides=(3, 4), frozen=True)
    backbone = StridedBackbone(config)
    assert not backbone.has_weights
    assert not backbone.frozen
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert "starts from random weights, and none of it is frozen" in capsys.readouterr().err


def test_weights_come_from_a_file(tmp_path):
    path = tmp_path / "resnet18.safetensors"
    save_file(timm_features("resnet18").state_dict(), str(path))
    backbone = StridedBackbone(BackboneConfig(name="resnet18", file=path, removed_strides=(3, 4), frozen=True)).train()
    assert backbone.has_weights
    assert backbone.frozen
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    with pytest.raises(InputError, match="do not fit the backbone 'resnet34'"):
        StridedBackbone(BackboneConfig(name="resnet34", file=path, removed_strides=(3, 4)))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"name": "resnet_of_nobody"}, "is not a timm network"),
        ({"removed_strides": (4,)}, "stage 4 of the backbone 'tf_efficientnet_lite0' has no stride to remove"),
        ({"removed_strides": (3,)}, "gives maps of stride 16, but 8 is needed"),
        ({"name": "swin_tiny_patch4_window7_224", "dilated": True}, "cannot be dilated; leave out dilated"),
        ({"levels": 9}, "does not have 9 levels"),
        ({"name": "resnet18", "removed_strides": (3, 4), "reduced_to": 30}, "30 channels are not 4 equal parts"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused_in_a_line(backbone, message):
    with pytest.raises(InputError, match=message) as refused:
        ReferenceNetwork(ReferenceConfig(backbone=backbone), load=False)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone: {removed_strides: [3], dilated: true}", "strides are removed or dilated, not both"),
        ("crops: {positive: 0, random: 0}", "there are no crops"),
        ("crops: {size_px: 90}", "crops.size_px"),
        ("heads: {}", "'heads' is not known; did you mean 'head'"),
        ("networks: 0", "networks"),
    ],
)
def test_a_wrong_config_is_refused_in_a_line(tmp_path, text, message):
    path = tmp_path / "reference.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        ReferenceConfig.load(path)
    assert "\n" not in str(refused.value)


def test_a_heatmap_network_has_one_map_a_landmark():
    config = ReferenceConfig(landmarks_each=5, head={"blocks": 0})
    backbone = StridedBackbone(BackboneConfig(removed_strides=(3, 5)), load=False)
    network = HeatmapNetwork(backbone, config.backbone, config.head, 5)
    assert maps_of(network).shape == (1, 5, 8, 12)
