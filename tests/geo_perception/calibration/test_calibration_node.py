"""The calibration node as a process of its own, with real messages over real DDS and a real network that always gives
the same answer: 250 px, level, for images of 320 x 240."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bent import through
from calibration_peer import FOCAL_SIGMA, NAME, CameraPeer, check_attitude, constant_weights, weights_with_lines
from geo_training.calibration.data.crops import CropSpec
from geometry_msgs.msg import PoseWithCovarianceStamped
from pictures import random_patches
from ros_support import NodeProcess, active_node, node_process
from sensor_msgs.msg import Image

from geo_perception.calibration.node import PARAMETERS
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.launching import calibration_start, localization_start, process_starts
from geo_perception.ros.messages import stamp_ns

MODULE = "geo_perception.calibration.node"
DARK = np.zeros((240, 320, 3), np.uint8)

CONFIGS = Path(__file__).resolve().parents[3] / "config"
LOCALIZATION, CALIBRATION = (str(CONFIGS / f"{name}.yaml") for name in ("localization", "calibration"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return constant_weights(tmp_path_factory.mktemp("weights") / "constant.safetensors", 250.0, 320, 240)


@pytest.fixture(scope="module")
def running(weights, tmp_path_factory) -> Iterator[NodeProcess]:
    """One node for the tests that leave it as they found it."""
    log = tmp_path_factory.mktemp("node") / "node.log"
    arguments = ("--ros-args", "-p", f"weights:={weights}", "-r", "image:=/camera/image_raw")
    with active_node(MODULE, *arguments, log=log) as process:
        yield process


@pytest.fixture(scope="module")
def one_peer(running) -> Iterator[CameraPeer]:
    with CameraPeer() as peer:
        yield peer


@pytest.fixture
def peer(running, one_peer) -> Iterator[CameraPeer]:
    """The camera with a node that remembers nothing of the test before."""
    one_peer.wait_until_connected()
    one_peer.reset()
    yield one_peer
    assert running.running(), running.text


def settle(peer: CameraPeer, images: int = 6) -> list[int]:
    return [peer.show_and_wait(random_patches(seed)) for seed in range(images)]


class TestOutputs:
    def test_camera_info_comes_with_the_images_stamp_frame_and_size_once_it_is_certain_enough(self, peer):
        stamps = settle(peer)
        assert peer.spin_until(lambda: len(peer.camera_infos) == 2)
        assert [stamp_ns(info.header.stamp) for info in peer.camera_infos] == stamps[4:]  # min_frames is 5
        assert peer.camera_infos[0].header.frame_id == "camera_optical"
        camera = camera_from_info(peer.camera_infos[0])
        assert camera == Camera(320, 240, camera.fx_px, camera.fx_px, 159.5, 119.5)
        assert camera.fx_px == pytest.approx(250.0, rel=1e-3)
        values = peer.wait_for(lambda values: values["images fused"] == "6")
        assert values["camera_info"] == "published"
        assert values["fusion"].startswith("settled: focal length 250 px within")
        # No image is believed to better than 6 %, and views of a place share a part of that.
        assert 6 * 0.2**0.5 < float(values["focal length sigma (%)"]) < 6

    def test_attitude_is_one_that_filters_accept(self, peer):
        stamp = peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.attitudes))
        message = peer.attitudes[0]
        assert (stamp_ns(message.header.stamp), message.header.frame_id) == (stamp, "camera_optical")
        covariance_33 = check_attitude(message)
        # A level camera that looks north: errors of 0.02 rad about east and north, the heading unknown.
        np.testing.assert_allclose(np.diag(covariance_33)[:2], 4e-4, rtol=0.01)
        assert covariance_33[2, 2] > 1e5
        q = message.orientation
        np.testing.assert_allclose([q.x, q.y, q.z, q.w], [-np.sqrt(0.5), 0, 0, np.sqrt(0.5)], atol=0.02)

    def test_numbers_to_plot(self, peer):
        peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(peer.rolls))
        assert peer.focals[0].data == pytest.approx(250.0, rel=1e-3)
        assert abs(peer.pitches[0].data) < 0.02
        assert abs(peer.rolls[0].data) < 0.02

    def test_the_overlay_shows_the_horizon_in_the_middle(self, peer):
        overlays = peer.collect(Image, f"{NAME}/horizon")
        peer.spin_for(0.5)
        stamp = peer.show_and_wait(random_patches(0))
        assert peer.spin_until(lambda: bool(overlays))
        peer.stop_collecting(overlays)
        assert stamp_ns(overlays[0].header.stamp) == stamp
        drawn = np.frombuffer(overlays[0].data, np.uint8).reshape(240, 320, 3)
        changed_h = (drawn != random_patches(0)).any(axis=(1, 2))
        assert changed_h[110:130].any()
        assert not changed_h[:90].any()


class TestWhatCannotBeUsed:
    def test_a_covered_lens_gives_a_verdict_no_attitude_and_the_focal_length_stays(self, peer):
        settle(peer)
        assert peer.spin_until(lambda: len(peer.camera_infos) == 2)
        peer.spin_for(0.2)
        heard = len(peer.attitudes), len(peer.focals)
        for processed in ("7", "8", "9"):  # one after the other, or a busy node takes the newest alone
            peer.show(DARK)
            values = peer.wait_for(lambda values, processed=processed: values["processed"] == processed)
        assert values["engine"] in ("openvino", "torch")
        assert values["last verdict"].startswith("the image shows nothing to go by")
        assert "is the lens covered?" in values["last verdict"]
        assert (len(peer.attitudes), len(peer.focals)) == heard
        assert len(peer.camera_infos) == 5
        focals_px = [camera_from_info(info).fx_px for info in peer.camera_infos]
        np.testing.assert_allclose(focals_px[2:], focals_px[1], rtol=1e-9)

    def test_after_three_seconds_of_it_the_diagnostics_warn(self, peer):
        settle(peer)

        def dark() -> bool:
            peer.show(DARK)
            peer.spin_for(0.1)
            return peer.values().get("message", "").startswith("no good result for 3")

        assert peer.spin_until(dark, 10), peer.values()
        assert peer.values()["level"] == 1
        assert "the image shows nothing to go by" in peer.values()["message"]
        assert peer.values()["fusion"].startswith("no usable image for ")

    def test_dark_images_before_any_other_give_nothing_at_all(self, peer):
        peer.show(DARK)
        values = peer.wait_for(lambda values: values["processed"] == "1")
        assert values["fusion"] == "no usable image yet"
        assert values["camera_info"] == "withheld"
        assert not peer.camera_infos
        assert not peer.attitudes


class TestStartingAnew:
    def test_on_request(self, peer):
        settle(peer)
        peer.call_reset()
        values = peer.wait_for(lambda values: values["images fused"] == "0")
        assert (values["fusion"], values["camera_info"]) == ("none", "withheld")

    def test_when_the_image_size_changes(self, peer):
        settle(peer)
        peer.camera_infos.clear()
        peer.show_and_wait(random_patches(7, 160, 120))
        values = peer.wait_for(lambda values: values["restarts"] == "1")
        assert values["last restart"] == "the image size changed from 320 x 240 to 160 x 120"
        assert values["images fused"] == "1"
        assert not peer.camera_infos

    def test_when_the_stamps_go_back(self, peer):
        settle(peer)
        peer.show_and_wait(random_patches(1), seconds=-50)
        peer.wait_for(lambda values: values["images fused"] == "1")


class TestTheDriversCameraInfo:
    def test_one_that_disagrees_is_a_warning_with_both_numbers(self, peer):
        peer.tell(Camera(320, 240, 400.0, 400.0, 159.5, 119.5))
        settle(peer)
        values = self.keep_showing_until(peer, lambda values: "400 px" in values["message"])
        assert values["level"] == 1
        assert values["message"].startswith("the driver's CameraInfo says a focal length of 400 px, the images 250 px")
        assert values["driver's focal length (px)"] == "400.0"

    @pytest.mark.parametrize(
        ("focal_px", "size_px", "words"), [(255.0, (320, 240), "255.0"), (510.0, (640, 480), "255.0")]
    )
    def test_one_that_agrees_is_none_also_in_another_size(self, peer, focal_px, size_px, words):
        peer.tell(Camera(*size_px, focal_px, focal_px, (size_px[0] - 1) / 2, (size_px[1] - 1) / 2))
        settle(peer)
        values = self.keep_showing_until(peer, lambda values: values["driver's focal length (px)"] == words)
        assert values["level"] == 0, values["message"]

    def test_a_k_of_zeros_means_that_the_driver_does_not_know(self, peer):
        peer.tell(Camera(320, 240, 1.0, 1.0, 1.0, 1.0), k=np.zeros(9))
        settle(peer)
        values = self.keep_showing_until(
            peer, lambda values: values["driver's focal length (px)"] == "none: its K is zero"
        )
        assert values["level"] == 0, values["message"]

    def test_one_that_is_trusted_is_the_camera_that_is_published_with_its_lens(self, peer):
        lens = Camera(320, 240, 300.0, 310.0, 170.0, 115.0, "plumb_bob", (-0.1, 0.01, 0.0, 0.0, 0.0))
        assert peer.set("driver_camera", "trusted").successful
        try:
            peer.reset()
            peer.tell(lens)
            settle(peer)
            values = self.keep_showing_until(peer, lambda values: values["evidence"] == "network, driver")
            assert camera_from_info(peer.camera_infos[-1]) == lens
            # By inverse variances: the driver is taken to be right to 1 %, this network to FOCAL_SIGMA.
            share = FOCAL_SIGMA**2 / (0.01**2 + FOCAL_SIGMA**2)
            expected_px = np.exp(share * np.log(np.sqrt(300 * 310)) + (1 - share) * np.log(250))
            assert float(values["focal length (px)"]) == pytest.approx(expected_px, rel=1e-3)
            assert float(values["focal length sigma (%)"]) < 1.1
            assert values["level"] == 0, values["message"]
        finally:
            assert peer.set("driver_camera", "compared").successful

    def test_one_that_is_ignored_is_neither_compared_nor_believed(self, peer):
        assert peer.set("driver_camera", "ignored").successful
        try:
            peer.reset()
            peer.tell(Camera(320, 240, 400.0, 400.0, 159.5, 119.5))
            settle(peer)
            values = self.keep_showing_until(peer, lambda values: values["evidence"] == "network")
            assert values["driver's focal length (px)"] == "ignored"
            assert values["level"] == 0, values["message"]
            assert camera_from_info(peer.camera_infos[-1]).fx_px == pytest.approx(250.0, rel=1e-3)
        finally:
            assert peer.set("driver_camera", "compared").successful

    def test_it_is_one_of_three_words(self, peer):
        refused = peer.set("driver_camera", "believed")
        assert not refused.successful
        assert "use one of trusted, compared, ignored" in refused.reason

    @staticmethod
    def keep_showing_until(peer, condition) -> dict[str, str]:
        """Images go on, so that nothing but the driver's CameraInfo can be told: what is said while a busy machine kept
        them back for longer than the watchdog's patience does not count."""
        peer.statuses.clear()

        def shown() -> bool:
            peer.show(random_patches(int(peer.stamp_ns // 10**8)))
            peer.spin_for(0.1)
            values = peer.values()
            if not values or values["message"].startswith("no image on "):
                return False
            return int(values["images fused"]) > 5 and condition(values)

        assert peer.spin_until(shown, 10), peer.values()
        return peer.values()


def test_parameters_can_be_changed_while_it_runs_and_bad_ones_are_refused(peer):
    refused = peer.set("shared_error", 1.0)
    assert "shared_error" in refused.reason
    assert not refused.successful
    assert not peer.set("weights", "x").successful
    assert peer.set("min_frames", 2).successful
    settle(peer, 2)
    assert peer.spin_until(lambda: len(peer.camera_infos) == 1)
    assert peer.set("min_frames", 5).successful


def test_every_default_is_a_value_that_would_be_taken():
    for spec in PARAMETERS:
        assert spec.problem(spec.default) == ""
        assert spec.description


def test_weights_that_are_not_there_are_one_line_in_the_diagnostics(tmp_path):
    arguments = ("--ros-args", "-p", "weights:=nowhere.safetensors", "-r", "__ns:=/other")
    with node_process(MODULE, *arguments, log=tmp_path / "node.log") as process, CameraPeer("/other") as peer:
        process.wait_for_text("cannot configure", 120)
        values = peer.wait_for(lambda values: values["level"] == 2, name=f"/other{NAME}")
        assert values["message"].startswith("cannot configure: nowhere.safetensors does not exist")
        assert "Traceback" not in process.text
        assert process.stop(timeout_s=60) == 0


def test_attitude_for_a_body_frame(weights, tmp_path):
    arguments = ("-p", f"weights:={weights}", "-p", "attitude_frame:=camera_link", "-r", "image:=/camera/image_raw")
    with (
        active_node(MODULE, "--ros-args", *arguments, "-r", "__ns:=/body", log=tmp_path / "node.log") as process,
        CameraPeer("/body") as peer,
    ):
        peer.wait_until_connected()

        def answered() -> bool:
            peer.show(random_patches(int(peer.stamp_ns // 10**8)))
            peer.spin_for(0.2)
            return bool(peer.attitudes)

        assert peer.spin_until(answered, 15), process.text
        message = peer.attitudes[0]
        check_attitude(message)
        assert message.header.frame_id == "camera_link"
        q = message.orientation
        np.testing.assert_allclose([q.x, q.y, q.z, q.w], [0, 0, 0, 1], atol=0.02)


def test_in_one_process_localization_works_with_the_estimated_camera(tiny_scene, tmp_path):
    """As localize.launch.py starts it with calibrate:=true container:=true in a namespace."""
    dataset = tiny_scene.dataset
    frames = dataset.of_split("test")
    camera = dataset.camera(frames[0])
    pictures = [dataset.image(frame) for frame in frames]
    size_px = camera.width_px, camera.height_px
    given = {
        "scene": str(tiny_scene.scene_path), "weights": str(constant_weights(tmp_path / "w", camera.fx_px, *size_px)),
        "image": "/camera/image_raw", "camera_info": "", "params_file": LOCALIZATION, "use_sim_time": "false",
        "autostart": "true",
    }  # fmt: skip
    given |= dict.fromkeys(("image_transport", "tf_mode", "base_frame", "attitude_frame"), "")
    starts = [calibration_start(given, CALIBRATION), localization_start(given, calibrated_here=True)]
    (start,) = process_starts(starts, container=True, log_level="info")
    arguments = [*start.arguments, "-r", "__ns:=/robot"]
    for index, node in enumerate(start.nodes):
        file = tmp_path / f"{index}.yaml"
        file.write_text(node.parameters_yaml)
        arguments += ["--params-file", str(file)]
    arguments += [word for source, target in start.remappings for word in ("-r", f"{source}:={target}")]
    with (
        node_process("geo_perception.ros.container", *arguments, log=tmp_path / "node.log") as process,
        CameraPeer("/robot") as peer,
    ):
        poses = peer.collect(PoseWithCovarianceStamped, "/robot/localization_node/pose")
        assert peer.spin_until(lambda: process.text.count("activate: done") == 2, 120), process.text
        shown = iter(range(10**6))

        def located() -> bool:
            peer.show(pictures[next(shown) % len(pictures)])
            peer.spin_for(0.25)
            return len(poses) >= 2

        assert peer.spin_until(located, 30), (peer.values("/robot/localization_node"), process.text)
        assert camera_from_info(peer.camera_infos[-1]).fx_px == pytest.approx(camera.fx_px, rel=1e-3)
        assert poses[0].header.frame_id == "map"
        values = peer.wait_for(lambda values: values["processed"] != "0", name="/robot/localization_node")
        assert int(values.get("rejected: no CameraInfo", "0")) >= 1  # those before the estimate had settled
        assert process.stop(timeout_s=60) == 0
        assert "Traceback" not in process.text
        assert "is not known and ignored" not in process.text


def apart_deg(one: Camera, other: Camera, pixels_n2: np.ndarray) -> float:
    """The largest angle between what two cameras look at with the same pixel."""
    cosine_n = (np.asarray(one.bearings(pixels_n2)) * np.asarray(other.bearings(pixels_n2))).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosine_n, -1, 1))).max())


def test_a_lens_that_bends_is_found_said_and_taken_off(tmp_path):
    """The drawn room turns before a lens that bends: CameraInfo has its distortion, and attitude is level."""
    path = weights_with_lines(tmp_path / "w.safetensors", 270.0, 320, 240)
    lens = Camera(320, 240, 220.0, 220.0, 159.5, 119.5, "plumb_bob", (-0.25, 0.0, 0.0, 0.0))
    pictures = [through(lens, CropSpec(320, 240, 220.0, 0.0, 0.0, 0.0), yaw) for yaw in np.arange(0.2, 1.4, 0.15)]
    arguments = ("-p", f"weights:={path}", "-p", "use_turns:=false", "-r", "image:=/camera/image_raw")
    with (
        active_node(MODULE, "--ros-args", *arguments, "-r", "__ns:=/bent", log=tmp_path / "node.log") as process,
        CameraPeer("/bent") as peer,
    ):
        peer.wait_until_connected()
        shown = iter(range(10**6))

        def told() -> bool:
            peer.show(pictures[next(shown) % len(pictures)])
            peer.spin_for(0.4)
            return bool(peer.camera_infos) and any(peer.camera_infos[-1].d)

        assert peer.spin_until(told, 60), (peer.values(f"/bent{NAME}"), process.text)
        camera = camera_from_info(peer.camera_infos[-1])
        assert camera.model == "rational_polynomial"
        pixels_n2 = np.array([(5, 5), (5, 120), (160, 5), (310, 230)], float)
        assert apart_deg(camera, lens, pixels_n2) < 5.0 < apart_deg(lens.without_distortion(), lens, pixels_n2)
        values = peer.wait_for(lambda values: values["lens"].startswith("bends by -0."), name=f"/bent{NAME}")
        assert "the lens bends (bends by -0." in process.text
        assert abs(float(values["pitch (deg)"])) < 1.5
        assert process.stop(timeout_s=60) == 0
        assert "Traceback" not in process.text
