"""Other finishes for a room: tiles, stripes, bricks or bare paint on walls and floors, other colours, fewer things."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from geo_training.synthetic.room import Room
from geo_training.synthetic.surfaces import MAX_TEXTURE_PX, Quad, Texture
from geo_training.synthetic.textures import Colour, fractal_noise, plaster, shade

PIXELS_PER_M = 130.0


def varied(room: Room, rng: np.random.Generator) -> Room:
    """The room with the surfaces of walls, floor and ceiling drawn anew or not, things recoloured, some left out."""
    names = np.array(room.instances)
    keep_share = float(rng.choice([1.0, rng.uniform(0.1, 1.0)]))
    small = np.isin(names, ("picture", "book", "plant", "rug", "curtain", "parcel", "box"))
    kept = ~small | (rng.random(len(names)) < keep_share)
    # A thing is one colour throughout: its channels are exchanged, and lightened or darkened, together.
    orders = [rng.permutation(3) if rng.random() < 0.6 else np.arange(3) for _ in names]
    gains = np.exp(rng.normal(0, 0.18, (len(names), 3)) * (rng.random((len(names), 1)) < 0.7))
    finish = {
        name: _finish(rng) if rng.random() < share else None
        for name, share in (("floor", 0.65), ("wall", 0.55), ("ceiling", 0.3))
    }
    quads = []
    for quad in room.quads:
        name = room.instances[quad.instance]
        if not kept[quad.instance]:
            continue
        large = min(np.linalg.norm(quad.right_3), np.linalg.norm(quad.down_3)) > 1.5
        if large and finish.get(name):
            texture = _drawn(quad, finish[name], rng)
        elif quad.emission:
            texture = quad.texture
        else:
            texture = _recoloured(quad.texture, orders[quad.instance], gains[quad.instance])
        quads.append(replace(quad, texture=texture))
    return replace(room, quads=tuple(quads))


def tiles(
    rng: np.random.Generator, height: int, width: int, pixels_per_m: float, size_m: tuple[float, float],
    colours: tuple[Colour, Colour], joint: Colour, stagger: float = 0.0, checks: bool = False,
) -> np.ndarray:  # fmt: skip
    """Tiles, slabs or bricks with joints, RGB uint8: rows of `size_m` (width, height), every other row shifted by the
    share `stagger`; two colours alternate (`checks`) or each tile is drawn between them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(pixels_per_m)
    row = np.floor(y / size_m[1])
    x = x / np.float32(size_m[0]) + np.float32(stagger) * (row % 2)
    column = np.floor(x)
    if checks:
        share = (row + column) % 2
    else:
        table = rng.random((int(row.max()) + 1, int(column.max()) + 1), dtype=np.float32)
        share = table[row.astype(np.int32), column.astype(np.int32)]
    first, second = (np.asarray(colour, np.float32) for colour in colours)
    image = first + share[..., None].astype(np.float32) * (second - first)
    gap_m = min(max(0.012, 1.3 / pixels_per_m), 0.03)
    edge_x, edge_y = (x - column) * size_m[0], y - row * np.float32(size_m[1])
    image[(edge_x < gap_m) | (edge_y < gap_m)] = joint
    image *= (0.92 + 0.12 * fractal_noise(rng, height, width, 6, 5))[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def stripes(rng: np.random.Generator, height: int, width: int, pixels_per_m: float, colours, step_m: float):
    """Upright stripes of two colours, RGB uint8."""
    x = np.arange(width, dtype=np.float32)[None] / np.float32(pixels_per_m * step_m)
    share = (np.mod(x, 1.0) < rng.uniform(0.2, 0.7)).astype(np.float32)[..., None]
    first, second = (np.asarray(colour, np.float32) for colour in colours)
    tone = 0.95 + 0.05 * fractal_noise(rng, height, width, 4, 4)
    return np.clip((first + share * (second - first)) * tone[..., None], 0, 255).astype(np.uint8)


def random_colour(rng: np.random.Generator) -> Colour:
    """Any paint: mostly not very saturated."""
    grey = rng.uniform(40, 240)
    return tuple(float(v) for v in np.clip(grey + rng.normal(0, 32, 3), 12, 250))


def _finish(rng: np.random.Generator):
    """A way to draw a large surface: (rng, height, width, pixels a metre) to RGB uint8."""
    colour, other, joint = (random_colour(rng) for _ in range(3))
    near = tuple(float(v) for v in np.clip(np.asarray(colour) * rng.uniform(0.75, 0.95), 8, 250))
    kind = int(rng.integers(5))
    if kind == 0:
        side = float(rng.uniform(0.15, 0.9))
        checks = bool(rng.random() < 0.5)
        colours = (colour, other if checks else near)
        return lambda r, h, w, ppm: tiles(r, h, w, ppm, (side, side), colours, joint, 0.0, checks)
    if kind == 1:
        size = (float(rng.uniform(0.22, 1.2)), float(rng.uniform(0.08, 0.5)))
        return lambda r, h, w, ppm: tiles(r, h, w, ppm, size, (colour, near), joint, 0.5)
    if kind == 2:
        step = float(rng.uniform(0.08, 0.6))
        colours = (colour, other if rng.random() < 0.4 else near)
        return lambda r, h, w, ppm: stripes(r, h, w, ppm, colours, step)
    if kind == 3:
        return lambda r, h, w, ppm: plaster(r, h, w, colour)
    cells = float(rng.uniform(4, 40))
    return lambda r, h, w, ppm: shade(colour, 0.7 + 0.45 * fractal_noise(r, h, w, cells, 5))


def _drawn(quad: Quad, draw, rng: np.random.Generator) -> Texture:
    width_m, height_m = np.linalg.norm(quad.right_3), np.linalg.norm(quad.down_3)
    scale = min(PIXELS_PER_M, MAX_TEXTURE_PX / max(width_m, height_m))
    return Texture.of(draw(rng, max(int(height_m * scale), 4), max(int(width_m * scale), 4), float(scale)))


def _recoloured(texture: Texture, order_3: np.ndarray, gain_3: np.ndarray) -> Texture:
    if (order_3 == np.arange(3)).all() and (gain_3 == 1).all():
        return texture
    matrix_33 = (np.eye(3)[order_3] * gain_3[:, None]).astype(np.float32)
    return Texture(tuple(np.ascontiguousarray(cv2.transform(level, matrix_33)) for level in texture.levels))
