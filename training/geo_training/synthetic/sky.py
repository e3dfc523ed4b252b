"""Skies: what is seen where no surface hides it, by the direction of the ray. A gradient, clouds, the sun, and far
hills or roofs along the horizon."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geo_training.synthetic.textures import fractal_noise

_CLOUD_PX = 768
_RIDGE_SAMPLES = 2048


@dataclass(frozen=True, eq=False)
class Sky:
    """`sky(direction_n3)` is the radiance (N, 3), float32, from unit directions in the world (z up).

    `zenith_rgb` and `horizon_rgb` are the ends of the gradient; `sun_3` points to the sun, whose glow is `sun_rgb`;
    `clouds_hw` in [0, 1] lies on a plane above, and covers the sky by `cloud_rgb`; `ridges` are (elevation in rad by
    azimuth (R,), RGB (3,)), the farthest first.
    """

    zenith_rgb: np.ndarray
    horizon_rgb: np.ndarray
    sun_3: np.ndarray
    sun_rgb: np.ndarray
    cloud_rgb: np.ndarray
    clouds_hw: np.ndarray
    ridges: tuple[tuple[np.ndarray, np.ndarray], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, sun_3: np.ndarray, sun_rgb: np.ndarray, cover: float, warm: float) -> Sky:
        """A random sky. `cover` (0 to 1) is how much the clouds hide; `warm` (0 to 1) reddens the horizon."""
        blue = np.array([0.30, 0.52, 0.95]) * rng.uniform(0.6, 1.3)
        grey = np.full(3, rng.uniform(0.55, 1.0))
        pale = np.array([0.85, 0.93, 1.0]) * rng.uniform(0.8, 1.3)
        dusk = np.array([1.3, 0.75, 0.45]) * rng.uniform(0.6, 1.1)
        noise = fractal_noise(rng, _CLOUD_PX, _CLOUD_PX, rng.uniform(3, 12), 7)
        edge = np.quantile(noise, 1 - np.clip(cover, 0.0, 0.999))
        clouds = np.clip((noise - edge) / rng.uniform(0.06, 0.35), 0, 1)
        ridges, tone = [], pale * 0.7
        for _ in range(int(rng.integers(0, 4))):
            tone = tone * rng.uniform(0.45, 0.85) * np.exp(rng.normal(0, 0.12, 3))
            ridges.append((_ridge(rng), tone))
        return cls(
            zenith_rgb=(1 - cover**3) * blue + cover**3 * grey,
            horizon_rgb=(1 - warm) * pale + warm * dusk,
            sun_3=sun_3 / np.linalg.norm(sun_3),
            sun_rgb=np.asarray(sun_rgb, np.float64),
            cloud_rgb=grey * rng.uniform(0.8, 1.4),
            clouds_hw=clouds.astype(np.float32),
            ridges=tuple(ridges),
        )

    def __call__(self, direction_n3: np.ndarray) -> np.ndarray:
        x, y, z = np.asarray(direction_n3, np.float32).T
        up = np.clip(z, 0, 1)[:, None]
        share = up**0.55
        light = (self.horizon_rgb + share * (self.zenith_rgb - self.horizon_rgb)).astype(np.float32)
        # Clouds on a plane: the picture is mirrored at its ends, and fades in the haze above the horizon.
        height = np.maximum(z, 0.0) + np.float32(0.08)
        column, row = ((0.5 + 0.18 * v / height) * _CLOUD_PX for v in (x, y))
        cloud = _lookup(self.clouds_hw, column, row)[:, None] * np.clip(up * 8, 0, 1)
        light += cloud * (self.cloud_rgb - light)
        nearness = np.clip(np.stack([x, y, z], 1) @ self.sun_3.astype(np.float32), -1, 1)
        glow = 0.25 * np.clip(nearness, 0, 1) ** 24 + 12.0 * (nearness > np.cos(np.deg2rad(1.0)))
        light += (glow[:, None] * (1 - 0.9 * cloud)) * self.sun_rgb
        azimuth = np.arctan2(y, x)
        elevation = np.arcsin(np.clip(z, -1, 1))
        for ridge_r, tone_3 in self.ridges:
            # Azimuth -pi is the first sample; the last is followed by the first.
            place = (azimuth / (2 * np.pi) + 0.5) * len(ridge_r)
            top = np.interp(place, np.arange(len(ridge_r) + 1), np.append(ridge_r, ridge_r[0]))
            light[elevation < top] = tone_3
        return light.astype(np.float32)


def _ridge(rng: np.random.Generator) -> np.ndarray:
    """The skyline by azimuth, radians (R,): hills, or the steps of far roofs."""
    angle = np.arange(_RIDGE_SAMPLES) * 2 * np.pi / _RIDGE_SAMPLES
    if rng.random() < 0.4:
        cuts = np.sort(rng.choice(_RIDGE_SAMPLES, int(rng.integers(20, 120)), replace=False))
        heights = np.deg2rad(rng.uniform(0.3, rng.uniform(2, 10), len(cuts)))
        return heights[np.searchsorted(cuts, np.arange(_RIDGE_SAMPLES)) % len(cuts)]
    ridge = np.zeros(_RIDGE_SAMPLES)
    for order in range(1, 60):
        ridge += rng.normal(0, 1) / order**1.2 * np.sin(order * angle + rng.uniform(0, 2 * np.pi))
    ridge = (ridge - ridge.min()) / max(float(np.ptp(ridge)), 1e-9)
    return np.deg2rad(rng.uniform(0, 2) + rng.uniform(1, 14) * ridge)


def _lookup(image_hw: np.ndarray, column_n: np.ndarray, row_n: np.ndarray) -> np.ndarray:
    """Bilinear samples of an image, mirrored at its borders, float32 (N,)."""
    count, wide = len(column_n), 512
    grid = np.zeros((2, -(-count // wide) * wide), np.float32)
    grid[0, :count], grid[1, :count] = column_n, row_n
    columns, rows = grid.reshape(2, -1, wide)
    return cv2.remap(image_hw, columns, rows, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT).ravel()[:count]
