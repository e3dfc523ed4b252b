"""Nodes that are killed at work go on with what they knew, as real processes with a state file."""

import json
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from calibration_peer import CameraPeer, constant_weights
from depth_peer import RobotPeer, depth_weights
from pictures import random_patches
from ros_support import NodeProcess

from geo_perception.ros.camera_info import camera_from_info
from geo_perception.runtime.state_file import write_state

pytestmark = pytest.mark.slow


class Node:
    """One node after another, all with the same state file."""

    def __init__(self, capability: str, weights: Path, folder: Path):
        self.module, self.folder, self.state = f"geo_perception.{capability}.node", folder, folder / "state.json"
        self.arguments = ("--ros-args", "-p", f"weights:={weights}", "-p", "device:=cpu", "-r",
                          "image:=/camera/image_raw", "-p", f"state_file:={self.state}")  # fmt: skip
        self.lives = 0

    @contextmanager
    def life(self, *more: str):
        self.lives += 1
        process = NodeProcess(self.module, *self.arguments, *more, log=self.folder / f"node{self.lives}.log")
        try:
            process.wait_for_text("activate: done", 120)
            yield process
        finally:
            process.stop(signal.SIGKILL)
        assert "Traceback" not in process.text


@pytest.fixture
def calibration(tmp_path):
    return Node("calibration", constant_weights(tmp_path / "w.safetensors", 250.0, 320, 240), tmp_path)


@pytest.fixture
def depth(tmp_path):
    return Node("depth", depth_weights(tmp_path / "w.safetensors", flat=True), tmp_path)


def show_to_new_node(peer: CameraPeer | RobotPeer, answers: str, seconds: float) -> None:
    """Shows an image until one is answered: for some seconds a killed node's subscription still counts as one."""
    peer.show(random_patches(7), seconds)
    for _ in range(24):
        if peer.spin_until(lambda: bool(getattr(peer, answers)), 1.5):
            return
        peer.show(random_patches(7))
    raise AssertionError(peer.values())


def settle(node: Node, peer: CameraPeer) -> None:
    peer.wait_until_connected()
    peer.clear()
    show_to_new_node(peer, "focals", 0.1)
    for seed in range(6):
        peer.show_and_wait(random_patches(seed))
    assert peer.spin_until(lambda: node.state.exists() and bool(peer.camera_infos)), peer.values()


def give_scale(node: Node, peer: RobotPeer) -> None:
    """Shows an image and tells its depths: 2.5 m in a unit of the network."""
    peer.wait_until_connected()
    relative_hw = peer.show_and_wait(random_patches(0))
    peer.tell_true_depths(relative_hw, 2.5)
    peer.spin_for(0.2)
    peer.show_and_wait(random_patches(0))
    assert peer.spin_until(lambda: bool(peer.depths and peer.scales) and node.state.exists()), peer.values()
    peer.spin_for(0.2)  # nothing of this life is to be heard in the next


class TestFocalLength:
    def test_a_killed_node_publishes_its_camera_at_the_first_image(self, calibration):
        with CameraPeer() as peer:
            with calibration.life():
                settle(calibration, peer)
            with calibration.life() as process:
                peer.wait_until_connected()
                peer.clear()
                show_to_new_node(peer, "focals", 20.0)
                assert peer.spin_until(lambda: bool(peer.camera_infos)), peer.values()
                assert camera_from_info(peer.camera_infos[0]).fx_px == pytest.approx(250.0, rel=1e-3)
                values = peer.wait_for(lambda values: values["images fused"] == "1")
                assert "remembered from 2" in values["fusion"]
                assert values["state file"] == str(calibration.state)
                assert "a focal length is remembered" in process.text
                # Who asks to forget means the file, too.
                peer.call_reset()
                assert peer.spin_until(lambda: not calibration.state.exists())

    def test_what_is_too_old_is_forgotten_and_a_damaged_file_said_and_replaced(self, calibration):
        with CameraPeer() as peer:
            with calibration.life():
                settle(calibration, peer)
            with calibration.life("-p", "state_max_age_s:=5.0"):
                peer.wait_until_connected()
                peer.clear()
                show_to_new_node(peer, "focals", 20.0)
                assert "remembered" not in peer.wait_for(lambda values: values["images fused"] == "1")["fusion"]
                assert not peer.camera_infos
            calibration.state.write_text("{")
            with calibration.life() as process:
                assert "is damaged; nothing is remembered" in process.text
                settle(calibration, peer)
                assert peer.spin_until(lambda: calibration.state.read_text() != "{")
                assert json.loads(calibration.state.read_text())["of"] == "/calibration_node"

    @pytest.mark.parametrize(("stamp_s", "lens"), [(95.0, "bends by 0.100"), (5.0, "no bend seen")])
    def test_the_lens_is_remembered_with_the_focal_length_and_as_long(self, calibration, stamp_s, lens):
        bend = {"bend": 0.1, "sigma": 0.01, "beyond": False}
        known = {"focal_px": 250.0, "sigma": 0.02, "width_px": 320, "height_px": 240, "stamp_s": stamp_s, "lens": bend}
        write_state(calibration.state, "/calibration_node", known)
        with CameraPeer() as peer, calibration.life("-p", "state_max_age_s:=30.0"):
            peer.wait_until_connected()
            show_to_new_node(peer, "focals", 0.1)
            assert peer.wait_for(lambda values: values["images fused"] != "0")["lens"].startswith(lens)

    def test_the_file_of_another_node_is_said_and_stays_as_it_is(self, calibration):
        text = json.dumps({"format_version": 1, "of": "/other/node", "state": {"n": 1}})
        calibration.state.write_text(text)
        with CameraPeer() as peer, calibration.life() as process:
            assert "is of /other/node, format 1; give each node a state file of its own" in process.text
            peer.wait_until_connected()
            peer.clear()
            show_to_new_node(peer, "focals", 0.1)
            for seed in range(6):
                peer.show_and_wait(random_patches(seed))
            assert peer.wait_for(lambda values: values["camera_info"] == "published")["state file"] == "none"
            assert calibration.state.read_text() == text


class TestScale:
    def test_a_killed_node_gives_metres_at_the_first_image(self, depth):
        with RobotPeer() as peer:
            with depth.life():
                give_scale(depth, peer)
            with depth.life():
                peer.wait_until_connected()
                peer.clear()
                show_to_new_node(peer, "scales", 3.0)
                assert peer.scales[0].data == pytest.approx(2.5, rel=0.01)
                values = peer.wait_for(lambda values: values["metres"] == "published")
                assert values["scale from"] == "landmarks"

    def test_a_scale_of_other_weights_is_not_believed(self, depth):
        with RobotPeer() as peer:
            with depth.life():
                give_scale(depth, peer)
            depth_weights(depth.folder / "w.safetensors", flat=True, sigma_scale=0.3)
            with depth.life() as process:
                assert "the scale kept there is that of other weights" in process.text
                peer.wait_until_connected()
                peer.clear()
                show_to_new_node(peer, "relatives", 3.0)
                assert peer.wait_for()["metres"] == "withheld"
                assert not peer.scales
