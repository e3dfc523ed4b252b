"""The depth node with a network that gives metres, as a process of its own, over real DDS."""

import numpy as np
import pytest
from depth_peer import RobotPeer, numbers
from pictures import random_patches
from ros_support import active_node
from tiny_onnx import write_network

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
MODULE = "geo_perception.depth.node"
CARD = "name: tiny\noutput: depth\nsize_px: [128, 96]\nmetric: {metric}\n"


def shown(tmp_path, metric, *parameters):
    """What the node publishes of one image, and its diagnostics."""
    weights = write_network(tmp_path, CARD.format(metric=metric))
    arguments = ["--ros-args", "-r", "image:=/camera/image_raw", "-p", "device:=cpu", "-p", f"weights:={weights}"]
    for parameter in parameters:
        arguments += ["-p", parameter]
    with active_node(MODULE, *arguments, log=tmp_path / "node.log"), RobotPeer() as peer:
        peer.wait_until_connected()
        relative_hw = peer.show_and_wait(random_patches(0))
        peer.spin_until(lambda: bool(peer.depths), 2)
        return relative_hw, peer, peer.wait_for(lambda values: values["processed"] == "1")


def test_metres_are_published_with_no_other_source_where_it_is_trusted(tmp_path):
    relative_hw, peer, values = shown(tmp_path, "true", "network_scale_sigma:=0.15")
    np.testing.assert_array_equal(numbers(peer.depths[-1]), relative_hw)
    assert peer.scales[-1].data == 1.0
    assert (values["metres"], values["scale from"], values["scale sigma (%)"]) == ("published", "network", "15.0")
    assert (values["engine"], values["engine because"]) == ("onnxruntime", "the network is an ONNX file")


def test_its_scale_is_not_used_unless_it_is_asked_for(tmp_path):
    _, peer, values = shown(tmp_path, "true")
    assert not peer.depths
    assert (values["metres"], values["scale from"]) == ("withheld", "none")


def test_more_uncertain_than_metres_may_be_it_is_said_and_withheld(tmp_path):
    _, peer, values = shown(tmp_path, "true", "network_scale_sigma:=0.3")
    assert not peer.depths
    assert (values["metres"], values["scale from"]) == ("withheld", "network")


def test_a_network_up_to_a_factor_has_no_scale_of_its_own(tmp_path):
    _, peer, values = shown(tmp_path, "false", "network_scale_sigma:=0.15")
    assert not peer.depths
    assert (values["metres"], values["scale from"]) == ("withheld", "none")
