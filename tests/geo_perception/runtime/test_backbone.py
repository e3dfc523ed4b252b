"""The frozen backbone and the device it runs on."""

import pytest
import torch
from safetensors.torch import save_file

from geo_perception.errors import InputError
from geo_perception.runtime.backbone import backbone_from_tensors, backbone_tensors, create_backbone
from geo_perception.runtime.device import pick_device


@pytest.fixture(scope="module")
def backbone():
    return create_backbone()


def test_the_default_gives_features_at_strides_4_to_32(backbone):
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert backbone.strides == [4, 8, 16, 32]
    assert [tuple(f.shape) for f in features] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]


def test_its_weights_are_the_trained_ones(backbone):
    """The first convolution of a trained network sees edges: its filters differ far more than random ones would."""
    stem = backbone.network.state_dict()["conv_stem.weight"]
    assert stem.std() > 0.2
    assert backbone.checksum == create_backbone().checksum


def test_its_checksum_is_the_one_that_scene_files_hold(backbone):
    assert backbone.checksum == "1d426bf0a4961b418c5bd9d7a32c4a55025805060f64e4bcb0687e41fee2dc4c"


def test_it_stays_frozen(backbone):
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_embedded_weights_make_the_same_backbone(backbone):
    again = backbone_from_tensors(backbone.name, backbone_tensors(backbone))
    assert again.checksum == backbone.checksum


class OnAGpu:
    """A tensor that NumPy cannot read before it is on the CPU, as torch has it of CUDA's."""

    def __init__(self, tensor):
        self.tensor = tensor

    def cpu(self):
        return self.tensor

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def test_weights_are_embedded_from_a_gpu(backbone, monkeypatch):
    state = backbone.network.state_dict()
    expected = backbone_tensors(backbone)
    monkeypatch.setattr(backbone.network, "state_dict", lambda: {key: OnAGpu(value) for key, value in state.items()})
    assert all((value == expected[key]).all() for key, value in backbone_tensors(backbone).items())


def test_weights_from_a_file_are_used_and_tell_in_the_checksum(backbone, tmp_path):
    state = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    state["conv_stem.weight"] += 1
    save_file(state, str(tmp_path / "own.safetensors"))
    assert create_backbone(weights=tmp_path / "own.safetensors").checksum != backbone.checksum


def test_what_cannot_be_used_is_answered_with_a_line(tmp_path):
    with pytest.raises(InputError, match="not a timm network"):
        create_backbone("no_such_network")
    with pytest.raises(InputError, match="no weights for the backbone 'resnet18'"):
        create_backbone("resnet18")
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        create_backbone(weights=tmp_path / "bad.safetensors")
    save_file({"conv_stem.weight": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="do not fit"):
        create_backbone(weights=tmp_path / "other.safetensors")


def test_devices_by_name():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="cuda:63"):
        pick_device("cuda:63")
    with pytest.raises(InputError, match="not known"):
        pick_device("gpu please")
    with pytest.raises(InputError, match="not supported"):
        pick_device("meta")
