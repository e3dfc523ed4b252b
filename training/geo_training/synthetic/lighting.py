"""The light of a room: lamps, windows, and what comes from everywhere. It is worked out once per room and light, as a
small map of irradiance on every surface, with soft shadows and darker corners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from geo_training.synthetic.surfaces import Quad

if TYPE_CHECKING:
    from geo_training.synthetic.room import Room

CELL_M = 0.14  # one sample of the light map
MAX_CELLS = 44
SKY_RAYS = 28  # directions in which a point looks for what shuts it in
SKY_REACH_M = 0.9
CHUNK_RAYS = 3000


@dataclass(frozen=True)
class AreaLight:
    """A rectangle that shines, `centre` +- `half_a` +- `half_b` (world, metres); `power_rgb` is its radiance times its
    area. With a `normal` it shines to that side only, by the cosine. Where less than `faint` of its power arrives it
    casts no shadow (a sun, strong and far, wants 0)."""

    centre: tuple[float, float, float]
    half_a: tuple[float, float, float]
    half_b: tuple[float, float, float]
    power_rgb: tuple[float, float, float]
    normal: tuple[float, float, float] | None = None
    faint: float = 1e-4


@dataclass(frozen=True)
class Lighting:
    """`ambient_rgb` comes from everywhere, dimmed in corners; `glow_rgb` multiplies what radiates by itself.

    The light is worked out at cells of `cell_m`, and a point looks in `sky_rays` directions, `sky_reach_m` far, for
    what shuts it in. `sky` gives the radiance (N, 3) of unit directions (N, 3) in the world in which no surface is
    seen; without it they are black.
    """

    lights: tuple[AreaLight, ...]
    ambient_rgb: tuple[float, float, float]
    window_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lamp_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    cell_m: float = CELL_M
    sky_rays: int = SKY_RAYS
    sky_reach_m: float = SKY_REACH_M
    sky: Callable[[np.ndarray], np.ndarray] | None = None

    @classmethod
    def daylight(cls, room: Room, brightness: float = 1.0, temperature_k: float = 6200.0) -> Lighting:
        """Light from the windows and the bright walls; the lamps are off."""
        tint, strength = light_colour(temperature_k), 3.4 * brightness
        lights = tuple(_window_light(window, strength * tint) for window in room.windows)
        return cls(lights, tuple(0.55 * brightness * tint), tuple(1.5 * brightness * tint), (0.25, 0.25, 0.25))

    @classmethod
    def evening(cls, room: Room, brightness: float = 1.0, temperature_k: float = 3300.0) -> Lighting:
        """The ceiling lamps and the floor lamps are on; it is dark outside."""
        tint = light_colour(temperature_k)
        panel = ((0.45, 0.0, 0.0), (0.0, 0.15, 0.0))
        lights = [
            AreaLight(_tuple(lamp - [0, 0, 0.01]), *panel, _tuple(2.4 * brightness * tint), (0.0, 0.0, -1.0))
            for lamp in room.lamps
        ]
        for lamp in room.floor_lamps:
            shade = ((0.13, 0.0, 0.0), (0.0, 0.13, 0.0))
            lights.append(AreaLight(_tuple(lamp), *shade, _tuple(0.75 * brightness * light_colour(2800.0))))
        return cls(tuple(lights), tuple(0.42 * brightness * tint), (0.10, 0.13, 0.22), _tuple(1.3 * brightness * tint))


def light_maps(room: Room, lighting: Lighting) -> list[np.ndarray]:
    """Irradiance on every quad of the room: float32 (h, w, 3), the samples spread evenly over the quad."""
    occluders = _Occluders([quad for quad in room.quads if quad.casts_shadow])
    grids = [_grid(quad, lighting.cell_m) for quad in room.quads]
    points_n3 = np.concatenate([points.reshape(-1, 3) for points, _ in grids])
    normals_n3 = np.concatenate(
        [np.tile(quad.normal_3, (p.shape[0] * p.shape[1], 1)) for quad, (p, _) in zip(room.quads, grids, strict=True)]
    )
    points_n3 = points_n3 + 0.012 * normals_n3
    rng = np.random.default_rng(7)
    light_n3 = _sky(lighting, occluders, points_n3, normals_n3, rng)[:, None] * np.asarray(lighting.ambient_rgb)
    for light in lighting.lights:
        light_n3 += _received(light, occluders, points_n3, normals_n3, rng)[:, None] * np.asarray(light.power_rgb)
    maps, first = [], 0
    for points, _ in grids:
        count = points.shape[0] * points.shape[1]
        samples = light_n3[first : first + count].reshape(*points.shape[:2], 3).astype(np.float32)
        maps.append(cv2.GaussianBlur(samples, (3, 3), 0, borderType=cv2.BORDER_REPLICATE))  # evens out few rays
        first += count
    return maps


class _Occluders:
    """Whether something stands between two points: all quads at once, as matrix products."""

    def __init__(self, quads: list[Quad]):
        right, down = np.array([q.right_3 for q in quads]), np.array([q.down_3 for q in quads])
        normal = np.cross(right, down)
        # Coordinates along the edges: the rows of the inverse of [right down normal].
        inverse = np.linalg.inv(np.stack([right, down, normal], axis=-1))
        corner = np.array([q.corner_3 for q in quads])
        self._rows = [np.ascontiguousarray(inverse[:, i].T, np.float32) for i in range(3)]
        self._offset = [(inverse[:, i] * corner).sum(1).astype(np.float32) for i in range(3)]
        self._whole = np.array([not q.triangle for q in quads])

    def blocked(self, start_n3: np.ndarray, reach_n3: np.ndarray) -> np.ndarray:
        """bool (N,): is there a surface between start and start + reach, ends left out?"""
        blocked_n = np.zeros(len(start_n3), bool)
        for first in range(0, len(start_n3), CHUNK_RAYS):
            part = slice(first, first + CHUNK_RAYS)
            start, reach = start_n3[part].astype(np.float32), reach_n3[part].astype(np.float32)
            height, slope = start @ self._rows[2] - self._offset[2], reach @ self._rows[2]
            with np.errstate(divide="ignore", invalid="ignore"):
                t = -height / slope
                u = start @ self._rows[0] - self._offset[0] + t * (reach @ self._rows[0])
                v = start @ self._rows[1] - self._offset[1] + t * (reach @ self._rows[1])
                hit = (t > 1e-3) & (t < 0.985) & (np.abs(u - 0.5) < 0.5) & (np.abs(v - 0.5) < 0.5)
                if not self._whole.all():
                    hit &= self._whole | (u + v < 1)
            blocked_n[part] = hit.any(axis=1)
        return blocked_n


def _received(light: AreaLight, occluders: _Occluders, points_n3, normals_n3, rng) -> np.ndarray:
    """The share of a light's power that reaches each point, from six spots spread over the light."""
    total_n = np.zeros(len(points_n3))
    spots = [(a, b) for a in (-0.66, 0.0, 0.66) for b in (-0.5, 0.5)]
    for a, b in spots:
        jitter = rng.uniform(-0.25, 0.25, (len(points_n3), 2)) + [a, b]
        spot_n3 = np.asarray(light.centre) + jitter[:, :1] * light.half_a + jitter[:, 1:] * light.half_b
        reach_n3 = spot_n3 - points_n3
        distance_n = np.linalg.norm(reach_n3, axis=1) + 1e-9
        share_n = (reach_n3 * normals_n3).sum(1).clip(0) / distance_n
        if light.normal is not None:
            share_n *= (-(reach_n3 @ np.asarray(light.normal)) / distance_n).clip(0)
        share_n /= np.maximum(distance_n, 0.35) ** 2
        lit = np.flatnonzero(share_n > light.faint)
        share_n[lit[occluders.blocked(points_n3[lit], reach_n3[lit])]] = 0
        total_n += share_n / len(spots)
    return total_n


def _sky(lighting: Lighting, occluders: _Occluders, points_n3, normals_n3, rng) -> np.ndarray:
    """How open each point is, 0.25 to 1: the share of directions about the normal that are free for a while."""
    open_n = np.zeros(len(points_n3))
    for _ in range(lighting.sky_rays):
        direction_n3 = rng.standard_normal((len(points_n3), 3))
        direction_n3 /= np.linalg.norm(direction_n3, axis=1, keepdims=True)
        direction_n3 += normals_n3 * 1.001
        direction_n3 *= lighting.sky_reach_m / np.linalg.norm(direction_n3, axis=1, keepdims=True)
        open_n += ~occluders.blocked(points_n3, direction_n3)
    return 0.25 + 0.75 * open_n / lighting.sky_rays


def _grid(quad: Quad, cell_m: float) -> tuple[np.ndarray, tuple[int, int]]:
    shape = [int(np.clip(round(np.linalg.norm(e) / cell_m), 2, MAX_CELLS)) for e in (quad.down_3, quad.right_3)]
    s = (np.arange(shape[1]) + 0.5) / shape[1]
    t = (np.arange(shape[0]) + 0.5) / shape[0]
    points = quad.corner_3 + t[:, None, None] * quad.down_3 + s[None, :, None] * quad.right_3
    return points, tuple(shape)


def _window_light(window, power_rgb) -> AreaLight:
    centre, half_a, half_b, normal = window
    area = 4 * np.linalg.norm(half_a) * np.linalg.norm(half_b)
    return AreaLight(_tuple(centre), _tuple(half_a), _tuple(half_b), _tuple(area * power_rgb), _tuple(normal))


def light_colour(temperature_k: float) -> np.ndarray:
    """RGB of a black body, green 1: a fit by hand that is good enough for the eye between 2500 and 9000 K."""
    warm = np.log(temperature_k / 5800.0)
    return np.array([np.exp(-0.55 * warm), 1.0, np.exp(0.85 * warm)])


def _tuple(values) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
