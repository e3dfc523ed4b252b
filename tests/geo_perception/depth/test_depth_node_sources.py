"""What the depth node measures the scale by beside landmarks that somebody tells: the floor, odometry, and the
localizer in its own process."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from depth_peer import CAMERA, FLAT_DEPTH, RobotPeer, depth_weights, numbers
from pictures import random_patches
from ros_support import active_node, node_process

from geo_perception.depth.estimator import CANONICAL_FOCAL_PX
from geo_perception.geometry import make_pose, pose_to_quaternion
from geo_perception.ros.launching import depth_start, localization_start, process_starts

MODULE = "geo_perception.depth.node"
CONFIGS = Path(__file__).resolve().parents[3] / "config"
BASE_OPTICAL_33 = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class TestTheFloorAndOdometry:
    """The network takes everything for a wall, which is the floor for a camera that looks straight down."""

    @pytest.fixture(scope="class")
    def robot(self, tmp_path_factory) -> Iterator[RobotPeer]:
        place = tmp_path_factory.mktemp("flat")
        weights = depth_weights(place / "flat.safetensors", flat=True)
        # The base's x is forward: the camera looks along it, 0.2 m ahead.
        _, q_4 = pose_to_quaternion(make_pose(BASE_OPTICAL_33, np.zeros(3)))
        mounting = [0.2, 0.0, 0.0, *q_4.tolist()]
        arguments = ("-p", f"weights:={weights}", "-p", "device:=cpu", "-p", "camera_height_m:=1.5")
        remaps = ("-r", "image:=/camera/image_raw", "-r", "__node:=flat_node")
        pose = f"odometry_camera_pose:={mounting}"
        given = ("--ros-args", *arguments, "-p", pose, *remaps)
        with active_node(MODULE, *given, log=place / "node.log"), RobotPeer("/flat_node") as robot:
            robot.wait_until_connected()
            yield robot

    def test_the_height_of_a_camera_that_looks_down_is_its_depth(self, robot):
        robot.reset()
        robot.tell_attitude(-np.pi / 2)
        robot.spin_for(0.2)
        relative_hw = robot.show_and_wait(random_patches(0))
        flat = FLAT_DEPTH * robot.published_camera().fx_px / CANONICAL_FOCAL_PX
        np.testing.assert_allclose(relative_hw, flat, rtol=0.01)
        assert robot.spin_until(lambda: bool(robot.depths), 5), robot.values()
        np.testing.assert_allclose(numbers(robot.depths[-1]), 1.5, rtol=0.02)
        assert robot.wait_for(lambda values: values["processed"] == "1")["scale from"] == "ground"

    def test_an_attitude_of_another_frame_or_time_is_not_used(self, robot):
        robot.reset()
        robot.tell_attitude(-np.pi / 2, frame_id="base_link")
        robot.show_and_wait(random_patches(0), seconds=5.0)
        robot.stamp_ns -= 4 * 10**9
        robot.tell_attitude(-np.pi / 2)
        robot.stamp_ns += 4 * 10**9
        robot.spin_for(0.2)
        robot.show_and_wait(random_patches(0))
        values = robot.wait_for(lambda values: values["processed"] == "2")
        assert (values["scale"], values["measured by ground"]) == ("none", "0")

    def test_odometry_tells_how_far_a_wall_is_that_it_drives_along(self, robot):
        robot.reset()
        wall_m, step_m = 2.0, 0.08
        texture_hw = np.random.default_rng(3).integers(0, 256, (30, 120, 3), dtype=np.uint8)
        texture_hw = np.kron(texture_hw, np.ones((8, 8, 1), np.uint8))
        per_step_px = round(CAMERA.fx_px * step_m / wall_m)
        for step in range(6):
            T_odom_base = make_pose(np.eye(3), [0.0, -step * step_m, 0.0])  # to the right
            stamp = robot.stamp_ns + 10**8
            for before_ns in (5 * 10**7, 0):
                late = make_pose(np.eye(3), [0.0, -(step - before_ns / 10**8) * step_m, 0.0])
                robot.tell_odometry(late, stamp - before_ns)
            robot.spin_for(0.05)
            robot.show_and_wait(np.ascontiguousarray(texture_hw[:, step * per_step_px :][:, :320]))
            robot.tell_odometry(T_odom_base, stamp + 1)
        assert robot.spin_until(lambda: bool(robot.depths), 5), robot.values()
        values = robot.wait_for(lambda values: values["processed"] == "6")
        assert values["scale from"] == "odometry"
        np.testing.assert_allclose(numbers(robot.depths[-1]), wall_m, rtol=0.05)


def test_in_one_process_localization_gives_the_scale(tiny_scene, tmp_path):
    """As localize.launch.py starts it with depth:=true container:=true."""
    dataset = tiny_scene.dataset
    frames = dataset.of_split("test")
    given = {
        "scene": str(tiny_scene.scene_path), "image": "/camera/image_raw", "camera_info": "", "use_sim_time": "false",
        "autostart": "true", "params_file": str(CONFIGS / "localization.yaml"), "camera_height": "",
    }  # fmt: skip
    given |= dict.fromkeys(("image_transport", "tf_mode", "base_frame", "odometry"), "")
    weights = str(depth_weights(tmp_path / "flat.safetensors", flat=True))
    starts = [localization_start(given), depth_start(given, str(CONFIGS / "depth.yaml"), weights, localized_here=True)]
    (start,) = process_starts(starts, container=True, log_level="info")
    arguments = list(start.arguments)
    for index, node in enumerate(start.nodes):
        (file := tmp_path / f"{index}.yaml").write_text(node.parameters_yaml)
        arguments += ["--params-file", node.params_file, "--params-file", str(file)]
    arguments += [word for source, target in start.remappings for word in ("-r", f"{source}:={target}")]
    log = tmp_path / "node.log"
    with node_process("geo_perception.ros.container", *arguments, log=log) as process, RobotPeer() as peer:
        deadline_s = time.monotonic() + 240
        while process.text.count("activate: done") < 2:
            assert process.running(), process.text
            assert time.monotonic() < deadline_s, process.text
            time.sleep(0.1)
        peer.camera = dataset.camera(frames[0])
        shown: dict[int, int] = {}

        def metres() -> bool:
            index = len(shown) % len(frames)
            shown[peer.show(dataset.image(frames[index]))] = index
            peer.spin_for(0.4)
            return len(peer.depths) >= 2

        assert peer.spin_until(metres, 60), (peer.values(), process.text)
        values = peer.wait_for(lambda values: values["metres"] == "published")
        assert values["scale from"] == "landmarks"
        true_m_hw = dataset.depth_m(frames[shown[peer.newest(peer.depths)]])
        # The network is blind to the picture, so only the whole can be right.
        assert np.median(numbers(peer.depths[-1])) == pytest.approx(np.median(true_m_hw), rel=0.25)
        assert process.stop(timeout_s=60) == 0
        assert "Traceback" not in process.text
        assert "is not known and ignored" not in process.text
