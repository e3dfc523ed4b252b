"""A furnished room, drawn from a seed. The world frame stands on the middle of the floor: z up, metres (REP 103).

room = Room.generate(seed=0)
picture = render(room, Camera(480, 360, 360, 360, 239.5, 179.5), T_world_camera, Lighting.daylight(room))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_training.synthetic import prints, textures
from geo_training.synthetic.furniture import FURNITURE, PRINT_PIXELS_PER_M, lacquer, timber
from geo_training.synthetic.surfaces import Place, Quad, Surfaces

WALL_COLOURS = ((226, 220, 206), (206, 214, 212), (222, 208, 186), (196, 204, 190), (214, 204, 210))
GAP_M = 0.12


@dataclass(frozen=True)
class Piece:
    """What is moved as one: furniture with all that stands on it, a picture, a door, a window with its curtains.

    It was built in the frame `place`. `instances`, `footprints`, `windows` and `floor_lamps` are those of the room that
    belong to it.
    """

    name: str
    place: Place
    instances: range
    footprints: range
    windows: range
    floor_lamps: range


@dataclass(frozen=True, eq=False)
class Room:
    """`quads` are all surfaces, `instances` the name of each object id (0 is nothing), `footprints` the corners (4, 2)
    of what stands on the floor with its height, `windows` and `lamps` where light comes from.

    `windows`: (centre_3, half width_3, half height_3, inward normal_3); `lamps`: ceiling lights, (3,) each;
    `floor_lamps`: (3,) each. `pieces` are all but the shell and the ceiling lamps.
    """

    seed: int
    size_m: tuple[float, float, float]
    quads: tuple[Quad, ...]
    instances: tuple[str, ...]
    footprints: tuple[tuple[np.ndarray, float], ...]
    windows: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]
    lamps: tuple[np.ndarray, ...]
    floor_lamps: tuple[np.ndarray, ...]
    pieces: tuple[Piece, ...] = ()

    @classmethod
    def generate(cls, seed: int, size_m: tuple[float, float, float] = (6.0, 4.5, 2.7)) -> Room:
        """The room of this seed, `size_m` = (x, y, height). The same seed gives the same room, to the pixel.

        Raises InputError for a room in which nobody could walk.
        """
        if not (min(size_m[:2]) >= 3.5 and max(size_m[:2]) <= 30 and 2.2 <= size_m[2] <= 6):
            raise InputError(
                f"a room of {size_m} m cannot be furnished; give 3.5 to 30 m a side and 2.2 to 6 m of height"
            )
        return _Builder(seed, size_m).build()

    def free_space(self, clearance_m: float, cell_m: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
        """Where a body may be: bool grid (Y, X), True at least `clearance_m` from walls and furniture, and the world
        (x, y) of the centre of its first cell. Cells are `cell_m` wide."""
        width, depth, _ = self.size_m
        shape = round(depth / cell_m), round(width / cell_m)
        origin_2 = np.array([-width / 2 + cell_m / 2, -depth / 2 + cell_m / 2])
        grid = np.full((shape[0] + 2, shape[1] + 2), 255, np.uint8)
        grid[[0, -1]], grid[:, [0, -1]] = 0, 0
        for corners_42, _ in self.footprints:
            cv2.fillConvexPoly(grid, np.rint((corners_42 - origin_2) / cell_m + 1).astype(np.int32), 0)
        distance_m = cv2.distanceTransform(grid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] * cell_m
        return distance_m > clearance_m, origin_2


class _Builder:
    """Walls first, then what stands along them, then what hangs above it, then the middle of the room."""

    def __init__(self, seed: int, size_m):
        self.seed, self.size_m = seed, tuple(float(v) for v in size_m)
        self.rng = np.random.default_rng([seed, 20])
        self.surfaces = Surfaces()
        self.footprints: list[tuple[np.ndarray, float]] = []
        self.windows: list[tuple] = []
        self.floor_lamps: list[np.ndarray] = []
        self.pieces: list[Piece] = []
        width, depth, _ = self.size_m
        # Facing each wall: its middle at the floor, x to the right along it, y into it.
        self.walls = (
            (Place(0, depth / 2, 0, 0), width),
            (Place(width / 2, 0, 0, -np.pi / 2), depth),
            (Place(0, -depth / 2, 0, np.pi), width),
            (Place(-width / 2, 0, 0, np.pi / 2), depth),
        )

    def build(self) -> Room:
        lamps = self._shell()
        long_walls, short_walls = [0, 2], [1, 3]
        self.rng.shuffle(long_walls)
        self.rng.shuffle(short_walls)
        plans = {
            long_walls[0]: ["bookshelf", "sofa", "floor_lamp"],
            long_walls[1]: ["door", "sideboard", "bookshelf"],
            short_walls[0]: ["desk", "window", "parcels"],
            short_walls[1]: ["wardrobe", "plant", "window"]
            if self.rng.random() < 0.5
            else ["window", "wardrobe", "plant"],
        }
        for wall, names in sorted(plans.items()):
            self._furnish(*self.walls[wall], names)
        self._middle()
        return Room(
            self.seed, self.size_m, tuple(self.surfaces.quads), tuple(self.surfaces.instances), tuple(self.footprints),
            tuple(self.windows), lamps, tuple(self.floor_lamps), tuple(self.pieces),
        )  # fmt: skip

    @contextmanager
    def _piece(self, name: str, place: Place) -> Iterator[None]:
        """All that is built meanwhile is one piece."""
        lists = self.surfaces.instances, self.footprints, self.windows, self.floor_lamps
        first = [len(members) for members in lists]
        yield
        spans = (range(start, len(members)) for start, members in zip(first, lists, strict=True))
        self.pieces.append(Piece(name, place, *spans))

    def _shell(self) -> tuple[np.ndarray, ...]:
        rng, (width, depth, height) = self.rng, self.size_m
        colour = WALL_COLOURS[int(rng.integers(len(WALL_COLOURS)))]
        floor, ceiling = self.surfaces.instance("floor"), self.surfaces.instance("ceiling")
        oak = textures.vary(rng, (164, 120, 78), 14)
        boards = partial(self._boards, oak)
        self.surfaces.quad(Place(), (-width / 2, depth / 2, 0), (width, 0, 0), (0, -depth, 0), boards, floor)
        white = partial(textures.plaster, rng, colour=(236, 235, 230))
        self.surfaces.quad(
            Place(), (-width / 2, -depth / 2, height), (width, 0, 0), (0, depth, 0), white, ceiling, 120.0
        )
        for index, (wall, length) in enumerate(self.walls):
            tone = textures.vary(rng, colour, 5) if index else textures.vary(rng, (150, 168, 172), 26)
            paint = partial(textures.plaster, rng, colour=tone)
            solid = self.surfaces.instance("wall")
            self.surfaces.quad(wall, (-length / 2, 0, height), (length, 0, 0), (0, 0, -height), paint, solid)
            skirting = {"back": None, "left": None, "right": None}
            self.surfaces.box(
                wall.at(0, -0.008),
                (length, 0.016, 0.09),
                lacquer(rng, (232, 228, 220)),
                solid,
                skirting,
                casts_shadow=False,
            )
        lamps = [np.array([x * width, 0.0, height - 0.06]) for x in (-0.24, 0.24)]
        for lamp in lamps:
            glow = lambda h, w: np.full((h, w, 3), 235, np.uint8)  # noqa: E731
            panel = self.surfaces.instance("ceiling lamp")
            faces = {"top": None, "bottom": glow}
            self.surfaces.box(
                Place(*lamp),
                (0.9, 0.3, 0.06),
                lacquer(rng, (210, 210, 208)),
                panel,
                faces,
                emission=0.75,
                casts_shadow=False,
            )
        return tuple(lamps)

    def _boards(self, colour, height: int, width: int) -> np.ndarray:
        return textures.floorboards(self.rng, height, width, width / self.size_m[0], colour)

    def _furnish(self, wall: Place, length_m: float, names: list[str]) -> None:
        """Sets the pieces side by side with what is left of the wall as gaps, and hangs pictures where it is free."""
        rng, (_, _, ceiling_m) = self.rng, self.size_m
        sizes = [self._size(name) for name in names]
        # The corners belong to the long walls' furniture: the short ones keep clear of them.
        margin = 0.15 if length_m == max(self.size_m[:2]) else 0.75
        while sum(s[0] for s in sizes) + GAP_M * (len(sizes) - 1) > length_m - 2 * margin and len(sizes) > 1:
            sizes.pop()
        spare = length_m - 2 * margin - sum(s[0] for s in sizes)
        shares = rng.dirichlet(np.full(len(sizes) + 1, 2.0)) * max(spare - GAP_M * (len(sizes) - 1), 0)
        x, bare = -length_m / 2 + margin, []
        for index, (name, size) in enumerate(zip(names, sizes, strict=False)):
            gap = shares[index] + (GAP_M if index else 0)
            bare.append((x, x + gap, 0.0))
            x += gap
            middle = x + size[0] / 2
            if name in ("door", "window"):
                with self._piece(name, wall.at(middle, 0)):
                    (self._door if name == "door" else self._window)(wall.at(middle, 0), size)
            else:
                self._stand(name, wall.at(middle, -size[1] / 2 - 0.02), size)
                bare.append((x, x + size[0], size[2] + (0.45 if name in ("sideboard", "desk", "plant") else 0.0)))
            x += size[0]
        bare.append((x, length_m / 2 - margin, 0.0))
        for left, right, top in bare:
            self._hang(wall, left, right, max(top + 0.12, 0.95), ceiling_m - 0.18)

    def _size(self, name: str) -> np.ndarray:
        if name == "door":
            return np.array([0.92, 0.05, 2.05])
        if name == "window":
            return np.array([self.rng.uniform(1.1, 1.5), 0.05, self.rng.uniform(1.15, 1.35)])
        return FURNITURE[name].draw_size(self.rng)

    def _stand(self, name: str, place: Place, size_3: np.ndarray) -> None:
        rng = np.random.default_rng(self.rng.integers(2**31))
        half_w, half_d = size_3[0] / 2, size_3[1] / 2
        with self._piece(name, place):
            FURNITURE[name].build(self.surfaces, place, size_3, rng)
            corners = [
                place.world((sx * half_w, sy * half_d, 0))[:2] for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            self.footprints.append((np.array(corners), float(size_3[2])))
            if name == "floor_lamp":
                self.floor_lamps.append(place.world((0, 0, size_3[2] - 0.12)))
        if name == "desk":
            self._stand("chair", place.at(rng.uniform(-0.2, 0.2), -half_d - 0.12, 0, np.pi + rng.normal(0, 0.2)),
                        FURNITURE["chair"].draw_size(rng))  # fmt: skip

    def _door(self, wall: Place, size_3) -> None:
        width, _, height = size_3
        door, frame = self.surfaces.instance("door"), lacquer(self.rng, (226, 222, 212))
        leaf = partial(textures.door_leaf, self.rng, colour=textures.vary(self.rng, (170, 130, 90), 20))
        thin = {"back": None}
        self.surfaces.box(
            wall.at(0, -0.015), (width - 0.12, 0.03, height - 0.06), frame, door, thin | {"front": leaf}, 300.0
        )
        for side in (-1, 1):
            self.surfaces.box(wall.at(side * (width - 0.06) / 2, -0.02), (0.06, 0.04, height), frame, door, thin)
        self.surfaces.box(wall.at(0, -0.02, height - 0.06), (width, 0.04, 0.06), frame, door, thin | {"bottom": frame})

    def _window(self, wall: Place, size_3) -> None:
        width, _, height = size_3
        pane, frame, sill_m = self.surfaces.instance("window"), lacquer(self.rng, (236, 233, 226)), 0.95
        view = partial(prints.outdoors, self.rng)
        corner = (-width / 2, -0.012, sill_m + height)
        self.surfaces.quad(
            wall, corner, (width, 0, 0), (0, 0, -height), view, pane, 260.0, emission=1.0, casts_shadow=False
        )
        faces = {"back": None, "bottom": frame}
        self.surfaces.box(wall.at(0, -0.07, sill_m - 0.04), (width + 0.16, 0.14, 0.04), frame, pane, faces)
        for side in (-1, 1):
            drape = self.surfaces.instance("curtain")
            cloth = partial(textures.fabric, self.rng, colour=textures.vary(self.rng, (190, 130, 96), 22))
            self.surfaces.box(
                wall.at(side * (width / 2 + 0.11), -0.05, 0.25), (0.24, 0.06, sill_m + height - 0.1), cloth, drape,
                {"back": None}, casts_shadow=False,
            )  # fmt: skip
        centre = wall.world((0, -0.05, sill_m + height / 2))
        self.windows.append((centre, wall.turn((width / 2, 0, 0)), np.array([0, 0, height / 2]), wall.turn((0, -1, 0))))
        plant_size = np.array([0.24, 0.24, self.rng.uniform(0.3, 0.42)])
        FURNITURE["plant"].build(
            self.surfaces, wall.at(self.rng.uniform(-0.3, 0.3), -0.08, sill_m), plant_size, self.rng
        )

    def _hang(self, wall: Place, left: float, right: float, low: float, high: float) -> None:
        """Fills a bare stretch of wall with framed pictures, in columns of one or two."""
        rng, x = self.rng, left + 0.08
        while right - x > 0.3 and high - low > 0.25:
            wide = min(rng.uniform(0.34, 1.0), right - x - 0.06)
            if wide < 0.24:
                break
            top = high - rng.uniform(0.0, 0.12)
            while top - low > 0.25:
                tall = min(wide * rng.uniform(0.7, 1.45), top - low)
                painter = partial(prints.picture, rng)
                if wide > 0.75 and rng.random() < 0.4:
                    tall = min(tall, 0.75 * wide)
                    painter = partial((prints.pinboard, prints.whiteboard)[int(rng.integers(2))], rng)
                with self._piece("picture", wall.at(x + wide / 2, 0, top - tall)):
                    self._picture(wall.at(x + wide / 2, 0, top - tall), wide, tall, painter)
                top -= tall + rng.uniform(0.08, 0.16)
            x += wide + rng.uniform(0.08, 0.2)

    def _picture(self, place: Place, wide: float, tall: float, painter) -> None:
        rng, thing = self.rng, self.surfaces.instance("picture")
        rim = rng.uniform(0.012, 0.03)
        tone = ((40, 38, 36), (180, 140, 90), (235, 232, 226))[int(rng.integers(3))]
        wood = timber(rng, tone) if tone[0] == 180 else lacquer(rng, tone)
        faces = {"back": None, "bottom": wood}
        self.surfaces.box(place.at(0, -0.01), (wide, 0.02, tall), wood, thing, faces, casts_shadow=False)
        corner = (-wide / 2 + rim, -0.0215, tall - rim)
        self.surfaces.quad(
            place,
            corner,
            (wide - 2 * rim, 0, 0),
            (0, 0, 2 * rim - tall),
            painter,
            thing,
            PRINT_PIXELS_PER_M,
            casts_shadow=False,
        )

    def _middle(self) -> None:
        """A rug with a low table on it, where there is most room."""
        rng, free = self.rng, self.free_distance()
        row, column = np.unravel_index(np.argmax(free), free.shape)
        x = -self.size_m[0] / 2 + 0.05 * (column + 0.5) + rng.uniform(-0.7, 0.7)
        y = -self.size_m[1] / 2 + 0.05 * (row + 0.5)
        turn = rng.choice([0, np.pi]) + rng.normal(0, 0.1)
        with self._piece("rug", Place(x, y, 0, turn)):
            draw, carpet = partial(textures.rug, rng), self.surfaces.instance("rug")
            edge = timber(rng, (120, 100, 84))
            self.surfaces.box(
                Place(x, y, 0, turn), (2.2, 1.5, 0.008), edge, carpet, {"top": draw}, 260.0, casts_shadow=False
            )
        self._stand(
            "coffee_table", Place(x, y, 0.008, turn + rng.normal(0, 0.1)), FURNITURE["coffee_table"].draw_size(rng)
        )

    def free_distance(self) -> np.ndarray:
        room = Room(self.seed, self.size_m, (), (), tuple(self.footprints), (), (), ())
        free, _ = room.free_space(0.0)
        return cv2.distanceTransform(np.pad(free.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
