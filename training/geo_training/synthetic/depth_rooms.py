"""Short walks through rendered rooms and streets as a dataset, with exact depth and exact masks of the objects.

Beside what every dataset holds there is masks/<sequence>/<frame>.png: uint16 object ids, 0 where there is no object.

python -m geo_training.synthetic.depth_rooms --rooms 40 --streets 12 --out rooms
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from pydantic import Field

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, focal_px_from_fov, pose_error, so3_exp
from geo_training.config import Strict
from geo_training.console import SingleCommand, command_group, say
from geo_training.datasets.scene import DATASET
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.options import OverwriteOption, SeedOption
from geo_training.storage.folders import check_output, output_folder
from geo_training.storage.images import encode_image
from geo_training.synthetic import finishes
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.panorama_set import graded
from geo_training.synthetic.paths import Walk, camera_pose, walk
from geo_training.synthetic.pool import render_all
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from geo_training.synthetic.sensor import Sensor, turn_rates
from geo_training.synthetic.street import generate_street, outdoor_lighting

DOMAINS = ("room", "street")
# What is flush with the shell of a scene has no edge in depth, so it is no object either.
SHELL = ("nothing", "wall", "floor", "ceiling", "ground", "rug", "picture", "door", "window", "ceiling lamp")
# What lies flat on an object belongs to it; the object is the last of that name before it.
LIES_ON = {"poster": "cabinet", "paper": "table", "magazine": "table"}
FARTHEST_M = 200.0  # of a stored depth; what is farther counts as unknown
ROOM_SPEED_M_S, STREET_FRAME_S = 0.45, 0.1
ROOM_STEP_M, ROOM_TURN_DEG = (0.05, 0.12), (2.0, 5.0)  # from frame to frame
STREET_STEP_M, STREET_CLEARANCE_M = (0.3, 0.8), 0.8
OBJECT_SHARE, VIEW_TRIES = 0.04, 4  # where fewer pixels show objects (a bare wall) another walk is drawn, if it can be
_TRIES = 400


class DepthRoomOptions(Strict):
    """How many scenes, and what is taken in each: `bursts` short walks of `burst_frames` frames, one sequence each.

    Every scene has its own field of view (`hfov_deg`), light, colours and finishes. All is drawn from `seed`.
    """

    rooms: int = Field(40, ge=0)
    streets: int = Field(12, ge=0)
    seed: int = Field(0, ge=0)
    bursts: int = Field(3, ge=1)
    burst_frames: int = Field(6, ge=3)
    width_px: int = Field(320, ge=32)
    height_px: int = Field(240, ge=32)
    hfov_deg: tuple[float, float] = (45.0, 95.0)
    supersample: int = Field(2, ge=1, le=4)
    split: Literal["train", "val", "test", ""] = "train"


@dataclass(frozen=True)
class Shot:
    """One rendered frame: `image_rgb` uint8 (H, W, 3); `depth_m` float32 (H, W), along z, 0 where it is unknown or
    farther than a dataset stores; `mask_hw` uint16 object ids, 0 for none; `T_world_camera` (4, 4), z up."""

    stamp_s: float
    T_world_camera: np.ndarray
    image_rgb: np.ndarray
    depth_m: np.ndarray
    mask_hw: np.ndarray


def depth_dataset(out: str | Path, options: DepthRoomOptions, overwrite: bool = False) -> int:
    """Renders the scenes on all cores and writes the dataset. Returns the number of frames.

    The same options give the same files. Nothing half-made is left. Raises InputError when `out` exists and is not
    empty (and `overwrite` is not set), or when no scene was asked for.
    """
    out = Path(out)
    if options.rooms + options.streets == 0:
        raise InputError("no scene was asked for; give --rooms or --streets above 0")
    check_output(out, DATASET, overwrite=overwrite)
    scenes = [("room", index) for index in range(options.rooms)]
    scenes += [("street", index) for index in range(options.streets)]
    # The masks are written into the finished dataset, which only then moves to its place.
    with output_folder(out, DATASET, overwrite=overwrite) as work:
        source = f"rendered: {options.rooms} rooms and {options.streets} streets of seed {options.seed}"
        masks: dict[str, bytes] = {}
        with SceneWriter(work, [source]) as writer:
            writer.describe(
                scale="metric", scale_source="rendered in metres", gravity_world=(0.0, 0.0, -1.0), world_frame="map"
            )
            writer.note("Every scene has a world frame of its own; only the frames of a scene share it.")
            for (domain, index), (camera, bursts) in zip(
                scenes, render_all(partial(_scene, options), scenes), strict=True
            ):
                camera_id = writer.add_camera(camera, f"{domain}{index:04d}")
                for burst, shots in enumerate(bursts):
                    for shot in shots:
                        frame = writer.add_frame(
                            f"{domain}{index:04d}_{burst}", round((60 * burst + shot.stamp_s) * 1e9), camera_id,
                            image_rgb=shot.image_rgb, T_world_camera=shot.T_world_camera, depth_m=shot.depth_m,
                            split=options.split,
                        )  # fmt: skip
                        masks[frame.name] = encode_image(".png", shot.mask_hw)
        for name, data in masks.items():
            path = (work / "masks" / name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return len(masks)


def object_ids(room: Room) -> np.ndarray:
    """The mask id (uint16) of each instance of a room: 0 for its shell and what is flush with it, that of its bearer
    for what lies flat on an object, its own for everything else."""
    ids, last = np.zeros(len(room.instances), np.uint16), {}
    for instance, name in enumerate(room.instances):
        if name not in SHELL:
            ids[instance] = last.get(LIES_ON.get(name), instance)
        last[name] = instance
    return ids


def render_scene(options: DepthRoomOptions, domain: str, index: int) -> tuple[Camera, list[list[Shot]]]:
    """The camera and the bursts of scene `index` of a domain ("room" or "street")."""
    key = (options.seed, 40, DOMAINS.index(domain), index)
    rng = np.random.default_rng(key)
    room, lighting = (_room if domain == "room" else _street)(rng)
    camera = _camera(options, rng)
    ids = object_ids(room)
    bursts = []
    for burst in range(options.bursts):
        rng = np.random.default_rng([*key, burst])
        for _ in range(VIEW_TRIES):
            way = (_room_burst if domain == "room" else _street_burst)(room, rng, options.burst_frames)
            preview = render(room, camera.resized(64, 48), way.T_world_camera[len(way) // 2], lighting, 1)
            if (ids[preview.instance_hw] > 0).mean() > OBJECT_SHARE:
                break
        sensor = Sensor(
            rng.uniform(-0.6, 0.5), rng.uniform(0.001, 0.008), rng.uniform(0.002, 0.014), rng.uniform(0, 0.25)
        )
        look_seed, turns = int(rng.integers(2**31)), turn_rates(way.stamps_s, way.T_world_camera)
        shots = []
        for stamp_s, T, turn_3 in zip(way.stamps_s, way.T_world_camera, turns, strict=True):
            picture = render(room, camera, T, lighting, options.supersample)
            image_rgb = sensor.expose(picture.radiance_hw3, camera, rng, turn_3)
            # The same numbers for every frame of a burst: colours do not change within it.
            image_rgb = graded(image_rgb, np.random.default_rng(look_seed))
            depth_m = np.where(picture.depth_m <= FARTHEST_M, picture.depth_m, np.float32(0))
            shots.append(Shot(float(stamp_s), T, image_rgb, depth_m, ids[picture.instance_hw]))
        bursts.append(shots)
    return camera, bursts


def _scene(options: DepthRoomOptions, scene: tuple[str, int]) -> tuple[Camera, list[list[Shot]]]:
    return render_scene(options, *scene)


def _room(rng: np.random.Generator) -> tuple[Room, Lighting]:
    size_m = (*rng.uniform(3.5, 9.0, 2).tolist(), float(rng.uniform(2.3, 3.6)))
    room = finishes.varied(Room.generate(int(rng.integers(2**31)), size_m), rng)
    if rng.random() < 0.55:
        lighting = Lighting.daylight(room, 1.0, rng.uniform(4200, 8500))
    else:
        lighting = Lighting.evening(room, 1.0, rng.uniform(2600, 5000))
    return room, replace(lighting, sky_rays=12)


def _street(rng: np.random.Generator) -> tuple[Room, Lighting]:
    return generate_street(int(rng.integers(2**31))), outdoor_lighting(rng)


def _camera(options: DepthRoomOptions, rng: np.random.Generator) -> Camera:
    width, height = options.width_px, options.height_px
    focal_px = float(focal_px_from_fov(width, np.deg2rad(rng.uniform(*options.hfov_deg))))
    off_x, off_y = rng.uniform(-0.02, 0.02, 2) * width
    return Camera(width, height, focal_px, focal_px, (width - 1) / 2 + off_x, (height - 1) / 2 + off_y)


def _room_burst(room: Room, rng: np.random.Generator, count: int) -> Walk:
    """A few steps of a walk with a camera in the hand. Walks that turn or dawdle too much are drawn again."""
    height_m, tilt_rad = rng.uniform(0.45, 1.75), np.deg2rad(rng.uniform(-18, 9))
    for _ in range(_TRIES):
        step_m, turn_deg = rng.uniform(*ROOM_STEP_M), rng.choice([-1, 1]) * rng.uniform(*ROOM_TURN_DEG)
        rate_hz = ROOM_SPEED_M_S / step_m
        way = walk(
            room, int(rng.integers(2**31)), count / rate_hz, rate_hz, ROOM_SPEED_M_S, turn_deg * count / 360, height_m
        )
        steps_m, turns_deg = _motion(way)
        walks_on = ROOM_STEP_M[0] <= steps_m.mean() <= ROOM_STEP_M[1] and steps_m.min() > 0.5 * ROOM_STEP_M[0]
        calm = ROOM_TURN_DEG[0] <= turns_deg.mean() <= ROOM_TURN_DEG[1] and turns_deg.max() < 1.5 * ROOM_TURN_DEG[1]
        if walks_on and calm:
            return Walk(way.stamps_s, np.array([_tilted(T, tilt_rad) for T in way.T_world_camera]))
    raise RuntimeError(f"no walk through room {room.seed} moves as it should")


def _street_burst(street: Room, rng: np.random.Generator, count: int) -> Walk:
    """A gentle curve over open ground, as a vehicle or a brisk walker takes it, looking ahead or a little aside."""
    free, origin_2 = street.free_space(STREET_CLEARANCE_M, 0.1)
    cells, steps = np.argwhere(free), np.arange(count)
    height_m, pitch_rad = rng.uniform(0.5, 2.2), np.deg2rad(rng.uniform(-10, 5))
    for _ in range(_TRIES):
        row, column = cells[int(rng.integers(len(cells)))]
        heading, bend = rng.uniform(-np.pi, np.pi), np.deg2rad(rng.uniform(-2.5, 2.5))
        headings = heading + bend * steps
        ahead_n2 = np.stack([np.cos(headings), np.sin(headings)], axis=1) * rng.uniform(*STREET_STEP_M)
        xy_n2 = origin_2 + 0.1 * np.array([column, row]) + np.cumsum(ahead_n2, axis=0) - ahead_n2[0]
        columns, rows = np.rint((xy_n2 - origin_2) / 0.1).astype(int).T
        inside = (columns >= 0) & (columns < free.shape[1]) & (rows >= 0) & (rows < free.shape[0])
        if inside.all() and free[rows, columns].all():
            break
    else:
        raise RuntimeError(f"street {street.seed} has no open ground of {count} steps")
    aside = np.deg2rad(rng.normal(0, 18))
    wobble_n3 = np.deg2rad(rng.normal(0, [0.4, 0.4, 0.6], (count, 3)))
    bob_n = height_m + rng.normal(0, 0.01, count)
    poses = [
        camera_pose(np.array([x, y, z]), yaw + aside + dyaw, pitch_rad + dpitch, roll)
        for (x, y), z, yaw, (dyaw, dpitch, roll) in zip(xy_n2, bob_n, headings, wobble_n3, strict=True)
    ]
    return Walk(steps * STREET_FRAME_S, np.array(poses))


def _motion(way: Walk) -> tuple[np.ndarray, np.ndarray]:
    """From each pose to the next: metres and degrees (N - 1,)."""
    steps = [pose_error(a, b) for a, b in pairwise(way.T_world_camera)]
    metres, radians = np.array(steps).T
    return metres, np.rad2deg(radians)


def _tilted(T_world_camera: np.ndarray, tilt_rad: float) -> np.ndarray:
    """The pose with its axis raised by `tilt_rad` (turned about the camera's own x)."""
    turned = T_world_camera.copy()
    turned[:3, :3] = turned[:3, :3] @ so3_exp(np.array([tilt_rad, 0.0, 0.0]))
    return turned


app = command_group("Render short walks with exact depth and masks, as a dataset.")


@app.command(cls=SingleCommand)
def main(
    out: Annotated[Path, typer.Option(help="The dataset to write.", metavar="DIR")],
    rooms: Annotated[int, typer.Option(min=0, help="Rooms.")] = 40,
    streets: Annotated[int, typer.Option(min=0, help="Outdoor scenes.")] = 12,
    bursts: Annotated[int, typer.Option(min=1, help="Short walks in each scene.")] = 3,
    burst_frames: Annotated[int, typer.Option("--frames", min=3, help="Frames of a short walk.")] = 6,
    width: Annotated[int, typer.Option(min=32, help="Of the frames, in pixels.")] = 320,
    height: Annotated[int, typer.Option(min=32, help="Of the frames, in pixels.")] = 240,
    split: Annotated[str, typer.Option(help="train, val or test: the split of every frame.")] = "train",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Render short walks through the rooms and streets of a seed and write them as a dataset.

    Example: `python -m geo_training.synthetic.depth_rooms --rooms 40 --streets 12 --out rooms`
    """
    if split not in ("train", "val", "test"):
        raise InputError(f"there is no split '{split}'; choose train, val or test")
    options = DepthRoomOptions(
        rooms=rooms, streets=streets, seed=seed, bursts=bursts, burst_frames=burst_frames, width_px=width,
        height_px=height, split=split,
    )  # fmt: skip
    say(f"{out}: {depth_dataset(out, options, overwrite)} frames of {rooms} rooms and {streets} streets")


if __name__ == "__main__":
    app()
