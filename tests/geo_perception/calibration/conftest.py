"""A calibrator that is a little wrong: whatever it sees, a level camera of 540 px, within 15 % and 0.1 rad."""

import pytest
from calibration_peer import weights_with_lines

from geo_perception.calibration.estimator import Calibrator


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weights_with_lines(tmp_path_factory.mktemp("weights") / "w.safetensors", 540.0, 640, 480)


@pytest.fixture
def calibrator(weights):
    return Calibrator.load(weights, "cpu")
