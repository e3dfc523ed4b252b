"""What a frozen network sees in an image: the same as by the network itself, which stays as it is."""

import numpy as np
import pytest
import torch

from geo_perception.runtime import device as device_module
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.frozen import FrozenNetwork

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone():
    return create_backbone()


@pytest.fixture(scope="module")
def image_hw3():
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.fixture
def without_half(monkeypatch):
    monkeypatch.setattr(device_module, "half_precision", lambda device: None)


def maps_of(backbone, image_hw3):
    return backbone(torch.from_numpy(image_hw3).permute(2, 0, 1)[None].float())


def test_the_maps_are_those_of_the_backbone(backbone, image_hw3, without_half):
    expected, found = maps_of(backbone, image_hw3), FrozenNetwork(backbone, CPU)(image_hw3)
    assert [tuple(map_bchw.shape) for map_bchw in found] == [tuple(map_bchw.shape) for map_bchw in expected]
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other.contiguous(), one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_half_precision_changes_the_maps_by_little(backbone, image_hw3):
    for one, other in zip(maps_of(backbone, image_hw3), FrozenNetwork(backbone, CPU)(image_hw3), strict=True):
        assert float((one - other.float()).abs().mean()) < 0.1 * float(one.abs().mean())


def test_an_image_that_is_a_part_or_a_mirror_of_another_is_taken(backbone, image_hw3, without_half):
    features = FrozenNetwork(backbone, CPU)
    mirrored_hw3 = image_hw3[:, ::-1]
    for one, other in zip(features(mirrored_hw3), features(mirrored_hw3.copy()), strict=True):
        assert torch.equal(one, other)


def test_the_backbone_keeps_its_weights_and_its_name(backbone, image_hw3):
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    FrozenNetwork(backbone, CPU)(image_hw3)
    after = backbone.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert backbone.checksum == create_backbone().checksum


def test_the_maps_ask_for_no_gradient(backbone, image_hw3):
    assert not any(map_bchw.requires_grad for map_bchw in FrozenNetwork(backbone, CPU)(image_hw3))
