"""A folder of panoramas of rendered scenes, for training: rooms and streets of many sizes, lights and colours."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import skew
from geo_perception.runtime.files import replace_bytes, replace_text
from geo_training.datasets.pictures import shown_image_size
from geo_training.storage.images import encode_image
from geo_training.synthetic import finishes
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.panorama import render_panorama
from geo_training.synthetic.room import Room
from geo_training.synthetic.street import generate_street, outdoor_lighting

JPEG_QUALITY = 92
DOMAINS = ("indoor", "outdoor")
INDEX_NAME = "index.csv"
CAMERA_HEIGHT_M = (0.6, 1.9)
CLEARANCES_M = (0.35, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class View:
    """One panorama of the set: view `view` of scene `scene` of a domain."""

    seed: int
    domain: str
    scene: int
    view: int

    @property
    def file_name(self) -> str:
        return f"{self.domain}_{self.seed}_{self.scene:04d}_{self.view}.jpg"


def planned_views(count: int, seed: int, outdoor_share: float) -> list[View]:
    """The first `count` panoramas of a seed, scene by scene, so that every stretch has its share of each domain.

    Every scene has three or four views. What a view shows does not depend on `count` or `outdoor_share`.
    """
    views: list[View] = []
    scenes = dict.fromkeys(DOMAINS, 0)
    made = dict.fromkeys(DOMAINS, 0)
    while len(views) < count:
        outdoor = made["outdoor"] + 0.5 < outdoor_share * (len(views) + 1)
        domain = DOMAINS[int(outdoor)]
        scene = scenes[domain]
        scenes[domain] += 1
        number = int(np.random.default_rng([seed, 30, int(outdoor), scene]).integers(3, 5))
        views += [View(seed, domain, scene, view) for view in range(number)]
        made[domain] += number
    return views[:count]


def training_panoramas(
    out_folder: Path | str, count: int, seed: int = 0, outdoor_share: float = 0.45, width_px: int = 2048
) -> list[Path]:
    """Renders `count` panoramas into a folder as JPEGs, and lists them in its index.csv (file, domain).

    A file that is there and has this width is kept, so that a run that was cut short goes on; the same seed gives the
    same files. Raises InputError for a count below 1, a share outside 0 to 1, or a width as `render_panorama`.
    """
    if count < 1 or not 0 <= outdoor_share <= 1:
        raise InputError(f"{count} panoramas, {outdoor_share} of them outdoors; give 1 or more and a share of 0 to 1")
    folder = Path(out_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}; give a folder that can be written") from None
    done: list[View] = []
    for view in planned_views(count, seed, outdoor_share):
        path = folder / view.file_name
        if (shown_image_size(path) or (0, 0))[0] != width_px:
            picture = _view_picture(view, width_px)
            replace_bytes(path, encode_image(".jpg", picture, JPEG_QUALITY))
        done.append(view)
        _write_index(folder, done)
    return [folder / view.file_name for view in done]


def _view_picture(view: View, width_px: int) -> np.ndarray:
    """The panorama of a view, RGB uint8 (width / 2, width, 3)."""
    scene, lightings = _scene(view.seed, view.domain, view.scene)
    rng = np.random.default_rng([view.seed, 32, DOMAINS.index(view.domain), view.scene, view.view])
    position_3 = _free_place(scene, rng)
    lighting = lightings[view.view % len(lightings)]
    yaw_rad, exposure_ev = rng.uniform(-np.pi, np.pi), rng.uniform(-1.1, 1.0)
    picture = render_panorama(scene, position_3, yaw_rad, lighting, width_px, exposure_ev)
    return graded(picture, rng)


@lru_cache(maxsize=1)
def _scene(seed: int, domain: str, number: int) -> tuple[Room, tuple[Lighting, ...]]:
    """A scene and the lights in which its views are taken."""
    rng = np.random.default_rng([seed, 31, DOMAINS.index(domain), number])
    scene_seed = int(rng.integers(2**31))
    if domain == "outdoor":
        return generate_street(scene_seed), (outdoor_lighting(rng),)
    size_m = (*rng.uniform(3.5, 14.0, 2).tolist(), float(rng.uniform(2.3, 5.0)))
    room = finishes.varied(Room.generate(scene_seed, size_m), rng)
    lightings = [
        Lighting.daylight(room, 1.0, rng.uniform(4200, 8500)),
        Lighting.evening(room, 1.0, rng.uniform(2600, 5000)),
    ]
    rng.shuffle(lightings)
    return room, tuple(replace(lighting, sky_rays=12) for lighting in lightings)


def _free_place(scene: Room, rng: np.random.Generator) -> np.ndarray:
    """A place (3,) at eye height, off walls and furniture."""
    for clearance_m in CLEARANCES_M:
        free, origin_2 = scene.free_space(clearance_m, 0.1)
        cells = np.argwhere(free)
        if len(cells) >= 20:
            break
    else:
        raise RuntimeError(f"scene {scene.seed} of {scene.size_m} m has no free place")
    row, column = cells[int(rng.integers(len(cells)))]
    height_m = min(rng.uniform(*CAMERA_HEIGHT_M), scene.size_m[2] - 0.3)
    return np.array([origin_2[0] + 0.1 * column, origin_2[1] + 0.1 * row, height_m])


def graded(picture_hw3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture (RGB uint8) in other colours: hues turned about grey, more or less saturation, a tint, a gamma."""
    turn, saturation = rng.normal(0, 0.22), rng.uniform(0.25, 1.25)
    tint_3, gamma = np.exp(rng.normal(0, 0.08, 3)), np.exp(rng.normal(0, 0.2))
    grey_33 = np.full((3, 3), 1 / 3)
    cross_33 = skew(np.full(3, 1 / np.sqrt(3)))
    # Rotation about the grey axis (Rodrigues); what is off the axis is scaled by the saturation.
    turned_33 = grey_33 + saturation * (np.cos(turn) * (np.eye(3) - grey_33) + np.sin(turn) * cross_33)
    matrix_33 = (tint_3[:, None] * turned_33).astype(np.float32)
    colour = cv2.transform(picture_hw3.astype(np.float32) / 255, matrix_33)
    return np.clip(255 * np.clip(colour, 0, 1) ** np.float32(gamma) + 0.5, 0, 255).astype(np.uint8)


def _write_index(folder: Path, views: list[View]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "domain"))
    writer.writerows((view.file_name, view.domain) for view in views)
    replace_text(folder / INDEX_NAME, text.getvalue())
