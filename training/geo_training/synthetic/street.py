"""Outdoor scenes, drawn from a seed: a street, a square, scattered houses or a park, under a sky with its sun.

A street is a Room without walls: the camera may be anywhere within `size_m` that is not built on.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_training.synthetic import facades
from geo_training.synthetic.finishes import random_colour, tiles
from geo_training.synthetic.lighting import AreaLight, Lighting
from geo_training.synthetic.room import Room
from geo_training.synthetic.sky import Sky
from geo_training.synthetic.surfaces import Place, Surfaces
from geo_training.synthetic.textures import fractal_noise, shade, vary

SIZE_M = (40.0, 40.0, 40.0)  # where a camera may be
GROUND_M, TILE_M = 64.0, 8.0  # detailed ground, in tiles
GROUND_PIXELS_PER_M = 28.0
FAR_M = 3000.0  # plain ground, up to the horizon
SUN_M = 300.0  # the sun is a lamp as far as this, so that its light hardly spreads
LAYOUTS = ("street", "square", "scattered", "park")


def generate_street(seed: int, layout: str | None = None, ground_pixels_per_m: float = GROUND_PIXELS_PER_M) -> Room:
    """The outdoor scene of this seed, the same to the pixel each time; `layout` is one of LAYOUTS, drawn if None.

    Raises InputError for another layout, and for a ground coarser than 1 pixel a metre.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is not known; use one of {', '.join(LAYOUTS)}")
    if not 1 <= ground_pixels_per_m <= 100:
        raise InputError(f"a ground of {ground_pixels_per_m} pixels a metre cannot be drawn; give 1 to 100")
    return _Builder(seed, layout, ground_pixels_per_m).build()


def outdoor_lighting(rng: np.random.Generator) -> Lighting:
    """A random hour and weather: a clear, hazy or overcast sky, the sun high or low, or dusk."""
    cover = float(rng.choice([rng.uniform(0, 0.3), rng.uniform(0.3, 0.8), 1.0]))
    dusk = rng.random() < 0.15
    low = dusk or rng.random() < 0.35
    elevation = np.deg2rad(rng.uniform(4, 15) if low else rng.uniform(20, 65))
    azimuth = rng.uniform(-np.pi, np.pi)
    flat = np.cos(elevation)
    sun_3 = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    warm = np.array([1.35, 0.95, 0.55]) if low else np.array([1.08, 1.0, 0.88])
    strength = (0.15 if dusk else 1.0) * rng.uniform(1.0, 2.6) * (1 - cover) ** 0.7
    ambient = np.array([0.42, 0.48, 0.58]) * rng.uniform(0.7, 1.4) * (0.35 if dusk else 1.0)
    ambient += cover * 0.25 * (0.35 if dusk else 1.0)
    sky = Sky.draw(rng, sun_3, strength * warm, cover, float(rng.uniform(0.4, 1.0)) if low else 0.0)
    # A lamp of this power gives `strength` where it shines straight down from SUN_M.
    power = tuple(float(v) for v in strength * warm * SUN_M**2)
    lights = ()
    if strength > 0.02:
        across = np.cross(sun_3, [0.0, 0.0, 1.0])
        across /= np.linalg.norm(across)
        spread = rng.uniform(1.0, 6.0)
        lights = (_lamp(SUN_M * sun_3, spread * across, spread * np.cross(sun_3, across), power),)
    open_ground = ambient + strength * warm * sun_3[2]
    return Lighting(
        lights, tuple(ambient.tolist()), tuple(open_ground.tolist()), (1.0, 1.0, 1.0),
        cell_m=0.4, sky_rays=5, sky_reach_m=6.0, sky=sky,
    )  # fmt: skip


def _lamp(centre_3, half_a_3, half_b_3, power_rgb) -> AreaLight:
    vectors = (tuple(float(v) for v in vector) for vector in (centre_3, half_a_3, half_b_3))
    return AreaLight(*vectors, power_rgb, faint=0.0)


class _Builder:
    """The ground first, then houses where the layout wants them, then what stands between."""

    def __init__(self, seed: int, layout: str | None, ground_pixels_per_m: float):
        self.seed, self.ground_pixels_per_m = seed, ground_pixels_per_m
        self.rng = np.random.default_rng([seed, 25])
        self.layout = layout or str(self.rng.choice(LAYOUTS, p=[0.4, 0.25, 0.2, 0.15]))
        self.surfaces = Surfaces()
        self.footprints: list[tuple[np.ndarray, float]] = []
        self.along = Place(0.0, float(self.rng.uniform(-4, 4)), 0.0, float(self.rng.uniform(-np.pi, np.pi)))
        self.road_m = float(self.rng.uniform(5.0, 13.0))
        self.pavement_m = float(self.rng.uniform(1.2, 5.0))

    def build(self) -> Room:
        self._ground()
        self._houses()
        self._between()
        return Room(
            self.seed, SIZE_M, tuple(self.surfaces.quads), tuple(self.surfaces.instances), tuple(self.footprints),
            (), (), (),
        )  # fmt: skip

    def _ground(self) -> None:
        """Tiles cut from one picture of the ground, north at its top; plain ground beyond."""
        ground, rng = self.surfaces.instance("ground"), self.rng
        side = int(GROUND_M / TILE_M) * int(TILE_M * self.ground_pixels_per_m)
        picture = self._ground_picture(side)
        count, tile_px = int(GROUND_M / TILE_M), int(TILE_M * self.ground_pixels_per_m)
        for row in range(count):
            for column in range(count):
                part = picture[row * tile_px : (row + 1) * tile_px, column * tile_px : (column + 1) * tile_px]
                corner = (column * TILE_M - GROUND_M / 2, GROUND_M / 2 - row * TILE_M, 0.0)
                self.surfaces.quad(
                    Place(), corner, (TILE_M, 0, 0), (0, -TILE_M, 0), lambda h, w, part=part: part, ground,
                    self.ground_pixels_per_m, casts_shadow=False,
                )  # fmt: skip
        mean = tuple(float(v) for v in picture.reshape(-1, 3).mean(0))
        plain = lambda h, w: shade(mean, 0.75 + 0.5 * fractal_noise(rng, h, w, 200, 6))  # noqa: E731
        self.surfaces.quad(
            Place(), (-FAR_M, FAR_M, -0.06), (2 * FAR_M, 0, 0), (0, -2 * FAR_M, 0), plain, ground, emission=1.0,
            casts_shadow=False,
        )  # fmt: skip

    def _ground_picture(self, side: int) -> np.ndarray:
        """Grass or paving all over, then a road with its pavements and lines, RGB uint8 (side, side, 3)."""
        rng, scale = self.rng, side / GROUND_M
        rough = fractal_noise(rng, side // 2, side // 2, 60, 6)
        rough = cv2.resize(rough, (side, side)) + 0.12 * rng.standard_normal((side, side), dtype=np.float32)
        if self.layout in ("park", "scattered"):
            picture = shade(vary(rng, facades.GREENS[int(rng.integers(5))], 14), 0.55 + 0.8 * rough)
        else:
            picture = self._paving(side, scale)
        # Metres along the road (u) and to its left (v) of every pixel.
        steps = (np.arange(side, dtype=np.float32) + 0.5) / np.float32(scale) - np.float32(GROUND_M / 2)
        x, y = steps[None] - np.float32(self.along.x_m), -steps[:, None] - np.float32(self.along.y_m)
        c, s = np.float32(np.cos(self.along.yaw_rad)), np.float32(np.sin(self.along.yaw_rad))
        u, v = c * x + s * y, c * y - s * x
        half = self.road_m / 2
        if self.layout == "square" and rng.random() < 0.6:
            return picture
        # Signed distances to the edge in metres, negative inside, so that edges are smooth to a part of a pixel.
        aside = np.abs(v)
        _lay(picture, aside - half - self.pavement_m, self._paving(side, scale), scale)
        _lay(picture, aside - half, shade(vary(rng, (96, 96, 100), 14), 0.8 + 0.35 * rough), scale)
        _lay(picture, np.abs(aside - half - 0.09) - 0.09, vary(rng, (176, 174, 168), 10), scale)
        paint = vary(rng, (226, 224, 214), 8)
        dash_m, wide_m = rng.uniform(1.5, 6.0), rng.uniform(0.1, 0.25)
        within_dash = np.abs(np.mod(u, 2 * dash_m) - dash_m) - dash_m / 2
        _lay(picture, np.maximum(aside - wide_m / 2, within_dash), paint, scale)
        if rng.random() < 0.5:
            _lay(picture, np.abs(aside - half + 0.4) - wide_m / 2, paint, scale)
        if rng.random() < 0.5:
            along = np.abs(u - rng.uniform(-12, 12)) - 1.8
            bars = np.abs(np.mod(v, 1.0) - 0.5) - 0.25
            _lay(picture, np.maximum(np.maximum(along, aside - half), bars), paint, scale)
        return picture

    def _paving(self, side: int, scale: float) -> np.ndarray:
        """Slabs in rows that run along the road."""
        rng, wide = self.rng, int(side * 1.45)
        colour, size = vary(rng, (160, 156, 150), 18), tuple(float(v) for v in rng.uniform(0.25, 1.6, 2))
        near, joint = tuple(c * rng.uniform(0.8, 0.97) for c in colour), tuple(c * 0.6 for c in colour)
        slabs = tiles(rng, wide, wide, scale, size, (colour, near), joint, float(rng.choice([0.0, 0.5])))
        turn = cv2.getRotationMatrix2D((wide / 2, wide / 2), float(np.rad2deg(self.along.yaw_rad)), 1.0)
        turned = cv2.warpAffine(slabs, turn, (wide, wide), flags=cv2.INTER_LINEAR)
        first = (wide - side) // 2
        return np.ascontiguousarray(turned[first : first + side, first : first + side])

    def _houses(self) -> None:
        rng, count = self.rng, int(self.rng.integers(4, 15))
        if self.layout == "street":
            for side in (-1, 1):
                u = -45.0
                while u < 45.0:
                    size = rng.uniform([5, 7, 4], [18, 14, rng.uniform(6, 26)])
                    setback = self.road_m / 2 + self.pavement_m + rng.uniform(0, 1.5) + size[1] / 2
                    turn = 0.0 if side > 0 else np.pi
                    self._house(self.along.at(u + size[0] / 2, side * setback, 0, turn), size)
                    u += size[0] + (rng.uniform(1, 6) if rng.random() < 0.4 else 0.0)
            return
        reach = {"square": (13.0, 30.0), "scattered": (9.0, 45.0), "park": (22.0, 60.0)}[self.layout]
        for _ in range(count):
            bearing, size = rng.uniform(-np.pi, np.pi), rng.uniform([6, 6, 3], [20, 16, rng.uniform(5, 30)])
            away = rng.uniform(*reach) + np.hypot(size[0], size[1]) / 2
            heading = bearing - np.pi / 2 if rng.random() < 0.5 else self.along.yaw_rad
            heading += rng.choice([0.0, rng.normal(0, 0.4)])
            self._house(Place(away * np.cos(bearing), away * np.sin(bearing), 0.0, heading), size)

    def _house(self, place: Place, size_3: np.ndarray) -> None:
        if self._claim(place, size_3, 0.0):
            facades.house(self.surfaces, place, size_3, np.random.default_rng(self.rng.integers(2**31)))

    def _between(self) -> None:
        """Trees, cars, posts, fences and boxes where there is room."""
        rng, park = self.rng, self.layout == "park"
        trees = int(rng.integers(14, 34)) if park else int(rng.integers(0, 9))
        reach_m = float(rng.uniform(18, 31))
        for _ in range(trees):
            height = rng.uniform(2.5, 14.0)
            place = self._spot(reach_m)
            if self._claim(place, np.array([0.6, 0.6, height]), 0.4):
                facades.tree(self.surfaces, place, height, rng, int(rng.integers(40, 110)))
        for _ in range(int(rng.integers(0, 3 if park else 9))):
            lane = (self.road_m / 2 - 1.2) * rng.choice([-1, 1])
            place = self.along.at(rng.uniform(-28, 28), lane, 0, rng.choice([0, np.pi]) + rng.normal(0, 0.03))
            if rng.random() < 0.3:
                place = self._spot(reach_m)
            if self._claim(place, np.array([5.4, 2.0, 2.0]), 0.3):
                facades.car(self.surfaces, place, rng)
        for _ in range(int(rng.integers(0, 9))):
            place = self._spot(reach_m)
            if self._claim(place, np.array([0.4, 0.4, 5.0]), 0.3):
                facades.lamp_post(self.surfaces, place, rng)
        for _ in range(int(rng.integers(0, 4))):
            place, length = self._spot(reach_m), float(rng.uniform(3, 14))
            if self._claim(place, np.array([length, 0.3, 2.0]), 0.2):
                facades.fence(self.surfaces, place, length, rng)
        for _ in range(int(rng.integers(0, 6))):
            place, size = self._spot(reach_m), rng.uniform([0.3, 0.3, 0.3], [2.5, 1.5, 2.2])
            if self._claim(place, size, 0.2):
                thing, colour = self.surfaces.instance("block"), random_colour(rng)
                draw = partial(facades.plaster, rng, colour=colour)
                self.surfaces.box(place, size, draw, thing, None, 60.0)

    def _spot(self, reach_m: float) -> Place:
        x, y = self.rng.uniform(-reach_m, reach_m, 2)
        heading = self.rng.choice([self.along.yaw_rad, self.along.yaw_rad + np.pi / 2, self.rng.uniform(-3, 3)])
        return Place(float(x), float(y), 0.0, float(heading))

    def _claim(self, place: Place, size_3: np.ndarray, gap_m: float) -> bool:
        """Takes the ground for a thing, unless something stands there or would come within `gap_m`; the middle stays
        free."""
        half_w, half_d = size_3[0] / 2 + gap_m, size_3[1] / 2 + gap_m
        corners = [place.world((sx * half_w, sy * half_d, 0))[:2] for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        outline = np.array(corners, np.float32)
        if cv2.pointPolygonTest(outline, (0.0, 0.0), True) > -1.5:
            return False
        for other, _ in self.footprints:
            if cv2.intersectConvexConvex(outline, other.astype(np.float32))[0] > 0:
                return False
        self.footprints.append((np.array(corners), float(size_3[2])))
        return True


def _lay(picture_hw3: np.ndarray, distance_hw: np.ndarray, colour, pixels_per_m: float) -> None:
    """Lays a colour, or another picture, where the signed distance (metres) is negative."""
    rows = np.flatnonzero((distance_hw * pixels_per_m < 0.5).any(axis=1))
    for row in rows:
        share = np.clip(0.5 - distance_hw[row] * pixels_per_m, 0, 1)[:, None]
        over = colour[row] if isinstance(colour, np.ndarray) else np.asarray(colour)
        picture_hw3[row] = picture_hw3[row] + share * (over - picture_hw3[row].astype(np.float32))
