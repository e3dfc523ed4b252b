"""A calibrator that has learned nothing."""

from __future__ import annotations

from pathlib import Path


def blank_calibrator(path: Path, metadata: dict | None = None) -> Path:
    """Writes the weights of a small network with random weights, with `metadata` in their header."""
    import torch

    from geo_perception.calibration.estimator import Calibrator
    from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig

    torch.manual_seed(0)
    network = CalibrationNetwork(NetworkConfig("test_efficientnet", width=16, context_width=48, context_layers=0))
    Calibrator(network, device="cpu").save(path, metadata or {})
    return path
