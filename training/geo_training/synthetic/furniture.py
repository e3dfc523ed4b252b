"""Furniture. `build(surfaces, place, size_3, rng)` puts a piece at `place`: the middle of its footprint, its back
towards +y. Everything is built of boxes and parallelograms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from geo_training.synthetic import prints, textures
from geo_training.synthetic.surfaces import Place, Surfaces

PRINT_PIXELS_PER_M = 480.0
WOODS = ((168, 118, 70), (206, 170, 120), (110, 72, 46), (226, 214, 192), (142, 100, 66))
PAINTS = ((214, 210, 200), (66, 92, 104), (152, 60, 48), (88, 104, 78), (230, 190, 96), (52, 54, 60))
CLOTHS = ((94, 104, 116), (150, 76, 54), (72, 94, 76), (176, 152, 112), (64, 70, 104))


@dataclass(frozen=True)
class Kind:
    """A kind of furniture: how large it is (lowest and highest width, depth, height in metres), and how it is built."""

    smallest_m: tuple[float, float, float]
    largest_m: tuple[float, float, float]
    build: object

    def draw_size(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.smallest_m, self.largest_m)


def timber(rng: np.random.Generator, colour=None):
    """A drawing function for veneer of one tone."""
    colour = textures.vary(rng, colour or WOODS[int(rng.integers(len(WOODS)))], 10)
    return lambda height, width: textures.wood(rng, height, width, colour)


def cloth(rng: np.random.Generator, colour=None):
    """A drawing function for cloth of one colour."""
    colour = textures.vary(rng, colour or CLOTHS[int(rng.integers(len(CLOTHS)))], 12)
    return lambda height, width: textures.fabric(rng, height, width, colour)


def lacquer(rng: np.random.Generator, colour=None):
    """A drawing function for paint of one colour."""
    colour = textures.vary(rng, colour or PAINTS[int(rng.integers(len(PAINTS)))], 10)
    return lambda height, width: textures.plaster(rng, height, width, colour)


def bookshelf(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A frame with shelves, full of books, boxes and small pictures."""
    width, depth, height = size_3
    wood, board = timber(rng), 0.025
    shelf = surfaces.instance("bookshelf")
    for side in (-1, 1):
        surfaces.box(place.at(side * (width - board) / 2, 0), (board, depth, height), wood, shelf)
    back = {"front": wood, "back": None, "left": None, "right": None, "top": None}
    surfaces.box(place.at(0, depth / 2 - 0.005), (width, 0.01, height), wood, shelf, back)
    levels = round(height / 0.36)
    for level in range(levels + 1):
        z = 0.05 + level * (height - 0.05 - board) / levels
        faces = {"back": None, "left": None, "right": None, "bottom": wood}
        surfaces.box(place.at(0, 0, z), (width - 2 * board, depth, board), wood, shelf, faces)
        if level < levels:
            room = (height - 0.05 - board) / levels - board
            shelf_filling(surfaces, place.at(0, 0, z + board), width - 2 * board, depth, room, rng)
    on_top(surfaces, place.at(0, 0, height), width, depth, rng, 1)


def shelf_filling(surfaces: Surfaces, place: Place, width_m, depth_m, room_m, rng: np.random.Generator) -> None:
    """Books side by side, gaps, and now and then something else; they stand at different depths."""
    x = -width_m / 2 + 0.01
    while x < width_m / 2 - 0.05:
        if rng.random() < 0.13:
            across = min(rng.uniform(0.14, 0.24), width_m / 2 - x)
            tall = room_m * rng.uniform(0.45, 0.85)
            spot = place.at(x + across / 2, rng.uniform(-0.03, 0.05))
            if across > 0.1:
                ornament(surfaces, spot, across * 0.9, min(0.16, depth_m * 0.6), tall, rng)
            x += across
        elif rng.random() < 0.06:
            x += rng.uniform(0.03, 0.1)
        else:
            thick, tall = rng.uniform(0.022, 0.06), room_m * rng.uniform(0.62, 0.96)
            deep = depth_m * rng.uniform(0.55, 0.85)
            book = surfaces.instance("book")
            spine = partial(textures.book_spine, rng)
            cover = lacquer(rng, tuple(float(v) for v in rng.uniform(30, 220, 3)))
            faces = {"back": None, "front": spine}
            spot = place.at(x + thick / 2, (depth_m - deep) / 2 - rng.uniform(0.015, 0.06))
            surfaces.box(spot, (thick, deep, tall), cover, book, faces, PRINT_PIXELS_PER_M, casts_shadow=False)
            x += thick + 0.002


def ornament(surfaces: Surfaces, place: Place, width_m, depth_m, height_m, rng: np.random.Generator) -> None:
    """A small thing: a box, a picture in a stand, a stack of lying books."""
    kind = rng.integers(3)
    if kind == 0:
        thing = surfaces.instance("box")
        painter = (prints.geometric, prints.facets, prints.abstract)[int(rng.integers(3))]
        draw = partial(painter, rng)
        turned = place.at(0, 0, 0, rng.normal(0, 0.2))
        surfaces.box(turned, (width_m, depth_m, height_m), draw, thing, None, PRINT_PIXELS_PER_M, casts_shadow=False)
    elif kind == 1:
        thing, frame = surfaces.instance("picture"), timber(rng)
        faces = {"front": partial(prints.picture, rng)}
        surfaces.box(place, (width_m, 0.02, height_m), frame, thing, faces, PRINT_PIXELS_PER_M, casts_shadow=False)
    else:
        z = 0.0
        while z < height_m - 0.02:
            thick, book = rng.uniform(0.02, 0.045), surfaces.instance("book")
            spine = partial(_lying_spine, rng)
            cover = partial(prints.picture, rng)
            turned = place.at(0, 0, z, rng.normal(0, 0.12))
            size = (width_m * rng.uniform(0.8, 1), depth_m, thick)
            faces = {"front": spine, "top": cover}
            surfaces.box(turned, size, lacquer(rng), book, faces, PRINT_PIXELS_PER_M, casts_shadow=False)
            z += thick


def on_top(surfaces: Surfaces, place: Place, width_m, depth_m, rng: np.random.Generator, count: int) -> None:
    """Things side by side on a surface: plants, boxes, pictures, books."""
    for index in range(count):
        x = (index + 0.5) / count * width_m - width_m / 2 + rng.normal(0, 0.02)
        room = min(width_m / count * 0.8, 0.34)
        if rng.random() < 0.35:
            plant(surfaces, place.at(x, 0), np.array([room * 0.6, room * 0.6, rng.uniform(0.3, 0.5)]), rng)
        else:
            size = room * rng.uniform(0.6, 1), depth_m * rng.uniform(0.35, 0.6), rng.uniform(0.12, 0.3)
            ornament(surfaces, place.at(x, 0), *size, rng)


def cabinet(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A sideboard or wardrobe with doors and handles; a low one carries things."""
    width, depth, height = size_3
    draw = timber(rng) if rng.random() < 0.6 else lacquer(rng)
    body = surfaces.instance("cabinet")
    surfaces.box(place.at(0, 0, 0.06), (width, depth, height - 0.06), draw, body)
    doors = max(round(width / 0.5), 2)
    for door in range(doors):
        x = -width / 2 + (door + 0.5) * width / doors
        faces = {"back": None}
        leaf = place.at(x, -depth / 2 - 0.009, 0.09)
        surfaces.box(leaf, (width / doors - 0.012, 0.018, height - 0.12), draw, body, faces, casts_shadow=False)
        handle = place.at(x + (0.4 if door % 2 == 0 else -0.4) * width / doors, -depth / 2 - 0.03, height * 0.52)
        surfaces.box(handle, (0.016, 0.02, 0.14), lacquer(rng, (60, 60, 62)), body, {"back": None}, casts_shadow=False)
    if height < 1.3:
        on_top(surfaces, place.at(0, 0, height), width * 0.92, depth, rng, int(rng.integers(2, 5)))
    else:
        posters(surfaces, place.at(0, -depth / 2 - 0.0185), width / doors, height, doors, rng)


def posters(surfaces: Surfaces, place: Place, wide_m, high_m, doors: int, rng: np.random.Generator) -> None:
    """Sheets stuck on the doors of a wardrobe whose front is the plane y = 0 of `place`."""
    for door in range(doors):
        poster, wide = surfaces.instance("poster"), wide_m * rng.uniform(0.5, 0.7)
        tall = wide * rng.uniform(1.1, 1.5)
        left = (door - doors / 2 + 0.5) * wide_m - wide / 2 + rng.normal(0, 0.01)
        corner = (left, -0.002, rng.uniform(0.72, 0.92) * high_m)
        draw = partial(prints.picture, rng)
        surfaces.quad(place, corner, (wide, 0, 0), (0, 0, -tall), draw, poster, PRINT_PIXELS_PER_M, casts_shadow=False)


def desk(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A desk with a screen, a keyboard, papers, and a drawer unit under it."""
    width, depth, height = size_3
    table(surfaces, place, size_3, rng)
    unit = place.at((width / 2 - 0.26) * rng.choice([-1, 1]), 0.05, 0.02)
    cabinet(surfaces, unit, (0.4, depth * 0.75, height - 0.1), np.random.default_rng(rng.integers(2**31)))
    monitor, dark = surfaces.instance("monitor"), lacquer(rng, (34, 35, 38))
    stand = place.at(rng.uniform(-0.2, 0.2), depth * 0.22, height, rng.normal(0, 0.12))
    surfaces.box(stand, (0.24, 0.16, 0.015), dark, monitor)
    surfaces.box(stand.at(0, 0.03, 0.015), (0.05, 0.04, 0.12), dark, monitor)
    surfaces.box(stand.at(0, 0, 0.12), (0.62, 0.04, 0.38), dark, monitor)
    face = (-0.295, -0.021, 0.485), (0.59, 0, 0), (0, 0, -0.35)
    draw = partial(textures.screen, rng)
    surfaces.quad(stand, *face, draw, monitor, PRINT_PIXELS_PER_M, emission=0.5, casts_shadow=False)
    white = lacquer(rng, (232, 230, 224))
    for _ in range(4):
        sheet = surfaces.instance("paper")
        spot = place.at(rng.uniform(-0.42, 0.42) * width, rng.uniform(-0.35, -0.05) * depth, height, rng.normal(0, 0.4))
        lift = rng.uniform(0.002, 0.012)
        draw = partial(textures.printed_page if rng.random() < 0.6 else prints.picture, rng)
        faces = {"top": draw}
        surfaces.box(spot, (0.21, 0.297, lift), white, sheet, faces, PRINT_PIXELS_PER_M, casts_shadow=False)


def table(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A top on four legs."""
    width, depth, height = size_3
    wood, thing = timber(rng), surfaces.instance("table")
    surfaces.box(place.at(0, 0, height - 0.035), (width, depth, 0.035), wood, thing, {"bottom": wood})
    for sx in (-1, 1):
        for sy in (-1, 1):
            leg = place.at(sx * (width / 2 - 0.05), sy * (depth / 2 - 0.05))
            surfaces.box(leg, (0.05, 0.05, height - 0.035), wood, thing)


def coffee_table(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A low table with magazines, and something that stands."""
    width, depth, height = size_3
    table(surfaces, place, size_3, rng)
    for _ in range(5):
        magazine = surfaces.instance("magazine")
        spot = place.at(*(rng.uniform(-0.36, 0.36, 2) * [width, depth]), height, rng.uniform(-0.8, 0.8))
        draw = partial(prints.picture, rng)
        size = (0.21, 0.28, rng.uniform(0.004, 0.02))
        faces = {"top": draw}
        surfaces.box(spot, size, lacquer(rng), magazine, faces, PRINT_PIXELS_PER_M, casts_shadow=False)
    on_top(surfaces, place.at(0, 0, height), width * 0.5, depth * 0.5, rng, 1)


def sofa(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """Seat, back, arms, and cushions with figures."""
    width, depth, height = size_3
    draw, thing = cloth(rng), surfaces.instance("sofa")
    surfaces.box(place.at(0, 0, 0.1), (width, depth, 0.2), draw, thing)
    surfaces.box(place.at(0, depth / 2 - 0.1, 0.3), (width, 0.2, height - 0.3), draw, thing)
    for side in (-1, 1):
        surfaces.box(place.at(side * (width / 2 - 0.09), -0.1, 0.3), (0.18, depth - 0.2, 0.28), draw, thing)
    seat = (width - 0.36) / 2
    for side in (-1, 1):
        faces = {"back": None}
        surfaces.box(place.at(side * seat / 2, -0.1, 0.3), (seat - 0.01, depth - 0.22, 0.13), draw, thing, faces)
    for x in np.linspace(-0.5, 0.5, 3) * (width - 0.8) + rng.normal(0, 0.08, 3):
        cushion = surfaces.instance("cushion")
        painter = (prints.geometric, prints.abstract, prints.facets)[int(rng.integers(3))]
        spot = place.at(x, depth / 2 - 0.29 - rng.uniform(0, 0.05), 0.43, rng.normal(0, 0.25))
        surfaces.box(spot, (0.42, 0.13, 0.38), cloth(rng), cushion, {"front": partial(painter, rng)}, 320.0)


def chair(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A plain chair."""
    width, depth, height = size_3
    wood, thing = timber(rng), surfaces.instance("chair")
    surfaces.box(place.at(0, 0, 0.43), (width, depth, 0.04), cloth(rng), thing, {"bottom": wood})
    for sx in (-1, 1):
        surfaces.box(place.at(sx * (width / 2 - 0.02), -depth / 2 + 0.02), (0.035, 0.035, 0.43), wood, thing)
        surfaces.box(place.at(sx * (width / 2 - 0.02), depth / 2 - 0.02), (0.035, 0.035, height), wood, thing)
    for z in (0.58, 0.74):
        surfaces.box(place.at(0, depth / 2 - 0.02, z), (width - 0.06, 0.02, 0.1), wood, thing, {"bottom": wood})


def plant(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A pot and leaves that rise from it, seen from both sides."""
    width, _, height = size_3
    thing, pot = surfaces.instance("plant"), width * 0.55
    surfaces.box(place, (pot, pot, height * 0.32), lacquer(rng), thing)
    green = textures.vary(rng, (74, 112, 58), 14)
    for index in range(int(rng.integers(9, 14))):
        heading, lean = index * 2.4 + rng.normal(0, 0.3), rng.uniform(0.15, 0.6)
        leaf = place.at(0, 0, height * 0.3, heading)
        up = np.array([lean * width * 0.9, 0, height * rng.uniform(0.4, 0.68)])
        across = np.array([0.0, width * rng.uniform(0.12, 0.24), 0.0])
        draw = partial(textures.fabric, rng, colour=textures.vary(rng, green, 12))
        for side in (1.0, -1.0):
            corner = up - side * across / 2 + [0, 0, 0]
            surfaces.quad(leaf, corner, side * across, -up, draw, thing, casts_shadow=False)


def parcels(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """Cardboard boxes on each other."""
    width, depth, height = size_3
    z = 0.0
    for share in (0.55, 0.45):
        thing, tall = surfaces.instance("parcel"), height * share
        turned = place.at(0, 0, z, rng.normal(0, 0.12))
        size = (width * rng.uniform(0.75, 0.95), depth * rng.uniform(0.75, 0.95), tall)
        surfaces.box(turned, size, partial(textures.cardboard, rng), thing, None, 300.0)
        z += tall


def floor_lamp(surfaces: Surfaces, place: Place, size_3, rng: np.random.Generator) -> None:
    """A lamp on a stem. Its shade glows a little, whichever light is on."""
    width, _, height = size_3
    dark, thing = lacquer(rng, (50, 48, 46)), surfaces.instance("lamp")
    surfaces.box(place, (width, width, 0.03), dark, thing)
    surfaces.box(place.at(0, 0, 0.03), (0.03, 0.03, height - 0.33), dark, thing, casts_shadow=False)
    linen = cloth(rng, (226, 208, 170))
    shade = place.at(0, 0, height - 0.3)
    surfaces.box(shade, (width, width, 0.3), linen, thing, {"bottom": linen}, emission=0.3, casts_shadow=False)


FURNITURE = {
    "bookshelf": Kind((0.8, 0.28, 1.6), (1.3, 0.34, 2.0), bookshelf),
    "sideboard": Kind((1.2, 0.4, 0.7), (1.7, 0.48, 0.9), cabinet),
    "wardrobe": Kind((1.0, 0.5, 1.8), (1.3, 0.6, 2.05), cabinet),
    "desk": Kind((1.2, 0.6, 0.72), (1.5, 0.7, 0.76), desk),
    "sofa": Kind((1.7, 0.8, 0.75), (2.1, 0.9, 0.85), sofa),
    "coffee_table": Kind((0.8, 0.5, 0.4), (1.0, 0.6, 0.46), coffee_table),
    "chair": Kind((0.42, 0.42, 0.86), (0.46, 0.46, 0.95), chair),
    "plant": Kind((0.45, 0.45, 1.0), (0.6, 0.6, 1.4), plant),
    "parcels": Kind((0.4, 0.35, 0.6), (0.55, 0.5, 0.9), parcels),
    "floor_lamp": Kind((0.3, 0.3, 1.5), (0.36, 0.36, 1.7), floor_lamp),
}


def _lying_spine(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(textures.book_spine(rng, width, height)))
