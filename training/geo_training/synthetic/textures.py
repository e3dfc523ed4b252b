"""Materials of a furnished room, drawn from a seed: plaster, wood, floorboards, fabric, rugs, books, paper.

Every function takes a generator and a size in pixels and returns RGB uint8 (H, W, 3). No two draws are alike, so no
patch of the room looks like another.
"""

from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[float, float, float]  # RGB, 0 to 255


def fractal_noise(rng: np.random.Generator, height: int, width: int, cells: float = 4, octaves: int = 5) -> np.ndarray:
    """Smooth noise in [0, 1], float32 (H, W): `octaves` layers of random grids, the coarsest with `cells` cells along
    the longer side."""
    noise_hw = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = max(height, width) / (cells * 2**octave)
        if step < 1 and octave:
            break
        grid = rng.random((int(height / step) + 3, int(width / step) + 3), dtype=np.float32)
        noise_hw += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
    low, high = float(noise_hw.min()), float(noise_hw.max())
    return (noise_hw - low) / max(high - low, 1e-6)


def shade(colour: Colour, factor_hw: np.ndarray) -> np.ndarray:
    """A colour multiplied by a factor per pixel, RGB uint8."""
    return np.clip(factor_hw[..., None] * np.asarray(colour, np.float32), 0, 255).astype(np.uint8)


def vary(rng: np.random.Generator, colour: Colour, amount: float = 18) -> Colour:
    """A colour near the given one."""
    return tuple(float(c) for c in np.clip(np.asarray(colour) + rng.normal(0, amount, 3), 8, 250))


def plaster(rng: np.random.Generator, height: int, width: int, colour: Colour) -> np.ndarray:
    """A painted wall: even, with the faint marks of the roller, a few scuffs, and hairline cracks."""
    factor = 0.98 + 0.025 * fractal_noise(rng, height, width, 5, 4)
    factor += 0.02 * rng.standard_normal((height, width), dtype=np.float32)
    image = shade(colour, factor)
    for _ in range(int(height * width / 60000) + 1):
        start = rng.uniform([0, 0], [width, height])
        tone = tuple(float(c) for c in np.asarray(colour) * rng.uniform(0.72, 0.92))
        end = start + rng.normal(0, 14, 2)
        cv2.line(image, _pixel(start), _pixel(end), tone, int(rng.integers(1, 3)), cv2.LINE_AA)
    return cv2.GaussianBlur(image, (3, 3), 0)


def wood(rng: np.random.Generator, height: int, width: int, colour: Colour) -> np.ndarray:
    """Veneer with its grain along the width: growth rings cut lengthwise, pores, now and then a knot."""
    warp = fractal_noise(rng, height, max(width // 6, 2), 3, 4)
    warp = cv2.resize(warp, (width, height), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = y * rng.uniform(0.05, 0.09) + warp * rng.uniform(14, 26)
    for _ in range(int(rng.poisson(height * width / 90000))):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(8, 20)
        phase += 9 * np.exp(-(((x - cx) / (3 * radius)) ** 2 + ((y - cy) / radius) ** 2))
    pores = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (31, 1), 0)
    factor = 0.93 + 0.09 * np.sin(phase) + 0.22 * pores + 0.12 * (warp - 0.5)
    return shade(colour, factor)


def floorboards(rng: np.random.Generator, height: int, width: int, pixels_per_m: float, colour: Colour) -> np.ndarray:
    """Parquet: boards along the width, joints staggered, each of its own tone and grain."""
    board_px, image = max(int(0.13 * pixels_per_m), 4), np.zeros((height, width, 3), np.uint8)
    for top in range(0, height, board_px):
        rows, left = min(board_px, height - top), -int(rng.uniform(0, pixels_per_m))
        while left < width:
            length = int(rng.uniform(0.7, 1.5) * pixels_per_m)
            first, last = max(left, 0), min(left + length, width)
            if last - first > 1:
                tone = tuple(np.asarray(colour) * rng.uniform(0.72, 1.15))
                image[top : top + rows, first:last] = wood(rng, rows, last - first, tone)
                image[top : top + rows, last - 1] = (image[top : top + rows, last - 1] * 0.35).astype(np.uint8)
            left += length
        image[top] = (image[top] * 0.4).astype(np.uint8)
    return image


def fabric(rng: np.random.Generator, height: int, width: int, colour: Colour) -> np.ndarray:
    """Woven cloth with folds, and lint of another colour."""
    folds = fractal_noise(rng, height, width, 3, 5)
    weave = rng.standard_normal((height, width), dtype=np.float32)
    weave = cv2.GaussianBlur(weave, (5, 1), 0) + cv2.GaussianBlur(weave, (1, 5), 0)
    image = shade(colour, 0.78 + 0.35 * folds + 0.10 * weave)
    lint = cv2.GaussianBlur((rng.random((height, width)) > 0.985).astype(np.float32), (3, 3), 0)[..., None]
    return (image * (1 - lint) + np.asarray(vary(rng, colour, 60)) * lint).astype(np.uint8)


def cardboard(rng: np.random.Generator, height: int, width: int, colour: Colour = (178, 138, 92)) -> np.ndarray:
    """A parcel: flutes, tape across, a label with an address, arrows."""
    factor = 0.9 + 0.12 * fractal_noise(rng, height, width, 4, 5) + 0.03 * np.sin(np.arange(width) * 0.9)[None]
    image = shade(colour, factor.astype(np.float32))
    tape = int(height * rng.uniform(0.35, 0.65))
    cv2.rectangle(image, (0, tape), (width, tape + max(height // 9, 2)), vary(rng, (196, 172, 120), 12), -1)
    label_w, label_h = int(width * rng.uniform(0.3, 0.5)), int(height * rng.uniform(0.25, 0.4))
    left, top = int(rng.uniform(0.05, 0.45) * width), int(rng.uniform(0.05, 0.55) * height)
    image[top : top + label_h, left : left + label_w] = printed_page(rng, label_h, label_w)[
        : height - top, : width - left
    ]
    return image


def printed_page(rng: np.random.Generator, height: int, width: int, paper: Colour = (242, 240, 232)) -> np.ndarray:
    """A sheet with a heading, lines of words, and here and there a figure."""
    image = shade(paper, 0.97 + 0.03 * fractal_noise(rng, height, width, 3, 3))
    line_px, y = max(height / 22, 3.0), height * 0.07
    ink = tuple(float(v) for v in rng.integers(15, 90, 3))
    cv2.rectangle(image, _pixel((width * 0.08, y)), _pixel((width * rng.uniform(0.4, 0.9), y + 1.6 * line_px)), ink, -1)
    y += 3 * line_px
    while y < height * 0.95:
        if rng.random() < 0.12 and y < height * 0.7:
            box_h, box_w = height * rng.uniform(0.12, 0.24), width * rng.uniform(0.3, 0.8)
            colour = tuple(float(v) for v in rng.integers(40, 220, 3))
            cv2.rectangle(image, _pixel((width * 0.1, y)), _pixel((width * 0.1 + box_w, y + box_h)), colour, -1)
            y += box_h + line_px
        x = width * 0.08
        while x < width * 0.88:
            word = min(rng.uniform(0.04, 0.16) * width, width * 0.92 - x)
            cv2.rectangle(image, _pixel((x, y)), _pixel((x + word, y + 0.45 * line_px)), ink, -1)
            x += word + width * 0.025
            if rng.random() < 0.06:
                break
        y += line_px
    return image


def book_spine(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The back of a book: cloth of one colour, bands, and a title that runs along it."""
    colour = tuple(float(v) for v in rng.choice([rng.integers(20, 235, 3), rng.integers(20, 120, 3)]))
    image = shade(colour, 0.9 + 0.15 * fractal_noise(rng, height, width, 3, 4))
    contrast = tuple(float(v) for v in (np.asarray(colour) + 128) % 256)
    for _ in range(int(rng.integers(1, 4))):
        y = int(rng.uniform(0.03, 0.97) * height)
        cv2.rectangle(image, (0, y), (width, y + int(rng.integers(1, 6))), vary(rng, contrast, 40), -1)
    title = np.zeros((width, height), np.uint8)
    text = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWXYZ aeinorst"), int(rng.integers(6, 15))))
    scale = max(width / 34.0, 0.25)
    cv2.putText(title, text, (int(height * 0.12), int(width * 0.72)), int(rng.choice([0, 2, 3, 4])), scale, 255, 1, 16)
    ink = np.rot90(title, 3)[..., None].astype(np.float32) / 255
    return (image * (1 - ink) + np.asarray(contrast) * ink).astype(np.uint8)


def rug(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A knotted rug: borders, and a field of figures that never repeat."""
    palette = [vary(rng, colour, 22) for colour in ((120, 30, 34), (28, 44, 82), (206, 178, 128), (60, 84, 66))]
    order = rng.permutation(len(palette))
    image = np.zeros((height, width, 3), np.uint8)
    for ring, share in enumerate((0.0, 0.035, 0.05, 0.12, 0.135)):
        inset = int(share * width)
        colour = palette[order[ring % len(palette)]]
        cv2.rectangle(image, (inset, inset), (width - inset, height - inset), colour, -1)
    field, inset = image.copy(), int(0.15 * width)
    for _ in range(170):
        centre = rng.uniform([inset, inset], [width - inset, height - inset])
        colour, radius = palette[int(rng.integers(len(palette)))], rng.uniform(0.008, 0.045) * width
        sides = int(rng.integers(3, 9))
        angle = np.arange(sides) * 2 * np.pi / sides + rng.uniform(0, 6)
        spread = radius * rng.uniform(0.5, 1.0, sides)
        outline = centre + np.stack([np.cos(angle), np.sin(angle)], 1) * spread[:, None]
        cv2.fillPoly(field, [np.rint(outline).astype(np.int32)], colour, cv2.LINE_AA)
    field[:inset], field[-inset:] = image[:inset], image[-inset:]
    field[:, :inset], field[:, -inset:] = image[:, :inset], image[:, -inset:]
    for _ in range(120):  # small figures in the border
        side = rng.integers(4)
        along, across = rng.uniform(0.02, 0.98), rng.uniform(0.06, 0.115) * width
        spot = [(along * width, across), (along * width, height - across), (across, along * height)]
        spot = [*spot, (width - across, along * height)][side]
        colour = palette[int(rng.integers(len(palette)))]
        cv2.circle(field, _pixel(spot), int(rng.uniform(0.005, 0.016) * width), colour, -1, cv2.LINE_AA)
    pile = 0.82 + 0.14 * fractal_noise(rng, height, width, 6, 5)
    pile += 0.07 * rng.standard_normal((height, width), dtype=np.float32)
    return np.clip(field * pile[..., None], 0, 255).astype(np.uint8)


def door_leaf(rng: np.random.Generator, height: int, width: int, colour: Colour) -> np.ndarray:
    """A panelled door with its handle."""
    image = wood(rng, width, height, colour).transpose(1, 0, 2).copy()
    for top, bottom in ((0.06, 0.45), (0.52, 0.93)):
        corners = _pixel((0.15 * width, top * height)), _pixel((0.85 * width, bottom * height))
        cv2.rectangle(image, *corners, tuple(np.asarray(colour) * 0.55), max(width // 60, 1), cv2.LINE_AA)
        inner = tuple((x + s * 5, y + s * 5) for (x, y), s in zip(corners, (1, -1), strict=True))
        cv2.rectangle(image, *inner, tuple(np.minimum(np.asarray(colour) * 1.15, 255)), 2, cv2.LINE_AA)
    knob = (0.92 * width, 0.49 * height)
    cv2.rectangle(image, _pixel((0.89 * width, 0.44 * height)), _pixel((0.95 * width, 0.54 * height)), (70, 68, 66), -1)
    cv2.line(image, _pixel(knob), _pixel((0.80 * width, 0.49 * height)), (196, 192, 184), max(width // 40, 2))
    return image


def screen(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A computer screen: windows, text, a chart."""
    image = np.full((height, width, 3), rng.integers(15, 60, 3), np.uint8)
    for _ in range(3):
        w, h = int(width * rng.uniform(0.3, 0.55)), int(height * rng.uniform(0.35, 0.7))
        x, y = int(rng.uniform(0, width - w)), int(rng.uniform(0, height - h))
        image[y : y + h, x : x + w] = printed_page(rng, h, w, tuple(float(v) for v in rng.choice([30.0, 235.0], 1)) * 3)
        cv2.rectangle(
            image, (x, y), (x + w, y + max(h // 14, 2)), tuple(float(v) for v in rng.integers(40, 220, 3)), -1
        )
    line = np.cumsum(rng.normal(0, 0.03, 40)) * height + height * 0.5
    xs = np.linspace(0.05, 0.95, 40) * width
    cv2.polylines(image, [np.stack([xs, line], 1).astype(np.int32)], False, (240, 160, 40), 2, cv2.LINE_AA)
    return image


def _pixel(point) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
