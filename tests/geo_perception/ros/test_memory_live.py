"""A node process whose memory is limited for a while: real libraries fail in it, for real."""

import resource
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from depth_peer import CAMERA, RobotPeer, depth_weights
from lifecycle_msgs.msg import Transition
from rclpy.qos import qos_profile_sensor_data
from ros_support import NodeProcess, active_node
from sensor_msgs.msg import CameraInfo, CompressedImage

from geo_perception.ros.camera_info import info_fields
from geo_perception.ros.codec import encode_jpeg
from geo_perception.runtime.weights import save_weights

pytestmark = pytest.mark.slow
TOPIC = "/camera/image_raw"
SMALL = encode_jpeg(np.ascontiguousarray(np.tile(np.arange(240, dtype=np.uint8)[:, None, None], (1, 320, 3))), 90)


def limit(process: NodeProcess, room_bytes: int | None) -> None:
    """Lets the process have so much more memory than now; None: as much as it wants."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    used_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData"))
    soft = resource.RLIM_INFINITY if room_bytes is None else used_kib * 1024 + room_bytes
    resource.prlimit(process.process.pid, resource.RLIMIT_DATA, (soft, resource.RLIM_INFINITY))


class Robot(RobotPeer):
    """Its images are compressed: small ones on their way may be large ones in memory."""

    def __init__(self):
        super().__init__()
        self.compressed = self.node.create_publisher(CompressedImage, f"{TOPIC}/compressed", qos_profile_sensor_data)

    def show_until(self, condition, data: bytes = SMALL, seconds: float = 20.0) -> dict[str, str]:
        """Shows a picture, ten times a second, until the diagnostics are as wanted."""
        self.statuses.clear()
        for _ in range(round(seconds / 0.1)):
            self.stamp_ns += 10**8
            self.infos.publish(CameraInfo(header=self.header(), **info_fields(CAMERA)))
            self.compressed.publish(CompressedImage(header=self.header(), format="jpeg", data=data))
            self.spin_for(0.1)
            if self.values() and condition(self.values()):
                return self.values()
        raise AssertionError(self.values())


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return depth_weights(tmp_path_factory.mktemp("node") / "depth.safetensors")


@pytest.fixture(scope="module")
def node(weights) -> Iterator[NodeProcess]:
    given = ("-p", f"weights:={weights}", "-p", "device:=cpu")
    more = ("-p", "image_transport:=compressed", "-r", f"image:={TOPIC}", "-p", "lazy:=false")
    with active_node(
        "geo_perception.depth.node", "--ros-args", *given, *more, log=weights.with_name("node.log")
    ) as process:
        yield process


def test_a_machine_without_memory_for_an_image_drops_it_and_goes_on_when_there_is_some(node):
    # A picture of 48 megapixels is 144 MB in memory, and less than 1 MB on its way.
    large = cv2.imencode(".jpg", np.zeros((6000, 8000, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 30])[1].tobytes()
    with Robot() as robot:
        robot.show_until(lambda values: int(values["processed"]) > 3)
        said = len(node.text)
        limit(node, 64 << 20)
        short = robot.show_until(
            lambda values: values["level"] == 2 and "not enough memory" in values["message"], large
        )
        assert "rejected: no memory" in short
        assert "allocate" in short["memory"], short["memory"]
        limit(node, None)
        well = robot.show_until(lambda values: values["level"] < 2 and values["memory"] == "enough", seconds=40)
        assert int(well["processed"]) > 3
        lines = [line for line in node.text[said:].splitlines() if "memory" in line]
        assert len(lines) <= 4, lines
        assert "Traceback" not in node.text
    assert node.running()


def test_loading_without_memory_is_refused_in_one_line_and_goes_well_with_it(node, weights):
    """Of weights that are larger than what the process may have kept."""
    large = weights.with_name("large.safetensors")
    save_weights(large, {"padding": np.zeros(64 << 20, np.float16)}, {"kind": "depth", "format_version": 1})
    with Robot() as robot:
        assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
        assert robot.change_state(Transition.TRANSITION_CLEANUP)
        said = len(node.text)
        assert robot.set("weights", str(large)).successful
        limit(node, 8 << 20)
        assert not robot.change_state(Transition.TRANSITION_CONFIGURE)
        limit(node, None)
        assert robot.set("weights", str(weights)).successful
        assert "cannot configure: not enough memory" in node.text[said:]
        assert "Traceback" not in node.text
        assert robot.change_state(Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(Transition.TRANSITION_ACTIVATE)
        robot.show_until(lambda values: int(values["processed"]) > 1)
