"""What hangs on the walls: posters, paintings, maps and boards, each drawn from a seed. RGB uint8 (H, W, 3)."""

from __future__ import annotations

import cv2
import numpy as np

from geo_training.synthetic.textures import Colour, fractal_noise, printed_page, shade

PALETTES = (
    ((236, 220, 190), (200, 70, 50), (36, 62, 92), (232, 168, 66), (28, 28, 34)),
    ((242, 240, 232), (30, 120, 110), (240, 120, 90), (60, 50, 90), (250, 200, 120)),
    ((226, 232, 236), (220, 50, 90), (20, 90, 160), (250, 210, 60), (40, 40, 44)),
    ((30, 34, 46), (230, 90, 60), (90, 190, 180), (240, 220, 150), (150, 80, 150)),
    ((244, 236, 220), (96, 120, 60), (180, 90, 50), (60, 70, 60), (220, 180, 110)),
)
WORDS = (
    "ATLAS", "JAZZ", "NORD", "MUSEUM", "1968", "LUNA", "CINEMA", "RIVER", "ECHO", "PARIS", "SUMMER", "OPERA", "KYOTO",
    "FESTIVAL", "GRAND", "OCEAN", "RADIO", "SALON", "TERRA", "VOLT", "WINTER", "ZEBRA", "BAZAAR", "QUARTZ",
)  # fmt: skip


def landscape(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Hills behind hills under a sky with clouds, trees in front."""
    low, high = np.sort(rng.uniform(60, 250, (2, 3)), axis=0)
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** rng.uniform(0.6, 1.4)
    image = (high[::-1] * (1 - ramp) + low * ramp).astype(np.float32) * np.ones((1, width, 1), np.float32)
    clouds = np.clip(fractal_noise(rng, height, width, 3, 6) * 2.2 - 1.1, 0, 1)[..., None]
    image = image * (1 - 0.7 * clouds) + 250 * 0.7 * clouds
    sun = rng.uniform([0.15, 0.1], [0.85, 0.4]) * [width, height]
    cv2.circle(image, _pixel(sun), int(width * rng.uniform(0.05, 0.1)), (252, 226, 170), -1, cv2.LINE_AA)
    rows = np.arange(height)[:, None]
    for layer in range(5):
        ridge = fractal_noise(rng, 1, width, rng.uniform(2, 6), 6)[0] * height * 0.28
        ridge = height * (0.42 + 0.12 * layer) - ridge * rng.uniform(0.5, 1.2)
        tone = rng.uniform(30, 190, 3) * (1 - 0.14 * layer)
        texture = 0.75 + 0.5 * fractal_noise(rng, height, width, 12, 5)
        image = np.where((rows > ridge[None])[..., None], tone * texture[..., None], image)
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(60):
        x, size = rng.uniform(0, width), rng.uniform(0.02, 0.09) * height
        y = rng.uniform(0.75, 1.0) * height
        outline = np.array([[x - size * 0.35, y], [x + size * 0.35, y], [x, y - size * 1.6]])
        cv2.fillPoly(image, [np.rint(outline).astype(np.int32)], tuple(rng.uniform(10, 90, 3)), cv2.LINE_AA)
    return np.clip(image, 0, 255).astype(np.uint8)


def geometric(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Discs, arcs, bars and triangles of one palette."""
    palette = _palette(rng)
    image = np.full((height, width, 3), palette[0], np.uint8)
    for _ in range(int(rng.integers(45, 75))):
        centre, size = rng.uniform([0, 0], [width, height]), rng.uniform(0.02, 0.16) * width
        colour, kind = palette[int(rng.integers(1, len(palette)))], rng.integers(5)
        angle = rng.uniform(0, 360)
        if kind == 0:
            cv2.circle(image, _pixel(centre), int(size), colour, -1, cv2.LINE_AA)
        elif kind == 1:
            thickness = max(int(size * 0.2), 2)
            cv2.ellipse(image, _pixel(centre), (int(size), int(size)), angle, 0, 200, colour, thickness, cv2.LINE_AA)
        elif kind == 2:
            box = cv2.boxPoints((tuple(centre), (size * 2.5, size * rng.uniform(0.1, 0.6)), angle))
            cv2.fillPoly(image, [np.rint(box).astype(np.int32)], colour, cv2.LINE_AA)
        elif kind == 3:
            triangle = centre + rng.normal(0, size, (3, 2))
            cv2.fillPoly(image, [np.rint(triangle).astype(np.int32)], colour, cv2.LINE_AA)
        else:
            for stripe in range(5):
                start = centre + [0, stripe * size * 0.22]
                cv2.line(image, _pixel(start), _pixel(start + [size * 1.6, 0]), colour, max(int(size * 0.09), 1))
    return image


def facets(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A surface broken into triangles, each of its own tone."""
    columns, rows = int(rng.integers(7, 11)), max(int(9 * height / width), 5)
    grid = np.stack(np.meshgrid(np.arange(columns + 1), np.arange(rows + 1)), -1).astype(np.float64)
    grid += rng.uniform(-0.38, 0.38, grid.shape)
    grid[[0, -1], :, 1] = [[0], [rows]]
    grid[:, [0, -1], 0] = [[0, columns]]
    grid = np.rint(grid * [width / columns, height / rows]).astype(np.int32)
    palette, image = np.asarray(_palette(rng), np.float32), np.zeros((height, width, 3), np.uint8)
    field = fractal_noise(rng, rows + 1, columns + 1, 3, 3) * (len(palette) - 1.01)
    for i in range(rows):
        for j in range(columns):
            quad = grid[i, j], grid[i, j + 1], grid[i + 1, j + 1], grid[i + 1, j]
            for corners in ((0, 1, 2), (0, 2, 3)):
                base, share = divmod(float(field[i, j]), 1)
                colour = palette[int(base)] * (1 - share) + palette[int(base) + 1] * share
                tone = tuple(np.clip(colour * rng.uniform(0.65, 1.25), 0, 255).tolist())
                cv2.fillConvexPoly(image, np.array([quad[c] for c in corners]), tone, cv2.LINE_AA)
    return image


def lettering(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A bill: a few large words, a picture, small print."""
    palette = _palette(rng)
    image = shade(palette[0], 0.94 + 0.08 * fractal_noise(rng, height, width, 4, 4))
    picture_h = int(height * rng.uniform(0.28, 0.45))
    top = int(height * rng.uniform(0.22, 0.4))
    painter = (geometric, facets, landscape)[int(rng.integers(3))]
    left = int(width * rng.uniform(0.04, 0.14))
    image[top : top + picture_h, left : width - left] = painter(rng, picture_h, width - 2 * left)
    y = height * 0.03
    while y < height * 0.95:
        word = str(rng.choice(WORDS))
        font, scale = int(rng.choice([0, 2, 3, 4])), width * rng.uniform(0.5, 0.9)
        (text_w, text_h), _ = cv2.getTextSize(word, font, 1.0, 2)
        factor = min(scale / text_w, height * 0.13 / text_h)
        y += text_h * factor + height * 0.02
        if not top - 4 < y < top + picture_h + text_h * factor:
            ink = palette[int(rng.integers(1, len(palette)))]
            place = (int(rng.uniform(0.04, 0.1) * width), int(y))
            cv2.putText(image, word, place, font, factor, ink, max(int(2.4 * factor), 1), cv2.LINE_AA)
    return image


def street_map(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A city: blocks, parks, a river, roads, names."""
    image = shade((236, 230, 216), 0.95 + 0.06 * fractal_noise(rng, height, width, 5, 4))
    blocks = fractal_noise(rng, height, width, 5, 3)
    image[blocks > 0.68] = (186, 214, 170)
    image[blocks < 0.22] = (214, 206, 200)
    for thickness, colour, count in ((1, (188, 180, 170), 70), (2, (250, 250, 248), 34), (4, (244, 196, 96), 7)):
        for _ in range(count):
            start, angle = rng.uniform([0, 0], [width, height]), rng.choice([0.3, 1.87]) + rng.normal(0, 0.16)
            reach = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.2, 1.0) * width
            wide = max(int(thickness * width / 300), 1)
            cv2.line(image, _pixel(start - reach / 2), _pixel(start + reach / 2), colour, wide, cv2.LINE_AA)
    xs = np.linspace(0, width, 60)
    ys = height * rng.uniform(0.3, 0.7) + (fractal_noise(rng, 1, 60, 3, 3)[0] - 0.5) * height * 0.7
    river = np.stack([xs, ys], 1).astype(np.int32)
    cv2.polylines(image, [river], False, (132, 178, 214), max(width // 26, 3), cv2.LINE_AA)
    for _ in range(26):
        place = _pixel(rng.uniform([0, 0.03 * height], [0.85 * width, height]))
        word = str(rng.choice(WORDS)).title()
        cv2.putText(image, word, place, 0, width / 1500 + 0.1, (70, 60, 60), 1, cv2.LINE_AA)
    return image


def abstract(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Paint poured and dragged: noise warped by noise, in the colours of one palette, with strokes over it."""
    warp = fractal_noise(rng, height, width, 3, 4)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    source = fractal_noise(rng, height, width, 4, 6)
    bent = cv2.remap(
        source, x + (warp - 0.5) * width * 0.6, y + (warp - 0.5) * height * 0.5, 1, None, cv2.BORDER_REFLECT
    )
    palette = np.asarray(_palette(rng), np.float32)
    position = np.clip(bent, 0, 0.999) * (len(palette) - 1)
    base = position.astype(int)
    share = (position - base)[..., None] ** 0.5
    image = np.ascontiguousarray(palette[base] * (1 - share) + palette[base + 1] * share)
    for _ in range(int(rng.integers(14, 30))):
        spine = np.cumsum(rng.normal(0, width * 0.04, (14, 2)), axis=0) + rng.uniform([0, 0], [width, height])
        colour = tuple(palette[int(rng.integers(len(palette)))].tolist())
        cv2.polylines(
            image, [spine.astype(np.int32)], False, colour, int(rng.integers(1, max(width // 28, 3))), cv2.LINE_AA
        )
    return np.clip(image, 0, 255).astype(np.uint8)


def botanical(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Stems with leaves and blossoms on paper."""
    image = shade((238, 232, 214), 0.94 + 0.07 * fractal_noise(rng, height, width, 4, 4))
    for _ in range(int(rng.integers(4, 7))):
        foot = np.array([rng.uniform(0.25, 0.75) * width, height * 0.95])
        tip = np.array([rng.uniform(0.05, 0.95) * width, rng.uniform(0.08, 0.5) * height])
        bend = (foot + tip) / 2 + rng.normal(0, 0.12 * width, 2)
        t = np.linspace(0, 1, 24)[:, None]
        stem = (1 - t) ** 2 * foot + 2 * t * (1 - t) * bend + t**2 * tip
        green = tuple(rng.uniform((30, 70, 30), (110, 150, 90)))
        cv2.polylines(image, [stem.astype(np.int32)], False, green, max(width // 90, 1), cv2.LINE_AA)
        for point in stem[4::2]:
            size, angle = rng.uniform(0.03, 0.09) * width, rng.uniform(0, 360)
            leaf = tuple(np.clip(np.asarray(green) + rng.normal(0, 26, 3), 0, 255))
            cv2.ellipse(image, _pixel(point), (int(size), int(size * 0.35)), angle, 0, 360, leaf, -1, cv2.LINE_AA)
        petal = tuple(rng.uniform(90, 250, 3))
        for angle in np.arange(0, 360, 360 / rng.integers(5, 10)):
            at = tip + 0.045 * width * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
            axes = (int(0.045 * width), int(0.022 * width))
            cv2.ellipse(image, _pixel(at), axes, angle, 0, 360, petal, -1, cv2.LINE_AA)
        cv2.circle(image, _pixel(tip), int(0.022 * width), (230, 180, 60), -1, cv2.LINE_AA)
    return image


def pinboard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Cork with notes, tickets, pages and small pictures pinned over each other."""
    image = shade((176, 128, 82), 0.85 + 0.25 * fractal_noise(rng, height, width, 40, 3))
    for _ in range(int(rng.integers(16, 26))):
        note_h, note_w = int(height * rng.uniform(0.16, 0.34)), int(height * rng.uniform(0.14, 0.3))
        painter = (printed_page, printed_page, geometric, landscape, abstract)[int(rng.integers(5))]
        note = painter(rng, note_h, note_w)
        centre, angle = rng.uniform([0.06, 0.1], [0.94, 0.9]) * [width, height], rng.normal(0, 7)
        turn = cv2.getRotationMatrix2D((note_w / 2, note_h / 2), angle, 1.0)
        turn[:, 2] += centre - [note_w / 2, note_h / 2]
        mask = cv2.warpAffine(np.ones((note_h, note_w), np.float32), turn, (width, height))[..., None]
        pasted = cv2.warpAffine(note, turn, (width, height))
        image = (image * (1 - mask) + pasted * mask).astype(np.uint8)
        cv2.circle(image, _pixel(centre - [0, note_h * 0.42]), max(height // 70, 2), tuple(rng.uniform(30, 240, 3)), -1)
    return image


def whiteboard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Boxes, arrows, curves and words in four markers."""
    image = shade((238, 240, 242), 0.95 + 0.05 * fractal_noise(rng, height, width, 3, 4))
    inks = ((30, 60, 170), (190, 40, 40), (20, 120, 60), (30, 30, 34))
    for _ in range(int(rng.integers(26, 40))):
        at, ink = rng.uniform([0.04, 0.08], [0.86, 0.94]) * [width, height], inks[int(rng.integers(4))]
        size, kind = rng.uniform(0.04, 0.14) * width, rng.integers(4)
        if kind == 0:
            cv2.rectangle(image, _pixel(at), _pixel(at + [size, size * 0.6]), ink, 2, cv2.LINE_AA)
        elif kind == 1:
            cv2.arrowedLine(image, _pixel(at), _pixel(at + rng.normal(0, size, 2)), ink, 2, cv2.LINE_AA)
        elif kind == 2:
            xs = np.linspace(0, size * 1.6, 30)
            ys = np.cumsum(rng.normal(0, size * 0.08, 30))
            cv2.polylines(image, [(np.stack([xs, ys], 1) + at).astype(np.int32)], False, ink, 2, cv2.LINE_AA)
        else:
            word = str(rng.choice(WORDS)).lower()
            cv2.putText(image, word, _pixel(at), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, size / 90, ink, 2, cv2.LINE_AA)
    return image


def outdoors(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """What a window shows: sky, houses across the street, crowns of trees; the bars of the window over it."""
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image = (np.array([150, 190, 235]) * (1 - ramp) + np.array([225, 232, 238]) * ramp) * np.ones((1, width, 1))
    image = np.ascontiguousarray(image, np.float32)
    x = 0.0
    while x < width:
        house_w, top = width * rng.uniform(0.14, 0.3), height * rng.uniform(0.3, 0.55)
        wall = rng.uniform(120, 215, 3)
        cv2.rectangle(image, _pixel((x, top)), _pixel((x + house_w, height)), tuple(wall), -1)
        for column in np.arange(x + house_w * 0.12, x + house_w * 0.8, house_w * 0.26):
            for row in np.arange(top + height * 0.05, height, height * 0.13):
                pane = tuple(rng.uniform(40, 120, 3))
                cv2.rectangle(
                    image, _pixel((column, row)), _pixel((column + house_w * 0.14, row + height * 0.07)), pane, -1
                )
        x += house_w
    crowns = fractal_noise(rng, height, width, 7, 5)
    tree = (np.arange(height)[:, None] > height * (0.95 - 0.4 * fractal_noise(rng, 1, width, 4, 4)))[..., None]
    image = np.where(tree, (0.4 + 0.8 * crowns[..., None]) * np.array([86, 112, 60]), image)
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    bar = max(width // 34, 3)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), (236, 234, 228), 2 * bar)
    cv2.rectangle(image, (width // 2 - bar, 0), (width // 2 + bar, height), (236, 234, 228), -1)
    cv2.rectangle(image, (0, int(height * 0.7) - bar // 2), (width, int(height * 0.7) + bar // 2), (236, 234, 228), -1)
    return image


PICTURES = (landscape, geometric, lettering, facets, street_map, abstract, botanical)


def picture(rng: np.random.Generator, height: int, width: int, kind: int | None = None) -> np.ndarray:
    """A picture of some kind, often within a pale mount."""
    painter = PICTURES[int(rng.integers(len(PICTURES))) if kind is None else kind % len(PICTURES)]
    if rng.random() < 0.5:
        return painter(rng, height, width)
    margin = int(min(height, width) * rng.uniform(0.05, 0.12))
    image = np.full((height, width, 3), rng.uniform(222, 246, 3), np.uint8)
    image[margin : height - margin, margin : width - margin] = painter(rng, height - 2 * margin, width - 2 * margin)
    return image


def _palette(rng: np.random.Generator) -> list[Colour]:
    colours = np.asarray(PALETTES[int(rng.integers(len(PALETTES)))], np.float64)
    colours = np.clip(colours + rng.normal(0, 14, colours.shape), 0, 255)
    return [tuple(c.tolist()) for c in colours]


def _pixel(point) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
