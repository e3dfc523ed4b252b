"""OpenVINO gives what torch gives, or torch is used."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime import device as device_module
from geo_perception.runtime import engine
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.features import FrozenFeatures
from geo_perception.runtime.folding import fold_normalization

pytest.importorskip("openvino", reason="OpenVINO is not installed")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(engine, "_compiled", type(engine._compiled)())
    monkeypatch.delenv(engine.ENGINE_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def network():
    return fold_normalization(create_backbone())


def image_of(height_px, width_px):
    return torch.randint(0, 256, (1, 3, height_px, width_px), generator=torch.Generator().manual_seed(3)).float()


class Doubles(nn.Module):
    """Gives two maps, one of which depends on the image's size as only Python sees it, if `sized`."""

    def __init__(self, sized=False):
        super().__init__()
        self.sized = sized

    def forward(self, image_b3hw):
        factor = float(image_b3hw.shape[-1]) if self.sized else 2.0
        return [image_b3hw * factor, image_b3hw[:, :1]]


def test_maps_of_images_of_several_sizes_are_those_of_torch_in_float32(network, monkeypatch):
    monkeypatch.setattr(device_module, "half_precision", lambda device: None)
    made = engine.make_engine(network, "a")
    for size_px in ((64, 64), (96, 352), (64, 64)):
        expected, found = network(image_of(*size_px)), made(image_of(*size_px))
        assert len(found) == len(expected)
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_what_an_engine_gave_stays_when_it_sees_another_image(network):
    made = engine.make_engine(network, "a")
    first = made(image_of(64, 96))
    before = [map_bchw.clone() for map_bchw in first]
    made(255 - image_of(64, 96))
    assert all(torch.equal(one, other) for one, other in zip(before, first, strict=True))


def test_a_network_is_compiled_once_and_the_ones_not_used_are_let_go(network, monkeypatch):
    compiled = []
    monkeypatch.setattr(engine, "_checked", lambda network: compiled.append(network))
    for checksum in ("a", "b", "a", "c", "d", "e", "a", "b"):
        assert engine.make_engine(network, checksum) is None
    assert len(compiled) == 6  # a stayed, b went when e came


def test_a_network_that_the_engine_follows_wrongly_is_left_to_torch(caplog):
    with caplog.at_level(logging.WARNING):
        assert engine.make_engine(Doubles(sized=True), "sized") is None
    assert "other maps than torch" in caplog.text
    assert engine.make_engine(Doubles(), "plain") is not None


def test_a_network_beyond_the_engine_is_left_to_torch(caplog, monkeypatch):
    def refuse(network):
        raise RuntimeError("no such operation\nand much more")

    monkeypatch.setattr(engine, "_compile", refuse)
    with caplog.at_level(logging.INFO):
        assert engine.make_engine(Doubles(), "plain") is None
    assert "no such operation" in caplog.text
    assert "much more" not in caplog.text


def test_without_openvino_torch_is_used(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(engine.importlib, "import_module", missing)
    assert engine.make_engine(Doubles(), "plain") is None


def test_the_environment_can_ask_for_torch_and_not_for_what_there_is_not(network, monkeypatch):
    monkeypatch.setenv(engine.ENGINE_VARIABLE, "torch")
    assert engine.make_engine(network, "a") is None
    monkeypatch.setenv(engine.ENGINE_VARIABLE, "warp")
    with pytest.raises(InputError, match="GEO_PERCEPTION_ENGINE is 'warp'; use auto or torch"):
        engine.make_engine(network, "a")


def test_features_are_made_by_the_engine_where_the_network_is_known_by_its_checksum():
    image_hw3 = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    known, unknown = FrozenFeatures(create_backbone(), CPU), FrozenFeatures(Doubles(), CPU)
    assert [map_bchw.shape[1] for map_bchw in known(image_hw3)] == create_backbone().channels
    unknown(image_hw3)
    assert (known.engine, unknown.engine) == ("openvino", "torch")
