"""Small networks with random weights, as files."""

import numpy as np
import pytest
import torch
from blank_calibrator import blank_calibrator
from pictures import random_patches

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


def small_depth(path, seed=0):
    """Weights of a network with a sharpener, none of which are at their start."""
    torch.manual_seed(seed)
    config = DepthNetworkConfig("test_efficientnet", widths=(24, 16, 16, 8, 8), sharpener_width=8)
    network = DepthNetwork(config)
    with torch.no_grad():
        for layer in (*network.predict, network.uncertainty[-1], network.sharpener.choose):
            layer.weight.normal_(std=0.3)
    DepthEstimator(network, "cpu", area_px=128 * 96).save(path, {"licence": "none"})
    return path


@pytest.fixture
def depth_file(tmp_path):
    return small_depth(tmp_path / "depth.safetensors")


@pytest.fixture
def calibration_file(tmp_path):
    return blank_calibrator(tmp_path / "calibration.safetensors")


@pytest.fixture(scope="session")
def images():
    """Of two shapes."""
    return [random_patches(1), random_patches(2), np.ascontiguousarray(random_patches(3)[:120])]
