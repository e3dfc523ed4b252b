"""Visits to rendered worlds as one dataset: a sequence each, with poses and exact depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from geo_perception.geometry import Camera
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import Walk, walk
from geo_training.synthetic.pool import render_all
from geo_training.synthetic.rearranging import moved_a_little, rearranged, third_moved
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from geo_training.synthetic.sensor import Sensor, turn_rates
from geo_training.synthetic.shop import Shop

CAMERA = Camera(480, 360, 340.0, 340.0, 241.2, 178.1)
SENSOR = Sensor()
ROOM_HZ = 2.0
_FEW, _CHUNK = 16, 4


class Visit(Protocol):
    """A walk through a world under a light. Equal visits give equal pictures."""

    @property
    def sequence(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def walk_seed(self) -> int: ...

    def scene(self) -> tuple[Room, Lighting, Walk]: ...


@dataclass(frozen=True)
class ShopVisit:
    """A walk of `frames` frames along some aisles of a shop; `light` are the brightness and the temperature (K)."""

    sequence: str
    split: str
    seed: int
    aisles: tuple[int, ...]
    walk_seed: int
    frames: int
    light: tuple[float, float] = (1.0, 4200.0)

    def scene(self) -> tuple[Room, Lighting, Walk]:
        shop = _shop(self.seed)
        return shop.room, shop.lighting(*self.light), shop.walk(self.aisles, self.walk_seed, self.frames)


@dataclass(frozen=True)
class RoomVisit:
    """A walk of `frames` frames through a room, or through what `layout` says became of it."""

    sequence: str
    split: str
    seed: int
    layout: Literal["own", "rearranged", "moved", "third"]
    walk_seed: int
    frames: int
    light: Literal["daylight", "evening"] = "daylight"
    turns: float = 3.0

    def scene(self) -> tuple[Room, Lighting, Walk]:
        room = _room(self.seed, self.layout)
        way = walk(room, self.walk_seed, self.frames / ROOM_HZ, ROOM_HZ, turns=self.turns)
        return room, getattr(Lighting, self.light)(room), way


def write_visits(out: Path, visits: Sequence[Visit], source: str, overwrite: bool = False) -> int:
    """Renders the visits on all cores and writes the dataset. Returns the number of frames.

    Raises InputError when `out` exists and is not empty (and `overwrite` is not set). Nothing half-made is left.
    """
    shots = [(visit, index) for visit in visits for index in range(len(_scene(visit)[2]))]
    with SceneWriter(out, [source], overwrite) as writer:
        writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 0.0, -1.0))
        camera_id = writer.add_camera(CAMERA)
        for (visit, index), (image_rgb, depth_m) in zip(shots, render_all(_shot, shots, _FEW, _CHUNK), strict=True):
            way = _scene(visit)[2]
            writer.add_frame(
                visit.sequence, round(way.stamps_s[index] * 1e9), camera_id, image_rgb, stem=f"{index:05d}",
                T_world_camera=way.T_world_camera[index], depth_m=depth_m, split=visit.split,
            )  # fmt: skip
    return len(shots)


def _shot(shot: tuple[Visit, int]) -> tuple[np.ndarray, np.ndarray]:
    visit, index = shot
    room, lighting, way = _scene(visit)
    picture = render(room, CAMERA, way.T_world_camera[index], lighting)
    rng = np.random.default_rng([visit.walk_seed, 33, index])
    turn_3 = turn_rates(way.stamps_s[max(index - 1, 0) : index + 2], way.T_world_camera[max(index - 1, 0) : index + 2])
    return SENSOR.expose(picture.radiance_hw3, CAMERA, rng, turn_3[min(index, 1)]), picture.depth_m


@lru_cache(maxsize=8)
def _scene(visit: Visit) -> tuple[Room, Lighting, Walk]:
    return visit.scene()


@lru_cache(maxsize=2)
def _shop(seed: int) -> Shop:
    return Shop.generate(seed)


@lru_cache(maxsize=4)
def _room(seed: int, layout: str) -> Room:
    room = Room.generate(seed)
    if layout == "own":
        return room
    if layout == "rearranged":
        return rearranged(room)
    return third_moved(room, seed) if layout == "third" else moved_a_little(room, seed)
