"""A walk through the rendered room as a rosbag2 (mcap), as a camera with a tracking system would record it.

/camera/image_raw/compressed   sensor_msgs/CompressedImage, JPEG, with the lens's distortion
/camera/camera_info            sensor_msgs/CameraInfo, with the image's stamp
/ground_truth/pose             geometry_msgs/PoseStamped, the camera's optical frame in map, at a rate of its own

python -m geo_training.synthetic.recording --seed 0 --walk 1 --light daylight --out first
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rosbags.rosbag2 import StoragePlugin, Writer

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.codec import encode_jpeg
from geo_training.console import SingleCommand, command_group, say
from geo_training.datasets.recordings.to_bag import (
    IMAGE_TOPIC,
    INFO_TOPIC,
    MADE_BAG,
    POSE_TOPIC,
    PRODUCER_KEY,
    BagMessages,
)
from geo_training.datasets.scene import PRODUCER
from geo_training.options import OverwriteOption, SeedOption
from geo_training.storage.folders import check_output, output_folder
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import Walk, walk
from geo_training.synthetic.pool import render_all
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room
from geo_training.synthetic.sensor import Sensor, turn_rates

LIGHTS = ("daylight", "evening")
POSE_HZ = 40  # of the ground truth; images are stamped at some of these times
FIRST_STAMP_NS = 1_700_000_000_000_000_000
JPEG_QUALITY = 92
CAMERA = Camera(480, 360, 340.0, 340.0, 241.2, 178.1, "plumb_bob", (-0.12, 0.03, 0.0004, -0.0003, 0.0))
SENSOR = Sensor()
_FEW = 16


@dataclass(frozen=True)
class RecordingPlan:
    """What is recorded: which room, which walk in it, under which light, with which camera.

    `image_hz` must divide 40. Raises InputError for what cannot be.
    """

    room_seed: int
    walk_seed: int
    light: Literal["daylight", "evening"] = "daylight"
    duration_s: float = 30.0
    image_hz: int = 8
    turns: float = 3.0
    sensor: Sensor = SENSOR
    camera: Camera = CAMERA

    def __post_init__(self):
        if self.light not in LIGHTS:
            raise InputError(f"there is no light '{self.light}'; choose {' or '.join(LIGHTS)}")
        if self.image_hz < 1 or POSE_HZ % self.image_hz:
            raise InputError(
                f"{self.image_hz} images a second do not fit {POSE_HZ} poses a second; give a divisor of it"
            )

    def walk(self, room: Room) -> Walk:
        """Every pose of the walk, POSE_HZ a second."""
        return walk(room, self.walk_seed, self.duration_s, POSE_HZ, turns=self.turns)


def record(plan: RecordingPlan, out: str | Path, overwrite: bool = False) -> int:
    """Renders the walk on all cores and writes the bag. Returns the number of images.

    Raises InputError as `check_output` does. Nothing half-written is left.
    """
    check_output(out, MADE_BAG, overwrite=overwrite)
    way = plan.walk(_room(plan.room_seed))
    chosen = range(0, len(way), POSE_HZ // plan.image_hz)
    with output_folder(out, MADE_BAG, overwrite=overwrite) as work:
        messages, connections = BagMessages("map"), {}
        writer = Writer(work, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_custom_data(PRODUCER_KEY, PRODUCER)
        with writer:

            def put(topic: str, stamp_ns: int, message) -> None:
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=messages.store)
                data = messages.store.serialize_cdr(message, message.__msgtype__)
                writer.write(connections[topic], stamp_ns, data)

            images = render_all(partial(_picture, plan), list(chosen), few=_FEW, chunk=4)
            for index, (stamp_s, T) in enumerate(zip(way.stamps_s, way.T_world_camera, strict=True)):
                stamp_ns = FIRST_STAMP_NS + round(stamp_s * 1e9)
                put(POSE_TOPIC, stamp_ns, messages.pose_stamped(stamp_ns, T))
                if index in chosen:
                    put(INFO_TOPIC, stamp_ns, messages.camera_info(stamp_ns, plan.camera))
                    put(f"{IMAGE_TOPIC}/compressed", stamp_ns, messages.compressed(stamp_ns, next(images), "jpeg"))
    return len(chosen)


def _picture(plan: RecordingPlan, index: int) -> bytes:
    room, lighting, way, turns = _set_up(plan)
    picture = render(room, plan.camera, way.T_world_camera[index], lighting, with_depth=False)
    rng = np.random.default_rng([plan.walk_seed, 22, index])
    return encode_jpeg(plan.sensor.expose(picture.radiance_hw3, plan.camera, rng, turns[index]), JPEG_QUALITY)


@lru_cache(maxsize=1)
def _set_up(plan: RecordingPlan) -> tuple[Room, Lighting, Walk, np.ndarray]:
    room = _room(plan.room_seed)
    way = plan.walk(room)
    return room, getattr(Lighting, plan.light)(room), way, turn_rates(way.stamps_s, way.T_world_camera)


@lru_cache(maxsize=1)
def _room(seed: int) -> Room:
    return Room.generate(seed)


app = command_group("Record a walk through a rendered room.")


@app.command(cls=SingleCommand)
def main(
    out: Annotated[Path, typer.Option(help="The rosbag2 to write.", metavar="BAG")],
    walk_seed: Annotated[int, typer.Option("--walk", help="Which walk through the room.")] = 1,
    light: Annotated[str, typer.Option(help="daylight or evening.")] = "daylight",
    duration_s: Annotated[float, typer.Option("--duration", min=1, help="Seconds.")] = 30.0,
    image_hz: Annotated[int, typer.Option("--rate", min=1, help="Images a second; it divides 40.")] = 8,
    turns: Annotated[float, typer.Option(help="How often the gaze goes round; negative is clockwise.")] = 3.0,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Render a walk through the room of a seed and write it as a rosbag2.

    Example: `python -m geo_training.synthetic.recording --seed 0 --walk 2 --light evening --out second`
    """
    plan = RecordingPlan(seed, walk_seed, light, duration_s, image_hz, turns)  # type: ignore[arg-type]
    say(f"{out}: {record(plan, out, overwrite)} images, {duration_s:g} s, {light}")


if __name__ == "__main__":
    app()
