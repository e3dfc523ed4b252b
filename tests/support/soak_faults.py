"""What happens to robots. Each fault is done to a robot that works, and leaves it as something that must work again."""

from __future__ import annotations

import os
import resource
import shutil

import numpy as np
import soak_hostile
from lifecycle_msgs.msg import Transition
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


def hostile_messages(robot: SoakRobot, rng: np.random.Generator) -> None:
    soak_hostile.burst(robot, rng, soak_hostile.BURST)


def memory_is_short(robot: SoakRobot, rng: np.random.Generator) -> None:
    """The process may take hardly more memory than it has while larger images come, which want some."""
    process = robot.process.process.pid
    room = robot.data_bytes + int(rng.integers(0, 48)) * 2**20
    resource.prlimit(process, resource.RLIMIT_DATA, (room, resource.RLIM_INFINITY))
    size_px = [(640, 480), (800, 600), (1200, 900)][int(rng.integers(3))]
    picture_hw3 = np.ascontiguousarray(np.resize(robot.pictures[0], (size_px[1], size_px[0], 3)))
    try:
        for _ in range(15):
            robot.show(picture_hw3, robot.camera.resized(*size_px))
    finally:
        if robot.process.running():
            resource.prlimit(process, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def odometry_vanishes_and_returns(robot: SoakRobot, rng: np.random.Generator) -> None:
    """Wheels that are told of, then not, then again from elsewhere."""
    for moving in (True, False, True):
        for _ in range(8):
            if moving:
                robot.roll()
            robot.show()
        robot.position_m = float(rng.uniform(-50, 50))


def lifecycle_in_haste(robot: SoakRobot, rng: np.random.Generator) -> None:
    """Transitions in any order, allowed or not."""
    name = str(rng.choice(NODES))
    for _ in range(QUICK_CHANGES // 2):
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
    memory_is_short, odometry_vanishes_and_returns, lifecycle_in_haste, killed, killed_while_it_loads,
    weights_are_damaged, state_cannot_be_written, state_is_damaged,
)  # fmt: skip
KILLS = (killed, killed_while_it_loads, state_is_damaged)
