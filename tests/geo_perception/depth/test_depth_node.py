"""The depth node as a process of its own, with real messages over real DDS."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from depth_peer import CAMERA, FRAME, NAME, RobotPeer, depth_weights, numbers
from lifecycle_msgs.msg import Transition
from pictures import random_patches
from ros_support import NodeProcess, active_node, node_process
from sensor_msgs.msg import Image, PointCloud2, PointField

from geo_perception.depth.node import PARAMETERS
from geo_perception.geometry import Camera
from geo_perception.ros.codec import decode_image
from geo_perception.ros.messages import stamp_ns
from geo_perception.ros.point_cloud import point_cloud_array, point_cloud_message

MODULE = "geo_perception.depth.node"
NEEDED = np.dtype([(name, "f4") for name in ("z", "u", "v", "sigma")])
CONFIGS = Path(__file__).resolve().parents[3] / "config"
DARK = np.zeros((240, 320, 3), np.uint8)


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[NodeProcess]:
    """One node for the tests that leave it as they found it."""
    place = tmp_path_factory.mktemp("node")
    weights = depth_weights(place / "varied.safetensors")
    arguments = (
        "--ros-args",
        "-p",
        f"weights:={weights}",
        "-p",
        "device:=cpu",
        "-p",
        "engine:=torch",
        "-r",
        "image:=/camera/image_raw",
    )
    with active_node(MODULE, *arguments, log=place / "node.log") as process:
        yield process


@pytest.fixture(scope="module")
def one_peer(running) -> Iterator[RobotPeer]:
    with RobotPeer() as peer:
        yield peer


@pytest.fixture
def peer(running, one_peer) -> Iterator[RobotPeer]:
    """The robot with a node that remembers nothing of the test before."""
    one_peer.camera = CAMERA
    one_peer.wait_until_connected()
    one_peer.reset()
    yield one_peer
    assert running.running(), running.text


def give_scale(peer: RobotPeer, factor: float = 2.5) -> np.ndarray:
    """An image, its landmarks, and a second image that has a scale; returns the relative depth of that."""
    relative_hw = peer.show_and_wait(random_patches(0))
    peer.tell_true_depths(relative_hw, factor)
    peer.spin_for(0.2)
    relative_hw = peer.show_and_wait(random_patches(0))
    assert peer.spin_until(lambda: peer.newest(peer.depths) == peer.stamp_ns and bool(peer.scales), 5), peer.values()
    return relative_hw


class TestWithoutAScale:
    def test_there_is_relative_depth_and_never_metres(self, peer):
        for index in range(3):
            relative_hw = peer.show_and_wait(random_patches(index))
        assert relative_hw.dtype == np.float32
        assert np.isfinite(relative_hw).all()
        assert len(peer.relatives) == 3
        assert not any((peer.depths, peer.points, peer.scales))
        values = peer.wait_for(lambda values: values["processed"] == "3")
        assert (values["engine"], values["engine because"]) == ("torch", "asked for")
        assert (values["scale"], values["metres"]) == ("none", "withheld")
        assert values["last verdict"].startswith("estimated; no scale, so no metres")

    def test_confidence_is_a_probability_with_the_same_stamp(self, peer):
        relative_hw = peer.show_and_wait(random_patches(0))
        confidence_hw = numbers(peer.confidences[-1])
        assert confidence_hw.shape == relative_hw.shape
        assert 0 <= confidence_hw.min() <= confidence_hw.max() <= 1
        assert peer.newest(peer.confidences) == peer.stamp_ns

    def test_camera_info_has_the_same_stamp_and_the_camera_of_the_map(self, peer):
        peer.camera = Camera(320, 240, 250.0, 260.0, 150.0, 119.5, "plumb_bob", (-0.1, 0.01, 0.0, 0.0, 0.0))
        relative_hw = peer.show_and_wait(random_patches(0))
        info = peer.camera_infos[-1]
        assert (stamp_ns(info.header.stamp), info.header.frame_id) == (peer.stamp_ns, FRAME)
        height, width = relative_hw.shape
        assert peer.published_camera() == peer.camera.resized(width, height).without_distortion()


class TestLandmarks:
    def test_make_metres_of_it(self, peer):
        relative_hw = give_scale(peer, 2.5)
        np.testing.assert_allclose(numbers(peer.depths[-1]), 2.5 * relative_hw, rtol=0.03)
        assert peer.depths[-1].encoding == "32FC1"
        assert peer.depths[-1].header == peer.relatives[-1].header
        assert peer.scales[-1].data == pytest.approx(2.5, rel=0.03)
        values = peer.wait_for(lambda values: values["processed"] == "2")
        assert (values["metres"], values["scale from"]) == ("published", "landmarks")
        assert values["measured by landmarks"] == "1"
        assert 0 < float(values["scale sigma (%)"]) < 20

    def test_some_that_are_wrong_do_not_matter(self, peer):
        relative_hw = peer.show_and_wait(random_patches(0))
        small = CAMERA.resized(*relative_hw.shape[::-1])
        rng = np.random.default_rng(1)
        rows, columns = rng.integers(2, 94, 60), rng.integers(2, 126, 60)
        depth_m_n = 2.5 * relative_hw[rows, columns] * rng.lognormal(0, 0.01, 60)
        depth_m_n[::6] *= rng.choice([0.3, 3.0], 10)
        rays_n3 = np.column_stack([small.normalize(np.stack([columns, rows], axis=1)), np.ones(60)])
        peer.tell_landmarks(CAMERA.project(rays_n3), depth_m_n)
        peer.spin_for(0.2)
        peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.scales), 5), peer.values()
        assert peer.scales[-1].data == pytest.approx(2.5, rel=0.03)

    def test_of_another_image_or_another_camera_are_not_used(self, peer):
        relative_hw = peer.show_and_wait(random_patches(0))
        stamp, peer.stamp_ns = peer.stamp_ns, peer.stamp_ns - 10**6
        peer.tell_true_depths(relative_hw, 2.5)
        peer.stamp_ns = stamp
        peer.landmarks.publish(point_cloud_message(peer.header(frame_id="other_optical"), np.zeros(9, [("z", "f4")])))
        peer.spin_for(0.2)
        peer.show_and_wait(random_patches(0))
        values = peer.wait_for(lambda values: values["processed"] == "2")
        assert (values["scale"], values["measured by landmarks"]) == ("none", "0")

    def test_of_an_image_that_passed_by_have_it_looked_at_afterwards(self, peer):
        relative_hw = peer.show_and_wait(random_patches(0))
        peer.tell_true_depths(relative_hw, 1.0)  # images are kept from now on
        peer.spin_for(0.1)
        peer.show_and_wait(random_patches(0))
        peer.call_reset()
        peer.clear()
        peer.set("max_rate_hz", 0.02)
        try:
            for _ in range(2):  # the limit lets a second one through
                peer.show_and_wait(random_patches(0))
            missed = peer.show(random_patches(0))
            peer.spin_for(0.3)
            assert peer.newest(peer.relatives) < missed
            peer.tell_true_depths(relative_hw, 2.5)
            peer.spin_for(0.2)
        finally:
            peer.set("max_rate_hz", 0.0)
        peer.show_and_wait(random_patches(0))
        assert not peer.depths  # it is looked at after this one is published
        relative_hw = peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.depths), 5), peer.values()
        np.testing.assert_allclose(numbers(peer.depths[-1]), 2.5 * relative_hw, rtol=0.03)
        assert (
            peer.wait_for(lambda values: values["images looked at afterwards"] == "1")["measured by landmarks"] == "1"
        )

    def test_malformed_messages_are_counted_and_the_node_lives(self, peer):
        relative_hw = peer.show_and_wait(random_patches(0))
        short = point_cloud_message(peer.header(), np.zeros(9, NEEDED))
        short.data = short.data[:20]
        missing = point_cloud_message(peer.header(), np.zeros(9, [("x", "f4"), ("z", "f4")]))
        fields = [PointField(name=name, offset=0, datatype=7, count=3) for name in ("z", "u", "v", "sigma")]
        several = PointCloud2(header=peer.header(), height=1, width=2, fields=fields, point_step=12, row_step=24)
        several.data = bytes(24)
        hostile = [short, missing, several, PointCloud2(header=peer.header())]
        for count, message in enumerate(hostile, start=1):
            peer.landmarks.publish(message)
            peer.spin_for(0.1)
            peer.show_and_wait(random_patches(0))
            peer.wait_for(lambda values, count=count: values["unusable messages about the scale"] == str(count))
        nothing = point_cloud_message(peer.header(), np.full(9, np.nan, NEEDED))
        for message in (nothing, point_cloud_message(peer.header(), np.zeros(0, NEEDED))):
            peer.landmarks.publish(message)
        peer.spin_for(0.1)
        relative_hw = peer.show_and_wait(random_patches(0))
        assert not peer.depths
        peer.tell_true_depths(relative_hw, 2.5)
        peer.spin_for(0.2)
        peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.depths), 5), peer.values()


class TestOutputs:
    def test_points_are_those_of_the_depth_filtered_and_coloured(self, peer):
        give_scale(peer)
        depth_m_hw, confidence_hw = numbers(peer.depths[-1]), numbers(peer.confidences[-1])
        assert peer.spin_until(lambda: peer.newest(peer.points) == peer.stamp_ns, 5)
        message = peer.points[-1]
        assert message.header == peer.depths[-1].header
        assert [field.name for field in message.fields] == ["x", "y", "z", "rgb", "confidence"]
        assert message.is_dense
        points_n = point_cloud_array(message)
        assert len(points_n) == (confidence_hw[::2, ::2] >= 0.5).sum()
        pixels_n2 = peer.published_camera().project(np.stack([points_n[name] for name in "xyz"], axis=1))
        columns, rows = np.rint(pixels_n2).astype(int).T
        np.testing.assert_allclose(pixels_n2, np.stack([columns, rows], axis=1), atol=1e-2)
        np.testing.assert_allclose(points_n["z"], depth_m_hw[rows, columns], rtol=1e-6)

    def test_points_of_little_confidence_are_left_out_of_the_points_only(self, peer):
        assert peer.set("min_confidence", 1.0).successful
        try:
            give_scale(peer)
            assert peer.spin_until(lambda: peer.newest(peer.points) == peer.stamp_ns, 5)
            assert len(point_cloud_array(peer.points[-1])) == 0
            assert np.isfinite(numbers(peer.depths[-1])).all()
            values = peer.wait_for(lambda values: values["processed"] == "2")
            assert values["confident pixels"] == "0.000"
        finally:
            peer.set("min_confidence", 0.5)

    def test_beyond_the_range_it_is_infinite(self, peer):
        relative_hw = peer.show_and_wait(random_patches(0))
        limit_m = 2.5 * float(np.median(relative_hw))
        assert peer.set("max_depth_m", limit_m).successful
        try:
            relative_hw = give_scale(peer)
            depth_m_hw = numbers(peer.depths[-1])
            beyond_hw = np.isinf(depth_m_hw)
            assert 0.1 < beyond_hw.mean() < 0.9
            assert depth_m_hw[~beyond_hw].max() <= limit_m
            assert relative_hw[beyond_hw].min() >= relative_hw[~beyond_hw].max()
            assert peer.spin_until(lambda: peer.newest(peer.points) == peer.stamp_ns, 5)
            assert len(point_cloud_array(peer.points[-1])) == (~beyond_hw[::2, ::2]).sum()
        finally:
            peer.set("max_depth_m", 80.0)

    def test_in_whole_millimetres(self, peer):
        assert not peer.set("depth_encoding", "64FC1").successful
        assert peer.set("depth_encoding", "16UC1").successful
        try:
            relative_hw = give_scale(peer)
            assert peer.depths[-1].encoding == "16UC1"
            millimetres_hw = numbers(peer.depths[-1])
            np.testing.assert_allclose(millimetres_hw, 1e3 * peer.scales[-1].data * relative_hw, atol=0.51)
        finally:
            peer.set("depth_encoding", "32FC1")

    def test_a_scale_that_is_too_uncertain_makes_no_metres(self, peer):
        assert peer.set("max_scale_sigma", 0.001).successful
        try:
            peer.tell_true_depths(peer.show_and_wait(random_patches(0)), 2.5)
            peer.spin_for(0.2)
            peer.show_and_wait(random_patches(0))
            values = peer.wait_for(lambda values: values["measured by landmarks"] == "1")
            assert values["metres"] == "withheld"
            assert values["last verdict"].endswith("too uncertain for metres")
            assert not any((peer.depths, peer.points, peer.scales))
        finally:
            peer.set("max_scale_sigma", 0.2)

    def test_the_overlay_shows_the_view_beside_its_depth(self, peer):
        overlays = peer.collect(Image, f"{NAME}/overlay")
        peer.spin_for(0.5)
        relative_hw = peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(overlays), 5)
        peer.stop_collecting(overlays)
        assert stamp_ns(overlays[0].header.stamp) == peer.stamp_ns
        drawn_hw3 = decode_image(overlays[0])
        assert drawn_hw3.shape == (relative_hw.shape[0], 2 * relative_hw.shape[1], 3)
        assert len(np.unique(drawn_hw3[:60, relative_hw.shape[1] :].reshape(-1, 3), axis=0)) > 10


class TestWhatHappensToCameras:
    def test_a_covered_lens_gives_a_verdict_and_nothing_else(self, peer):
        give_scale(peer)
        peer.clear()
        for _ in range(3):
            peer.show(DARK)
            peer.spin_for(0.3)
        values = peer.wait_for(lambda values: values["processed"] == "5")
        assert values["last verdict"].startswith("the image shows no structure: ")
        assert "is the lens covered?" in values["last verdict"]
        assert values["metres"] == "withheld"
        assert not any((peer.depths, peer.points, peer.relatives, peer.camera_infos, peer.confidences))
        peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.depths), 5), "the scale is still known when the lens is free again"

    def test_another_size_of_the_same_view_keeps_the_scale(self, peer):
        give_scale(peer)
        peer.camera = CAMERA.resized(400, 300)  # small: a busy machine loses much of large images
        relative_hw = peer.show_and_wait(random_patches(0, 400, 300))
        assert peer.spin_until(lambda: peer.newest(peer.depths) == peer.stamp_ns, 5), peer.values()
        np.testing.assert_allclose(numbers(peer.depths[-1]), 2.5 * relative_hw, rtol=0.03)

    def test_another_shape_is_survived(self, peer):
        give_scale(peer)
        peer.camera = Camera(480, 160, 250.0, 250.0, 239.5, 79.5)
        relative_hw = peer.show_and_wait(random_patches(0, 480, 160))
        assert peer.published_camera() == peer.camera.resized(*relative_hw.shape[::-1])
        assert peer.newest(peer.depths) < peer.stamp_ns

    def test_another_zoom_forgets_the_scale_until_it_is_measured_again(self, peer):
        give_scale(peer)
        peer.clear()
        peer.camera = Camera(320, 240, 400.0, 400.0, 159.5, 119.5)
        relative_hw = peer.show_and_wait(random_patches(0))
        peer.spin_for(0.2)
        assert not any((peer.depths, peer.scales))
        values = peer.wait_for(lambda values: values["restarts"] == "1")
        assert values["last restart"] == "the focal length changed by 60 %"
        peer.tell_true_depths(relative_hw, 1.5)
        peer.spin_for(0.2)
        peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.scales), 5), peer.values()
        assert peer.scales[-1].data == pytest.approx(1.5, rel=0.03)

    def test_a_focal_length_that_wavers_does_not(self, peer):
        give_scale(peer)
        peer.camera = Camera(320, 240, 255.0, 255.0, 159.5, 119.5)
        peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: peer.newest(peer.depths) == peer.stamp_ns, 5), peer.values()

    def test_a_clock_that_jumps_back_forgets_everything(self, peer):
        give_scale(peer)
        peer.clear()
        peer.show_and_wait(random_patches(0), seconds=-50)
        peer.spin_for(0.2)
        assert not peer.depths
        values = peer.wait_for(lambda values: values["received"] == "1")
        assert (values["scale"], values["measured by landmarks"]) == ("none", "0")

    def test_reset_forgets_everything(self, peer):
        give_scale(peer)
        peer.call_reset()
        peer.clear()
        peer.show_and_wait(random_patches(0))
        peer.spin_for(0.2)
        assert not peer.depths


def test_a_scale_that_is_not_measured_any_more_ends(peer):
    give_scale(peer)
    peer.clear()
    peer.show_and_wait(random_patches(0), seconds=0.5)  # within a second, else it would be a gap
    assert peer.spin_until(lambda: bool(peer.depths), 5)
    peer.show_and_wait(random_patches(0), seconds=11.0)
    peer.spin_for(0.2)
    assert peer.newest(peer.depths) < peer.stamp_ns


def test_bad_parameters_are_refused_with_a_reason(peer):
    refused = peer.set("odometry_camera_pose", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert "quaternion of zeros" in refused.reason
    assert not refused.successful
    assert not peer.set("point_stride_px", 0).successful
    assert peer.set("weights", "x").reason.startswith("weights can change only while the node is unconfigured")


def test_every_default_is_a_value_that_would_be_taken():
    for spec in PARAMETERS:
        assert spec.problem(spec.default) == ""
        assert spec.description


def test_without_a_listener_nothing_is_taken_and_deactivated_it_is_silent(peer, running):
    give_scale(peer)
    assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
    assert peer.spin_until(lambda: peer.images.get_subscription_count() == 0)
    assert peer.landmarks.get_subscription_count() == 0
    peer.clear()
    peer.show(random_patches(0))
    peer.spin_for(0.5)
    assert not any((peer.relatives, peer.depths))
    assert peer.change_state(Transition.TRANSITION_ACTIVATE)
    peer.wait_until_connected()
    peer.show_and_wait(random_patches(0))
    assert not peer.depths  # the robot may be elsewhere

    peer.turn_away()
    values = peer.wait_for(lambda values: values["message"] == "nobody listens")
    assert values["level"] == 0
    assert peer.spin_until(lambda: peer.images.get_subscription_count() == 0)
    assert peer.spin_until(lambda: peer.odometry.get_subscription_count() == 0)
    peer.listen()
    peer.wait_until_connected()
    peer.show_and_wait(random_patches(0))


def test_weights_that_are_not_there_are_one_line(tmp_path):
    arguments = ("--ros-args", "-p", "weights:=nowhere.safetensors", "-r", "__node:=other_node")
    with node_process(MODULE, *arguments, log=tmp_path / "node.log") as process:
        process.wait_for_text("cannot configure: nowhere.safetensors does not exist", 240)
        time.sleep(0.3)
        assert "Traceback" not in process.text
        assert process.stop(timeout_s=60) == 0
