"""What happens to robots. Each fault is done to a robot that works, and leaves it as something that must work again."""

from __future__ import annotations

import os
import shutil

import numpy as np
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from soak_robot import NODES, SoakRobot

_CYCLE = (
    Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
)  # fmt: skip
QUICK_CHANGES = 64


def camera_vanishes(robot: SoakRobot, rng: np.random.Generator) -> None:
    robot.spin_for(rng.uniform(0.5, 4.0))


def camera_info_vanishes(robot: SoakRobot, rng: np.random.Generator) -> None:
    for _ in range(10):
        robot.show(tell=False)


def camera_is_covered(robot: SoakRobot, rng: np.random.Generator) -> None:
    for _ in range(10):
        robot.show(np.zeros_like(robot.pictures[0]))


def camera_changes(robot: SoakRobot, rng: np.random.Generator) -> None:
    """Another zoom, of which images and CameraInfo tell, and another size."""
    camera = robot.camera
    for factor in (1.4, 0.5):
        size_px = round(camera.width_px * factor) // 2 * 2, round(camera.height_px * factor) // 2 * 2
        other = camera.resized(*size_px)
        picture_hw3 = np.ascontiguousarray(np.resize(robot.pictures[0], (size_px[1], size_px[0], 3)))
        for _ in range(5):
            robot.show(picture_hw3, other)


def clock_jumps(robot: SoakRobot, rng: np.random.Generator) -> None:
    for seconds in (-rng.uniform(2, 500), rng.uniform(2, 500), -0.3):
        robot.stamp_ns = max(robot.stamp_ns + round(seconds * 1e9), 10**10)
        robot.show()


def hostile_messages(robot: SoakRobot, rng: np.random.Generator, count: int = 500) -> None:
    """Numbers, sizes and names that nobody means, faster than they can be answered."""
    numbers = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324)
    encodings = ("rgb8", "mono8", "", "16UC7", "bayer_rggb8", "yuv422", "\u00fc" * 40, "32FC1", "mono16")
    for index in range(count):
        height, width = (int(rng.choice([0, 1, 7, 240, 2**31])) for _ in range(2))
        data = rng.integers(0, 256, int(rng.choice([0, 1, 100, 4000])), dtype=np.uint8).tobytes()
        image = Image(height=height, width=width, encoding=str(rng.choice(encodings)), data=data)
        image.step, image.is_bigendian = int(rng.choice([0, 1, 3 * 240, 2**32 - 1])), int(rng.integers(0, 256))
        robot.images.publish(robot.stamped(image) if rng.random() < 0.7 else image)
        info = CameraInfo(height=height, width=width, distortion_model=str(rng.choice(["plumb_bob", "", "x" * 99])))
        info.k = rng.choice(numbers, 9).tolist()
        info.d = rng.choice(numbers, int(rng.integers(0, 15))).tolist()
        info.binning_x = int(rng.choice([0, 1, 2**32 - 1]))
        robot.infos.publish(robot.stamped(info) if rng.random() < 0.7 else info)
        cloud = PointCloud2(height=height, width=width, point_step=int(rng.integers(0, 99)), row_step=height, data=data)
        cloud.fields = [
            PointField(name=str(rng.choice(["z", "u", "v", "sigma", ""])), offset=int(rng.choice([0, 4, 2**32 - 1])),
                       datatype=int(rng.integers(0, 256)), count=int(rng.choice([0, 1, 2**32 - 1])))
            for _ in range(int(rng.integers(0, 6)))
        ]  # fmt: skip
        robot.landmarks.publish(robot.stamped(cloud))
        moved = Odometry(child_frame_id=str(rng.choice(["base_link", "", "/", "map"])))
        moved.pose.pose.position.x, moved.pose.pose.orientation.w = (float(rng.choice(numbers)) for _ in range(2))
        robot.odometry.publish(robot.stamped(moved))
        if index % 20 == 0:
            robot.spin_for(0.01)
    robot.stamp_ns += 10**9


def lifecycle_in_haste(robot: SoakRobot, rng: np.random.Generator) -> None:
    """Transitions in any order, allowed or not."""
    name = str(rng.choice(NODES))
    for _ in range(QUICK_CHANGES // 8):
        robot.change(name, *(int(t) for t in rng.choice(_CYCLE, 2)))
    robot.make_active(name)


def killed(robot: SoakRobot, rng: np.random.Generator) -> None:
    robot.kill()


def killed_while_it_loads(robot: SoakRobot, rng: np.random.Generator) -> None:
    robot.kill()
    robot.spin_for(rng.uniform(0.2, 5.0))
    robot.kill()


def weights_are_damaged(robot: SoakRobot, rng: np.random.Generator) -> None:
    """A file that is replaced by half of itself under a node that works; then the node is configured again, must
    refuse, and gets its file back."""
    name = str(rng.choice(sorted(robot.weights)))
    path, node = robot.weights[name], f"/{name}_node"
    path.write_bytes(robot.intact[name][: len(robot.intact[name]) // 2])
    for _ in range(3):
        robot.show()
    robot.change(node, *_CYCLE[:3])
    path.write_bytes(robot.intact[name])
    robot.make_active(node)


def state_cannot_be_written(robot: SoakRobot, rng: np.random.Generator) -> None:
    """The folder of the state files is a file for a while."""
    folder = robot.folder / "state"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("in the way")
    for _ in range(15):
        robot.show()
    os.remove(folder)


def state_is_damaged(robot: SoakRobot, rng: np.random.Generator) -> None:
    for path in (robot.folder / "state").glob("*.json"):
        path.write_bytes(path.read_bytes()[: int(rng.integers(0, 40))])
    robot.kill()


FAULTS = (
    camera_vanishes, camera_info_vanishes, camera_is_covered, camera_changes, clock_jumps, hostile_messages,
    lifecycle_in_haste, killed, killed_while_it_loads, weights_are_damaged, state_cannot_be_written, state_is_damaged,
)  # fmt: skip
KILLS = (killed, killed_while_it_loads, state_is_damaged)
