"""Loads everything that the nodes load, on a machine without a network: an image that lacks weights is not built."""

import numpy as np

from geo_perception.calibration.estimator import Calibrator
from geo_perception.depth.estimator import DepthEstimator
from geo_perception.geometry.camera import Camera
from geo_perception.runtime import DEFAULT_BACKBONE
from geo_perception.runtime.backbone import create_backbone

image_hw3 = np.zeros((96, 128, 3), np.uint8)
Calibrator.load(device="cpu", engine="torch").estimate(image_hw3)
DepthEstimator.load(device="cpu", engine="torch").estimate(image_hw3, Camera(128, 96, 100.0, 100.0, 64.0, 48.0))
create_backbone()
print(f"the weights of calibration, depth and {DEFAULT_BACKBONE} are here")
