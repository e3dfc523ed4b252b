"""`geo-eval doctor` on live graphs over real DDS: a sound one, and each fault staged before active nodes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from geo_training.evaluation.doctor.graph import NAME
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_peer import HostingPeer, NodePeer
from rclpy.lifecycle import LifecycleNode
from ros_support import node_process
from sensor_msgs.msg import CompressedImage
from staged_graph import IMAGE, INFO, POSE

from geo_perception.ros import qos

pytestmark = pytest.mark.slow
DAYS = 86400.0
SECONDS = 6.0


def test_a_sound_graph_has_no_finding_and_goes_on_as_before(two_nodes, stage, examine):
    with stage(rate_hz=5.0), NodePeer("/localization_node") as robot:
        robot.wait_for(lambda values: values["message"].startswith("localized"), 30)
        found = examine(8.0)
        assert found.content["findings"] == []
        assert found.exit_code == 0
        assert "nothing is wrong" in found.output
        heard = {entry["topic"]: entry for entry in found.content["inputs"]}
        assert heard[IMAGE]["messages"] > 20
        assert heard[INFO]["frame_id"] == "camera_optical_frame"
        states = {node["name"]: (node["capability"], node["state"]) for node in found.content["nodes"]}
        assert states == {
            "/localization_node": ("localization", "active"), "/calibration_node": ("calibration", "active"),
        }  # fmt: skip
        # The doctor listens to no result: the node that nobody wants anything of still rests.
        resting = robot.wait_for(name="/calibration_node")
        assert resting["received"] == "0"
        assert resting["message"] == "nobody listens"


def test_a_process_whose_nodes_share_a_subscription_has_no_finding(two_nodes, stage, examine):
    wanted = [("/localization_node/pose", POSE, False), ("/calibration_node/focal_length", "std_msgs/Float64", False)]
    with stage(rate_hz=5.0, subscribers=wanted), NodePeer("/localization_node") as robot:
        for name in ("/localization_node", "/calibration_node"):
            robot.wait_for(lambda values: int(values["processed"]) > 10 and values["level"] == 0, 40, name)
        subscribed = [end.node_name for end in robot.node.get_subscriptions_info_by_topic(IMAGE)]
        assert len(subscribed) == 1
        found = examine(8.0)
    assert found.content["findings"] == []


def test_what_a_sloppy_driver_sends(two_nodes, stage, examine):
    image = {"frame_id": "camera_link", "offset_s": -1.0}
    with stage(image=image, info={"frame_id": "sensor", "offset_s": -1.003}):
        found = examine()
    assert {finding["where"] for finding in found.of("camera-info-foreign")} == {INFO}
    assert "'sensor'" in found.of("camera-info-foreign")[0]["what"]
    assert "so /localization_node takes the newest" in "".join(f["what"] for f in found.of("camera-info-stamps"))
    assert found.of("frame-not-optical")[0]["where"] == IMAGE
    assert "1.0" in found.of("stamps-late")[0]["what"]
    assert all(finding["severity"] == "warning" for finding in found.of("stamps-late"))


def test_another_cameras_info(two_nodes, stage, examine, fields):
    with stage(info={"frame_id": "rear_optical_frame", "fields": fields | {"width": 1280, "height": 720}}):
        found = examine()
    finding = found.of("camera-info-foreign")[0]
    assert finding["severity"] == "error"
    assert "rear_optical_frame" in finding["what"]
    assert "1280 x 720" in finding["what"]


def test_no_info_large_images_by_best_effort_and_stamps_of_another_year(two_nodes, stage, examine):
    image = {"size_px": [640, 480], "reliable": False, "offset_s": -400 * DAYS}
    with stage(image=image, info=None, pictures=""):
        found = examine()
    assert found.of("camera-info-missing")[0]["where"] == INFO
    assert found.of("images-may-be-lost") or found.of("images-lost")
    assert "0.9 MB" in "".join(f["what"] for f in found.of("images-may-be-lost")) or found.of("images-lost")
    assert "400 days before the wall clock" in found.of("clocks-mixed")[0]["what"]


def test_an_uncalibrated_camera_without_stamps(two_nodes, stage, examine, fields):
    with stage(image={"offset_s": None}, info={"fields": fields | {"k": [0.0] * 9, "p": [0.0] * 12}}):
        found = examine()
    assert found.of("camera-uncalibrated")[0]["where"] == INFO
    assert found.of("stamps-zero")[0]["where"] == IMAGE


def test_a_scene_made_for_another_lens_and_an_info_of_twice_the_size(two_nodes, stage, examine, fields):
    longer = [3 * value for value in fields["k"][:6]] + [0.0, 0.0, 1.0]
    twice = fields | {"k": longer, "width": 640, "height": 448}
    with stage(image={"offset_s": 1.5}, info={"offset_s": 1.5, "fields": twice}):
        found = examine()
    assert found.of("camera-info-size")[0]["where"] == INFO
    scene = found.of("scene-other-camera")[0]
    assert scene["where"] == "/localization_node"
    assert "focal length 315" in scene["what"]
    assert "at 210" in scene["what"]
    assert "1.5" in found.of("stamps-early")[0]["what"]


def test_ends_that_are_not_connected_and_publishers_that_are_mute(two_nodes, stage, examine):
    pose, mute = "/localization_node/pose", [(IMAGE, "sensor_msgs/Image"), (INFO, "sensor_msgs/CameraInfo")]
    with (
        stage(image=None, info=None, mute_publishers=mute),
        NodePeer("/localization_node") as robot,
    ):
        robot.node.create_subscription(PoseWithCovarianceStamped, pose, lambda _: None, qos.LATCHED_OUT)
        robot.node.create_publisher(CompressedImage, IMAGE, 10)
        robot.spin_for(1.0)
        found = examine()
    refused = [finding for finding in found.of("qos-incompatible") if finding["where"] == pose]
    assert "/localization_node and /test_peer are not connected" in refused[0]["what"]
    assert "transient local is asked for" in refused[0]["what"]
    assert "/test_peer publishes sensor_msgs/msg/CompressedImage" in found.of("type-differs")[0]["what"]
    assert {finding["where"] for finding in found.of("topic-silent")} == {IMAGE, INFO}
    assert found.of("node-unwell")[0]["where"] == "/localization_node"


def test_images_that_do_not_reach_a_node(two_nodes, stage, examine):
    def doctor_listens() -> bool:
        return any(end.node_name.startswith(NAME) for end in robot.node.get_subscriptions_info_by_topic(IMAGE))

    def pause() -> None:
        # The doctor must count before and after the pause, however long a busy machine takes to let it begin.
        if not robot.spin_until(doctor_listens, 20):
            return
        robot.spin_for(2.5)
        two_nodes.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        two_nodes.process.send_signal(signal.SIGCONT)

    with stage(rate_hz=20.0), NodePeer("/localization_node") as robot:
        robot.wait_for(lambda values: int(values["received"]) > 0, 30)
        pausing = threading.Thread(target=pause)
        pausing.start()
        found = examine(16.0)
        pausing.join()
    assert "images-lost" in found.codes, found.output
    finding = found.of("images-lost")[0]
    assert finding["where"] == IMAGE
    assert "did not reach /localization_node" in finding["what"]


def test_nobody_shows_images(two_nodes, stage, examine):
    with stage(image={}, topic="/front/image_raw", info_topic="/front/camera_info"):
        found = examine()
    finding = found.of("image-missing")[0]
    assert finding["where"] == IMAGE
    assert "/front/image_raw" in finding["mend"]
    assert "/front/camera_info" in found.of("camera-info-missing")[0]["mend"]


def test_clocks_that_differ_and_nodes_that_do_nothing(two_nodes, stage, examine, tmp_path):
    later = ("--ros-args", "-p", "autostart:=false", "-p", "use_sim_time:=true", "-r", "__ns:=/later")
    broken = ("--ros-args", "-p", "scene:=/no/such/scene", "-r", "__ns:=/broken")
    module = "geo_perception.localization.node"
    with (
        node_process(module, *later, log=tmp_path / "later.log"),
        node_process(module, *broken, log=tmp_path / "broken.log") as failing,
        stage(),
    ):
        failing.wait_for_text("cannot configure", 60)
        found = examine()
    assert "/later/localization_node" in found.of("clocks-mixed")[0]["what"]
    assert found.of("clock-missing")[0]["where"] == "/clock"
    idle = {finding["where"]: finding for finding in found.of("node-not-active")}
    assert "configure" in idle["/later/localization_node"]["mend"]
    assert "/no/such/scene does not exist" in idle["/broken/localization_node"]["what"]


def test_a_simulated_clock_that_nobody_goes_by(two_nodes, stage, examine):
    with stage(clock=1000.0):
        found = examine()
    assert found.of("clocks-mixed")[0]["where"] == "/clock"


def test_stamps_of_the_wall_in_a_simulation_whose_clock_stands(two_nodes, stage, examine):
    nodes = ("/localization_node", "/calibration_node")
    with contextlib.ExitStack() as stack:
        for name in nodes:
            peer = stack.enter_context(NodePeer(name))
            assert peer.set("use_sim_time", True).successful
            stack.callback(peer.set, "use_sim_time", False)
        with stage(clock=1000.0):
            found = examine()
        assert {finding["where"] for finding in found.of("clocks-mixed")} == {IMAGE, INFO}
        assert "days after /clock" in found.of("clocks-mixed")[0]["what"]
        with stage(clock=1000.0, clock_stands=True):
            found = examine()
        assert found.of("clock-stands")[0]["where"] == "/clock"


class Quiet(LifecycleNode):
    """A localization node by its parameters, which says nothing of itself."""

    def __init__(self, **more):
        super().__init__("localization_node", namespace="/quiet", **more)
        self.declare_parameter("agreeing_frames", 2)


def test_a_node_without_diagnostics(examine):
    with HostingPeer(Quiet) as peer:
        peer.start()
        answering = threading.Thread(target=peer.spin_for, args=(SECONDS + 2.0,))
        answering.start()
        found = examine(SECONDS)
        answering.join()
    assert found.of("diagnostics-silent")[0]["where"] == "/quiet/localization_node"


def test_a_node_that_hangs(examine, tmp_path):
    given = ("--ros-args", "-p", "autostart:=false", "-r", "__ns:=/hung")
    with (
        node_process("geo_perception.depth.node", *given, log=tmp_path / "node.log") as process,
        NodePeer("/hung/depth_node") as peer,
    ):
        assert peer.state() == "unconfigured"
        hanging = threading.Timer(2.0, process.process.send_signal, [signal.SIGSTOP])
        hanging.start()
        found = examine(8.0)
        hanging.join()
        process.process.send_signal(signal.SIGCONT)
    assert "/hung/depth_node" in {finding["where"] for finding in found.of("node-mute")}


def test_more_threads_than_cores(stage, examine):
    busy = [sys.executable, "-c", "while True: pass", "geo_perception.depth.node"]
    processes = [subprocess.Popen(busy) for _ in range(2 * len(os.sched_getaffinity(0)) + 1)]
    try:
        found = examine(3.0, load=True)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    finding = found.of("cores-oversubscribed")[0]
    assert finding["severity"] == "warning"
    assert str(processes[0].pid) in finding["what"]


def test_an_empty_graph(examine, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "101")
    found = examine(3.0)
    assert found.codes == {"no-node"}
    assert found.exit_code == 1
