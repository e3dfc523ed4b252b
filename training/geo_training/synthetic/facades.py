"""What stands outdoors: houses with windows in rows, roofs, trees, cars, lamp posts, fences. Built of quads and boxes;
`place` is always the middle of the footprint, on the ground, the front towards -y."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from geo_training.synthetic import prints
from geo_training.synthetic.finishes import random_colour, tiles
from geo_training.synthetic.surfaces import Place, Surfaces
from geo_training.synthetic.textures import Colour, fractal_noise, plaster, shade, vary

FACADE_PIXELS_PER_M = 42.0
GREENS = ((70, 98, 48), (96, 116, 60), (58, 82, 58), (128, 118, 54), (150, 92, 44))


@dataclass(frozen=True)
class Style:
    """How a house looks: its wall ("plaster", "brick", "slabs" or "glass"), colours, and the rhythm of its windows in
    metres."""

    wall: str
    colour: Colour
    trim: Colour
    pane: Colour
    storey_m: float
    bay_m: float
    window_m: tuple[float, float]
    bars: int
    shop: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        wall = str(rng.choice(["plaster", "brick", "slabs", "glass"], p=[0.4, 0.25, 0.2, 0.15]))
        storey, bay = float(rng.uniform(2.7, 4.2)), float(rng.uniform(1.8, 4.5))
        share = (0.92, 0.9) if wall == "glass" else (rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.7))
        colour = vary(rng, (150, 80, 62), 22) if wall == "brick" and rng.random() < 0.7 else random_colour(rng)
        pane = vary(rng, (60, 74, 92), 22)
        size = (bay * float(share[0]), storey * float(share[1]))
        return cls(
            wall, colour, random_colour(rng), pane, storey, bay, size, int(rng.integers(0, 3)), bool(rng.random() < 0.4)
        )


def facade(rng: np.random.Generator, style: Style, height: int, width: int, pixels_per_m: float) -> np.ndarray:
    """The picture of one side of a house, RGB uint8 (height, width, 3), its bottom at the ground."""
    scale = pixels_per_m
    if style.wall == "brick":
        near = tuple(c * 0.75 for c in style.colour)
        image = tiles(rng, height, width, scale, (0.25, 0.083), (style.colour, near), vary(rng, (180, 172, 160)), 0.5)
    elif style.wall == "slabs":
        near = tuple(c * 0.9 for c in style.colour)
        size = (style.bay_m / 2, style.storey_m / 3)
        image = tiles(rng, height, width, scale, size, (style.colour, near), tuple(c * 0.5 for c in style.colour))
    else:
        image = plaster(rng, height, width, style.trim if style.wall == "glass" else style.colour)
    streaks = cv2.resize(fractal_noise(rng, max(height // 24, 2), width, 30, 4), (width, height))
    image = (image * (0.85 + 0.15 * streaks[..., None])).astype(np.uint8)
    pane_w, pane_h = (max(int(v * scale), 3) for v in style.window_m)
    panes = [_window(rng, style, pane_h, pane_w) for _ in range(4)]
    storeys = max(round(height / (style.storey_m * scale)), 1)
    bays = max(int(width / (style.bay_m * scale)), 1)
    storey_px, bay_px = height / storeys, width / bays
    door = int(rng.integers(bays))
    for storey in range(storeys):
        base = height - storey * storey_px
        if storey and style.wall != "glass" and rng.random() < 0.3:
            band = max(int(0.12 * scale), 1)
            cv2.rectangle(image, (0, int(base) - band), (width, int(base)), style.trim, -1)
        for bay in range(bays):
            middle = (bay + 0.5) * bay_px
            if storey == 0 and (bay == door or style.shop):
                kind = _door if bay == door else _shop_window
                kind(rng, image, style, middle, bay_px, storey_px, scale)
                continue
            pane = panes[int(rng.integers(len(panes)))]
            top, left = int(base - 0.28 * storey_px - pane_h), int(middle - pane_w / 2)
            _paste(image, pane, max(top, int(base - 0.98 * storey_px)), left)
    return image


def house(surfaces: Surfaces, place: Place, size_3: np.ndarray, rng: np.random.Generator) -> None:
    """A house: four facades, ledges, and a flat, hipped or gabled roof."""
    width, depth, height = (float(v) for v in size_3)
    style, solid = Style.draw(rng), surfaces.instance("house")

    def side(h: int, w: int, length_m: float) -> np.ndarray:
        return facade(rng, style, h, w, w / length_m)

    faces = {name: partial(side, length_m=width) for name in ("front", "back")}
    faces |= {name: partial(side, length_m=depth) for name in ("left", "right")}
    flat = partial(plaster, rng, colour=vary(rng, (110, 106, 102)))
    surfaces.box(place, size_3, flat, solid, faces, FACADE_PIXELS_PER_M)
    trim = partial(plaster, rng, colour=style.trim)
    if rng.random() < 0.6:
        deep = rng.uniform(0.15, 0.5)
        ledge = (width + 2 * deep, depth + 2 * deep, rng.uniform(0.15, 0.5))
        surfaces.box(place.at(0, 0, height), ledge, trim, solid, {"bottom": trim}, 8.0)
    if rng.random() < 0.35:
        for level in range(1, int(height / style.storey_m)):
            if rng.random() < 0.7:
                balcony = (rng.uniform(0.2, 0.9) * width, 1.1, 0.9 if rng.random() < 0.5 else 0.18)
                spot = place.at(0, -depth / 2 - 0.55, level * style.storey_m)
                surfaces.box(spot, balcony, trim, solid, {"bottom": trim, "back": None}, 10.0)
    if rng.random() < 0.55 and height < 18:
        roof(surfaces, place.at(0, 0, height), width, depth, rng, style, solid)


def roof(surfaces: Surfaces, place: Place, width: float, depth: float, rng, style: Style, solid: int) -> None:
    """Tiles on four slopes that meet in a point, or on two with a ridge along the width."""
    colour = vary(rng, ((150, 74, 54), (84, 84, 90), (110, 90, 74))[int(rng.integers(3))])
    rise, out = rng.uniform(0.25, 0.8) * depth / 2, rng.uniform(0.1, 0.6)
    w, d = width / 2 + out, depth / 2 + out

    def slope(h: int, wide: int) -> np.ndarray:
        near, joint = tuple(c * 0.75 for c in colour), tuple(c * 0.45 for c in colour)
        return tiles(rng, h, wide, wide / width, (0.3, 0.35), (colour, near), joint, 0.5)

    if rng.random() < 0.4:
        tip = np.array([0.0, 0.0, rise])
        corners = [np.array([x * w, y * d, 0.0]) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        for here, after in zip(corners, corners[1:] + corners[:1], strict=True):
            # Seen from the front: the tip above, `here` at the left of the foot.
            surfaces.quad(place, tip, after - tip, here - tip, slope, solid, 35.0, triangle=True)
        return
    foot = -rise * out / (depth / 2)  # the eaves hang lower than the wall's top
    for front in (-1, 1):
        left = np.array([front * w, 0.0, rise])
        surfaces.quad(place, left, (-front * 2 * w, 0, 0), (0, front * d, foot - rise), slope, solid, 35.0)
    gable = partial(plaster, rng, colour=style.colour)
    for end in (-1, 1):
        tip = np.array([end * width / 2, 0.0, rise])
        right, left = (np.array([0.0, s * end * depth / 2, -rise]) for s in (1, -1))
        surfaces.quad(place, tip, right, left, gable, solid, 12.0, triangle=True)


def tree(surfaces: Surfaces, place: Place, height_m: float, rng: np.random.Generator, leaves: int) -> None:
    """A trunk, and a crown of leafy pieces turned every way, or a conifer of stacked pyramids."""
    thing, green = surfaces.instance("tree"), vary(rng, GREENS[int(rng.integers(len(GREENS)))], 12)
    thick = 0.03 * height_m * rng.uniform(0.7, 1.6)
    bark = lambda h, w: shade((92, 76, 62), 0.5 + 0.7 * fractal_noise(rng, h, w, 10, 4))  # noqa: E731
    leaf = lambda h, w: shade(green, 0.35 + 0.9 * fractal_noise(rng, h, w, 5, 4))  # noqa: E731
    lean = place.at(0, 0, 0, rng.uniform(0, 2 * np.pi))
    surfaces.box(lean, (thick, thick, 0.6 * height_m), bark, thing, {"top": None}, 40.0)
    if rng.random() < 0.3:
        for share in np.linspace(0.15, 0.7, 4):
            radius, top = height_m * 0.3 * (1.05 - share), height_m * min(share + 0.38, 1.0)
            turn = lean.at(0, 0, 0, rng.uniform(0, 1.5))
            tip = np.array([0.0, 0.0, top])
            angles = np.arange(6) * np.pi / 3
            foot = [np.array([radius * np.cos(a), radius * np.sin(a), share * height_m]) for a in angles]
            for here, after in zip(foot, foot[1:] + foot[:1], strict=True):
                surfaces.quad(turn, tip, after - tip, here - tip, leaf, thing, 30.0, triangle=True)
        return
    reach = np.array([0.28, 0.28, 0.27]) * height_m * rng.uniform(0.7, 1.25, 3)
    side = 2.2 * float(reach.mean()) / np.sqrt(leaves / 6)
    for index in range(leaves):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        middle = direction * reach * rng.uniform(0.5, 1.0) + [0, 0, 0.68 * height_m]
        normal = direction + 0.8 * rng.standard_normal(3)
        right = np.cross(normal, rng.standard_normal(3))
        right *= side * rng.uniform(0.6, 1.3) / np.linalg.norm(right)
        down = np.cross(right, normal)
        down *= side * rng.uniform(0.6, 1.3) / np.linalg.norm(down)
        corner, shadow = middle - (right + down) / 2, index % 7 == 0
        surfaces.quad(lean, corner, right, down, leaf, thing, 40.0, casts_shadow=shadow)
        surfaces.quad(lean, corner + right, -right, down, leaf, thing, 40.0, casts_shadow=False)


def car(surfaces: Surfaces, place: Place, rng: np.random.Generator) -> np.ndarray:
    """A parked car or van of boxes; returns its size (3,) in metres."""
    thing, paint = surfaces.instance("car"), partial(plaster, rng, colour=random_colour(rng))
    length, wide, tall = rng.uniform(3.6, 5.4), rng.uniform(1.65, 2.0), rng.uniform(1.4, 2.4)
    waist, clear = rng.uniform(0.75, 1.0), rng.uniform(0.16, 0.28)
    glass = partial(_glass, rng)
    dark = partial(plaster, rng, colour=(34, 34, 36))
    surfaces.box(place.at(0, 0, clear), (length, wide, waist - clear), paint, thing, {"bottom": dark}, 40.0)
    cabin = length * rng.uniform(0.5, 0.9)
    spot = place.at((length - cabin) / 2 * rng.uniform(-1, 1), 0, waist)
    surfaces.box(spot, (cabin, wide * 0.9, tall - waist), glass, thing, {"top": paint}, 40.0)
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        surfaces.box(place.at(x * 0.32 * length, y * (wide / 2 - 0.1)), (0.6, 0.22, 0.6), dark, thing, None, 30.0)
    return np.array([length, wide, tall])


def lamp_post(surfaces: Surfaces, place: Place, rng: np.random.Generator) -> None:
    """A post with an arm, or with a sign."""
    thing, metal = surfaces.instance("post"), partial(plaster, rng, colour=random_colour(rng))
    height, thick = rng.uniform(2.2, 9.0), rng.uniform(0.06, 0.22)
    surfaces.box(place, (thick, thick, height), metal, thing, None, 20.0)
    if height > 4:
        arm = rng.uniform(0.6, 2.5)
        surfaces.box(
            place.at(0, -arm / 2, height), (thick * 0.7, arm, thick * 0.7), metal, thing, {"bottom": metal}, 20.0
        )
        return
    wide, tall = rng.uniform(0.4, 1.2, 2)
    sign = {"front": partial(prints.picture, rng, kind=1 + int(rng.integers(2))), "bottom": metal}
    surfaces.box(place.at(0, -thick / 2 - 0.02, height - tall), (wide, 0.03, tall), metal, thing, sign, 120.0)


def fence(surfaces: Surfaces, place: Place, length_m: float, rng: np.random.Generator) -> float:
    """A brick wall, or posts with rails, along x; returns its height in metres."""
    thing, colour, height = surfaces.instance("fence"), random_colour(rng), float(rng.uniform(0.7, 2.4))
    if rng.random() < 0.5:
        near, joint = tuple(c * 0.8 for c in colour), random_colour(rng)
        size = (float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.08, 0.4)))
        draw = lambda h, w: tiles(rng, h, w, max(h / height, 8.0), size, (colour, near), joint, 0.5)  # noqa: E731
        surfaces.box(place, (length_m, 0.25, height), draw, thing, None, 60.0)
        return height
    wood = partial(plaster, rng, colour=colour)
    step, thick = rng.uniform(0.3, 2.5), rng.uniform(0.04, 0.12)
    for x in np.arange(-length_m / 2, length_m / 2, step):
        surfaces.box(place.at(float(x), 0), (thick, thick, height), wood, thing, None, 20.0, casts_shadow=step > 1)
    for z in np.linspace(0.25, 0.92, int(rng.integers(2, 5))):
        rail = (length_m, thick * 0.6, thick)
        surfaces.box(place.at(0, 0, float(z) * height), rail, wood, thing, {"bottom": wood}, 15.0)
    return height


def _window(rng: np.random.Generator, style: Style, height: int, width: int) -> np.ndarray:
    """One window with its frame, seen from outside."""
    image = _glass(rng, height, width, style.pane)
    if rng.random() < 0.4:
        drop = int(height * rng.uniform(0.15, 0.9))
        image[:drop] = (0.4 * image[:drop] + 0.6 * np.asarray(random_colour(rng))).astype(np.uint8)
    rim = max(round(min(height, width) * 0.06), 1)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), style.trim, rim)
    for bar in range(style.bars):
        x = int(width * (bar + 1) / (style.bars + 1))
        cv2.line(image, (x, 0), (x, height), style.trim, rim)
    if style.bars:
        cv2.line(image, (0, int(height * 0.3)), (width, int(height * 0.3)), style.trim, rim)
    return image


def _glass(rng: np.random.Generator, height: int, width: int, colour: Colour = (58, 70, 84)) -> np.ndarray:
    """A pane that mirrors a paler sky above."""
    ramp = np.linspace(rng.uniform(1.0, 1.9), rng.uniform(0.4, 1.0), height, dtype=np.float32)[:, None]
    return shade(vary(rng, colour, 10), ramp * (0.85 + 0.3 * fractal_noise(rng, height, width, 2, 3)))


def _door(rng, image, style: Style, middle: float, bay_px: float, storey_px: float, scale: float) -> None:
    wide, tall = max(int(min(1.2 * scale, 0.8 * bay_px)), 3), max(int(min(2.3 * scale, 0.85 * storey_px)), 3)
    leaf = np.full((tall, wide, 3), random_colour(rng), np.uint8)
    cv2.rectangle(leaf, (0, 0), (wide - 1, tall - 1), style.trim, max(wide // 12, 1))
    cv2.rectangle(leaf, (wide // 4, tall // 8), (3 * wide // 4, tall // 2), style.pane, -1)
    _paste(image, leaf, image.shape[0] - tall, int(middle - wide / 2))


def _shop_window(rng, image, style: Style, middle: float, bay_px: float, storey_px: float, scale: float) -> None:
    wide, tall = max(int(0.88 * bay_px), 3), max(int(0.62 * storey_px), 3)
    _paste(image, _window(rng, style, tall, wide), int(image.shape[0] - 0.72 * storey_px), int(middle - wide / 2))
    if rng.random() < 0.5:
        sign = prints.lettering(rng, max(int(0.16 * storey_px), 16), max(wide, 24))
        _paste(image, sign, int(image.shape[0] - 0.94 * storey_px), int(middle - wide / 2))


def _paste(image: np.ndarray, part: np.ndarray, top: int, left: int) -> None:
    """Puts a picture into another, cut at its borders."""
    rows, columns = (slice(max(o, 0), max(o + s, 0)) for o, s in zip((top, left), part.shape[:2], strict=True))
    into = image[rows, columns]
    first = max(-top, 0), max(-left, 0)
    into[:] = part[first[0] : first[0] + into.shape[0], first[1] : first[1] + into.shape[1]]
