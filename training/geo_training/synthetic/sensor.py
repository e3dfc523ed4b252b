"""What a real camera adds to a perfect picture: automatic exposure, motion blur, darker corners, noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geo_perception.geometry import Camera, invert_pose, so3_log
from geo_training.synthetic.render import develop


@dataclass(frozen=True)
class Sensor:
    """`exposure_ev` shifts the automatic exposure; `exposure_s` is how long the shutter is open, which turns rotation
    into blur; `noise` is the standard deviation at mid grey (0 to 1); `vignetting` the light lost in the corners."""

    exposure_ev: float = 0.0
    exposure_s: float = 0.008
    noise: float = 0.012
    vignetting: float = 0.18

    def expose(
        self, radiance_hw3: np.ndarray, camera: Camera, rng: np.random.Generator, turn_rad_s: np.ndarray | None = None
    ) -> np.ndarray:
        """Linear light (H, W, 3) to RGB uint8. `turn_rad_s` (3,) is the camera's rate of turn about its own axes."""
        light = radiance_hw3
        if turn_rad_s is not None:
            light = _blurred(light, camera, turn_rad_s * self.exposure_s)
        y, x = np.mgrid[0 : camera.height_px, 0 : camera.width_px].astype(np.float32)
        radius = np.hypot(x - camera.width_px / 2, y - camera.height_px / 2)
        radius /= np.hypot(camera.width_px, camera.height_px) / 2
        light = light * (1 - self.vignetting * radius**2)[..., None].astype(np.float32)
        metered = float(np.exp(np.log(light.mean(axis=2) + 1e-3).mean()))
        exposure = 0.24 / metered * 2.0**self.exposure_ev
        # Photons: the error grows with the root of the light; the square root of `develop` makes it even.
        light = light * np.float32(exposure)
        error = rng.standard_normal(light.shape, dtype=np.float32)
        light = light + error * np.sqrt(np.maximum(light, 0.01)) * np.float32(2 * self.noise)
        return develop(light)


def turn_rates(stamps_s: np.ndarray, T_world_camera: np.ndarray) -> np.ndarray:
    """Rate of turn (N, 3) about the camera's own axes, rad/s, by central differences."""
    rates = np.zeros((len(stamps_s), 3))
    for index in range(len(stamps_s)):
        before, after = max(index - 1, 0), min(index + 1, len(stamps_s) - 1)
        if after > before:
            T_before_after = invert_pose(T_world_camera[before]) @ T_world_camera[after]
            rates[index] = so3_log(T_before_after[:3, :3]) / (stamps_s[after] - stamps_s[before])
    return rates


def _blurred(light: np.ndarray, camera: Camera, turn_3: np.ndarray) -> np.ndarray:
    """Averages along the way the picture moved. The shutter opens and closes evenly about the stamp."""
    flow = np.array([-turn_3[1] * camera.fx_px, turn_3[0] * camera.fy_px])
    length = float(np.linalg.norm(flow))
    if length < 0.3:
        return light
    half = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 4 * half + 1):
        x, y = half + flow * share
        column, row = int(np.floor(x)), int(np.floor(y))
        for dy, wy in ((0, 1 - (y - row)), (1, y - row)):
            for dx, wx in ((0, 1 - (x - column)), (1, x - column)):
                if wx * wy > 0:
                    kernel[row + dy, column + dx] += wx * wy
    return cv2.filter2D(light, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
