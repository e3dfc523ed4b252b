"""A shop: parallel aisles between racks of a few kinds, drawn from a seed. Every aisle has all kinds, the same to the
pixel, in an order of its own, so that an aisle is told from another by the order of its racks alone.

The world frame stands on the middle of the floor: z up, metres (REP 103); aisles run along x, the first at the largest
y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from geo_perception.errors import InputError
from geo_training.synthetic import prints, textures
from geo_training.synthetic.furniture import PRINT_PIXELS_PER_M, lacquer
from geo_training.synthetic.lighting import AreaLight, Lighting, light_colour
from geo_training.synthetic.paths import Walk, camera_pose, drift
from geo_training.synthetic.room import Room
from geo_training.synthetic.surfaces import Place, Quad, Surfaces

KINDS = 12
RACK_M = (0.9, 0.45, 2.0)  # width, depth, height of a unit
AISLE_M, CORRIDOR_M, CEILING_M = 1.8, 1.3, 3.0  # width of an aisle, of the way round its ends; height
SHELVES_M = (0.12, 0.52, 0.88, 1.24, 1.6)  # upper sides of the boards that carry goods
EDGE_M = (0.1, 1.3)  # how far from the ends of the racks a way along an aisle begins and ends
STEP_S, PAUSE_S = 0.4, 20.0  # from frame to frame, and before each way but the first
GAZE_RAD = np.deg2rad((12.0, 82.0))  # from the way ahead to the left: least and most
PAINTERS = (prints.lettering, prints.geometric, prints.facets, prints.abstract, prints.botanical)


@dataclass(frozen=True, eq=False)
class Shop:
    """`room` is what is rendered. `kind_ru` (rows, units): the kind of rack at each place; rows 2a and 2a + 1 are the
    left and right side of aisle a, facing +x, and units go along +x."""

    room: Room
    kind_ru: np.ndarray

    @classmethod
    def generate(cls, seed: int, aisles: int = 5, units: int = 6) -> Shop:
        """The shop of this seed. The same seed gives the same shop, to the pixel.

        Raises InputError for fewer than one aisle or two units.
        """
        if aisles < 1 or units < 2:
            raise InputError(f"a shop of {aisles} aisles of {units} racks is none; give at least 1 and 2")
        return _build(seed, aisles, units)

    @property
    def aisles(self) -> int:
        return len(self.kind_ru) // 2

    @property
    def length_m(self) -> float:
        """Of the racks along an aisle."""
        return RACK_M[0] * self.kind_ru.shape[1]

    def middle_y_m(self, aisle: int) -> float:
        return ((self.aisles - 1) / 2 - aisle) * _pitch_m()

    def lighting(self, brightness: float = 1.0, temperature_k: float = 4200.0) -> Lighting:
        """The lamps over the aisles; the warmer and dimmer, the later in the evening."""
        colour = light_colour(temperature_k)
        power = tuple(float(v) for v in 2.6 * brightness * colour)
        half = (self.length_m / 2 - 0.3, 0.0, 0.0), (0.0, 0.1, 0.0)
        lights = tuple(
            AreaLight(tuple(float(v) for v in lamp - [0, 0, 0.01]), *half, power, (0.0, 0.0, -1.0))
            for lamp in self.room.lamps
        )
        ambient, glow = tuple(0.5 * brightness * colour), tuple(1.3 * brightness * colour)
        return Lighting(lights, ambient, (0.1, 0.1, 0.1), glow, sky_rays=16)

    def walk(self, aisles: tuple[int, ...], seed: int, frames: int, height_m: float = 1.4) -> Walk:
        """`frames` poses on a way up and down each of these aisles, looking ahead and across to the racks on the left.

        Other seeds sway and look differently. Raises InputError for an aisle that is not there, or too few frames.
        """
        if not aisles or not all(0 <= aisle < self.aisles for aisle in aisles):
            raise InputError(f"there are aisles 0 to {self.aisles - 1}, not {', '.join(map(str, aisles)) or 'none'}")
        legs = [(aisle, ahead) for aisle in aisles for ahead in (1, -1)]
        if frames < 2 * len(legs):
            raise InputError(f"{frames} frames are too few for {len(aisles)} aisles; give at least {2 * len(legs)}")
        rng, poses, parts = np.random.default_rng([seed, 31]), [], np.array_split(np.arange(frames), len(legs))
        for (aisle, ahead), members in zip(legs, parts, strict=True):
            share_n = (np.arange(len(members)) + rng.uniform(0.3, 0.7)) / len(members)
            x_n = ahead * (share_n * (self.length_m - sum(EDGE_M)) + EDGE_M[0] - self.length_m / 2)
            y_n = self.middle_y_m(aisle) + 0.35 * drift(rng, share_n, 0.6)
            z_n = height_m + 0.12 * drift(rng, share_n, 0.5)
            middle_rad, reach_rad = np.mean(GAZE_RAD), np.ptp(GAZE_RAD) / 2
            yaw_n = (0.0 if ahead > 0 else np.pi) + middle_rad + reach_rad * drift(rng, share_n, 0.7)
            pitch_n = np.deg2rad(-6.0 + 7.0 * drift(rng, share_n, 0.4))
            roll_n = np.deg2rad(3.0 * drift(rng, share_n, 0.2))
            for x, y, z, yaw, pitch, roll in zip(x_n, y_n, z_n, yaw_n, pitch_n, roll_n, strict=True):
                poses.append(camera_pose(np.array([x, y, z]), yaw, pitch, roll))
        stamps_s = [leg * PAUSE_S + members * STEP_S for leg, members in enumerate(parts)]
        return Walk(np.concatenate(stamps_s), np.array(poses))


def _pitch_m() -> float:
    return AISLE_M + 2 * RACK_M[1]


def _build(seed: int, aisles: int, units: int) -> Shop:
    rng = np.random.default_rng([seed, 30])
    size_m = (RACK_M[0] * units + 2 * CORRIDOR_M, _pitch_m() * aisles, CEILING_M)
    surfaces = Surfaces()
    _shell(surfaces, size_m, rng)
    kinds = [_kind(np.random.default_rng([seed, 32, kind])) for kind in range(KINDS)]
    end = lacquer(rng, (206, 208, 210))
    kind_ru, footprints, lamps = _orders(rng, aisles, units), [], []
    for aisle in range(aisles):
        middle_y_m = ((aisles - 1) / 2 - aisle) * _pitch_m()
        for side in (0, 1):
            # The left rack of who walks to +x has its back at +y, the right one is turned to face it.
            away = 1 if side == 0 else -1
            row = Place(0.0, middle_y_m + away * (AISLE_M / 2 + RACK_M[1] / 2), 0.0, 0.0 if side == 0 else np.pi)
            for unit, kind in enumerate(kind_ru[2 * aisle + side]):
                x = (unit - (units - 1) / 2) * RACK_M[0]
                _stand(surfaces, kinds[kind], row.at(away * x, 0), f"rack {kind}")
            panel = surfaces.instance("rack end")
            for along in (-1, 1):
                spot, faces = row.at(along * (RACK_M[0] * units / 2 + 0.015), 0), {"front": end, "back": None}
                surfaces.box(spot, (0.03, RACK_M[1], RACK_M[2]), end, panel, faces, 120.0)
            half = np.array([RACK_M[0] * units / 2 + 0.03, RACK_M[1] / 2])
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + [row.x_m, row.y_m]
            footprints.append((corners, RACK_M[2]))
        lamps.append(np.array([0.0, middle_y_m, CEILING_M - 0.06]))
        lamp = surfaces.instance("ceiling lamp")
        faces = {"top": None, "bottom": lambda h, w: np.full((h, w, 3), 235, np.uint8)}
        grey, size = lacquer(rng, (210, 210, 208)), (RACK_M[0] * units - 0.6, 0.2, 0.06)
        surfaces.box(Place(*lamps[-1]), size, grey, lamp, faces, 60.0, emission=0.75, casts_shadow=False)
    room = Room(seed, size_m, tuple(surfaces.quads), tuple(surfaces.instances), tuple(footprints), (), tuple(lamps), ())
    return Shop(room, kind_ru)


def _orders(rng: np.random.Generator, aisles: int, units: int) -> np.ndarray:
    """Kinds (rows, units): each aisle has all of them, none twice where it has no more racks than there are kinds."""
    orders = [np.resize(rng.permutation(KINDS), 2 * units) for _ in range(aisles)]
    return np.concatenate(orders).reshape(2 * aisles, units)


def _shell(surfaces: Surfaces, size_m, rng: np.random.Generator) -> None:
    width, depth, height = size_m
    floor, ceiling = surfaces.instance("floor"), surfaces.instance("ceiling")
    grey, white = (partial(textures.plaster, rng, colour=tone) for tone in ((168, 166, 160), (232, 232, 228)))
    surfaces.quad(Place(), (-width / 2, depth / 2, 0), (width, 0, 0), (0, -depth, 0), grey, floor, 120.0)
    surfaces.quad(Place(), (-width / 2, -depth / 2, height), (width, 0, 0), (0, depth, 0), white, ceiling, 100.0)
    for x, y, yaw, length in (
        (0, depth / 2, 0, width), (width / 2, 0, -np.pi / 2, depth),
        (0, -depth / 2, np.pi, width), (-width / 2, 0, np.pi / 2, depth),
    ):  # fmt: skip
        wall, paint = surfaces.instance("wall"), partial(textures.plaster, rng, colour=(214, 210, 200))
        surfaces.quad(Place(x, y, 0, yaw), (-length / 2, 0, height), (length, 0, 0), (0, 0, -height), paint, wall)


def _stand(surfaces: Surfaces, kind: list[Quad], place: Place, name: str) -> None:
    """A copy of a kind's quads at `place`: the same textures, one object."""
    thing = surfaces.instance(name)
    for quad in kind:
        corner_3, right_3, down_3 = place.world(quad.corner_3), place.turn(quad.right_3), place.turn(quad.down_3)
        surfaces.quads.append(replace(quad, corner_3=corner_3, right_3=right_3, down_3=down_3, instance=thing))


def _kind(rng: np.random.Generator) -> list[Quad]:
    """A rack that stands in the middle, its back towards +y: boards, posts, and goods row by row."""
    (width, depth, height), made = RACK_M, Surfaces()
    metal, back = lacquer(rng, (204, 206, 208)), lacquer(rng, (226, 224, 216))
    corner = (-width / 2, depth / 2 - 0.02, height)
    made.quad(Place(), corner, (width, 0, 0), (0, 0, -height), back, 0, 120.0)
    for side in (-1, 1):
        faces = {"back": None, "top": None}
        post = Place(side * (width / 2 - 0.015), -0.02)
        made.box(post, (0.03, depth - 0.04, height), metal, 0, faces, 120.0, casts_shadow=False)
    for top_m, above_m in zip(SHELVES_M, (*SHELVES_M[1:], height), strict=True):
        thick = top_m if top_m == SHELVES_M[0] else 0.035
        faces = {"back": None, "left": None, "right": None, "front": partial(_price_strip, rng)}
        faces |= {"bottom": metal} if top_m > 1.2 else {}
        board = Place(0, -0.005, top_m - thick)
        made.box(
            board, (width - 0.06, depth - 0.03, thick), metal, 0, faces, 300.0, casts_shadow=top_m in SHELVES_M[::2]
        )
        _goods(made, Place(0, 0, top_m), width - 0.08, depth, above_m - top_m - 0.06, rng)
    if rng.random() < 0.5:  # a bin that juts out into the aisle
        bin_m = (rng.uniform(0.26, 0.4), 0.16, rng.uniform(0.3, 0.5))
        spot = Place(rng.uniform(-0.2, 0.2), -depth / 2 - bin_m[1] / 2)
        draw = partial(PAINTERS[int(rng.integers(len(PAINTERS)))], rng)
        made.box(spot, bin_m, draw, 0, {"back": None}, 320.0, casts_shadow=False)
    return made.quads


def _goods(made: Surfaces, shelf: Place, width_m: float, depth_m: float, room_m: float, rng: np.random.Generator):
    """Two or three kinds of goods side by side, each a block of like packages; some are pulled forward."""
    edges = np.concatenate([[0], np.cumsum(rng.dirichlet(np.full(int(rng.integers(2, 4)), 6.0)))]) - 0.5
    for left, right in zip(edges * width_m, edges[1:] * width_m, strict=False):
        tall, wide = room_m * rng.uniform(0.55, 0.98), right - left - 0.012
        deep = depth_m * rng.uniform(0.5, 0.9) if rng.random() < 0.8 else depth_m + 0.04
        faces = {"front": partial(_packages, rng, round(wide / rng.uniform(0.1, 0.2))), "back": None}
        spot = shelf.at((left + right) / 2, depth_m / 2 - 0.03 - deep / 2)
        plain = lacquer(rng, tuple(float(v) for v in rng.uniform(40, 220, 3)))
        made.box(spot, (wide, deep, tall), plain, 0, faces, PRINT_PIXELS_PER_M, casts_shadow=False)


def _packages(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """The front of `count` like packages side by side."""
    count = max(count, 1)
    wide = max(width // count, 8)
    one = PAINTERS[int(rng.integers(len(PAINTERS)))](rng, height, wide)
    one[:, [0, -1]] = one[:, [0, -1]] // 2
    row = np.concatenate([one] * count, axis=1)[:, :width]
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), mode="edge")


def _price_strip(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The edge of a board with its price tags."""
    image = np.full((height, width, 3), rng.integers(190, 235), np.uint8)
    x = rng.uniform(0.02, 0.1) * width
    while x < 0.95 * width:
        wide = int(rng.uniform(0.04, 0.08) * width)
        tag = textures.printed_page(rng, height, wide, tuple(float(v) for v in rng.uniform(180, 250, 3)))
        part = image[:, int(x) : int(x) + wide]
        part[:] = tag[:, : part.shape[1]]
        x += wide + rng.uniform(0.03, 0.16) * width
    return image
