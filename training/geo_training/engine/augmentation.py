"""Photometric augmentation: other light, another sensor; the geometry of the image stays."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic import Field

from geo_training.config import Strict


class PhotometricConfig(Strict):
    """How far a training image's light may differ from the picture's. Factors or shares."""

    brightness: float = Field(0.35, ge=0, le=1)
    contrast: float = Field(0.35, ge=0, le=1)
    gamma: float = Field(0.3, ge=0, le=1, description="largest change of the exponent, as a logarithm")
    colour: float = Field(0.2, ge=0, le=1, description="gain of each colour channel")
    shading: float = Field(0.25, ge=0, le=2, description="deviation of a smooth field of light, as a logarithm")
    blur: float = Field(0.3, ge=0, le=1, description="share of the views that are blurred")
    grey: float = Field(0.1, ge=0, le=1, description="share of the views without colour")
    noise: float = Field(6.0, ge=0, le=64, description="largest standard deviation of pixel noise, of 255")
    erase: float = Field(0.3, ge=0, le=1, description="share of the views in which a box is covered")


def augment_photometric(image_hw3: np.ndarray, config: PhotometricConfig, rng: np.random.Generator):
    """Exposure, contrast, colour, other lamps, blur, noise, a covered box: the image (uint8) and where it is covered
    (bool, H x W)."""
    exponent = np.exp(config.gamma * rng.uniform(-1, 1))
    image = cv2.LUT(image_hw3, (255 * (np.arange(256) / 255) ** exponent).astype(np.float32)[None])
    mean = image.mean()
    image = (image - mean) * (1 + config.contrast * rng.uniform(-1, 1)) + mean
    gain_3 = (1 + config.brightness * rng.uniform(-1, 1)) * (1 + config.colour * rng.uniform(-1, 1, 3))
    image *= gain_3.astype(np.float32)
    # Light that comes from elsewhere: a few random gains, spread smoothly over the image.
    field_34 = rng.normal(0, config.shading, (3, 4)).astype(np.float32)
    image *= np.exp(cv2.resize(field_34, image.shape[1::-1], interpolation=cv2.INTER_CUBIC))[..., None]
    if rng.random() < config.grey:
        image[:] = image.mean(axis=2, keepdims=True)
    if rng.random() < config.blur:
        image = _blurred(image, rng)
    image += rng.standard_normal(image.shape[:2], np.float32)[..., None] * np.float32(config.noise * rng.random())
    covered_hw = np.zeros(image.shape[:2], bool)
    if rng.random() < config.erase:
        height, width = image.shape[:2]
        box_h, box_w = int(height * rng.uniform(0.1, 0.4)), int(width * rng.uniform(0.1, 0.4))
        top, left = rng.integers(0, height - box_h), rng.integers(0, width - box_w)
        box = (slice(top, top + box_h), slice(left, left + box_w))
        image[box] = rng.uniform(0, 255, 3)
        covered_hw[box] = True
    return np.clip(image, 0, 255).astype(np.uint8), covered_hw


def _blurred(image_hw3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus, or moved in one direction."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image_hw3, (0, 0), rng.uniform(0.5, 1.8))
    length = int(rng.integers(3, 10))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    for along in np.linspace(-middle, middle, 4 * length):
        kernel[round(middle + along * np.sin(angle)), round(middle + along * np.cos(angle))] = 1
    return cv2.filter2D(image_hw3, -1, kernel / kernel.sum())
