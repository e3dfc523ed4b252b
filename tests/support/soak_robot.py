"""The robot of the soak: one process with the three nodes, a camera that shows them pictures, and what they answer."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
from calibration_peer import constant_weights
from depth_peer import depth_weights
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from node_peer import NodePeer
from ros_support import CAMERA_QOS, NodeProcess
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Float64

from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import info_fields
from geo_perception.ros.codec import encode_jpeg, fill_image
from geo_perception.ros.messages import stamp_ns

NODES = ("/calibration_node", "/localization_node", "/depth_node")
RATE_HZ = 5.0
START_S = 120.0
_RESPAWN_DELAY_S = 1.0  # as the launch files have it


class SoakRobot(NodePeer):
    """Shows the pictures of a scene and starts its nodes again whenever they end."""

    def __init__(self, tiny_scene, folder: Path):
        super().__init__(NODES[1], "soak_robot")
        dataset = tiny_scene.dataset
        frames = dataset.of_split("test")
        self.pictures = [dataset.image(frame) for frame in frames]
        self.camera: Camera = dataset.camera(frames[0])
        self.folder, self.lives, self.unasked_ends = folder, 0, 0
        height_px, width_px = self.pictures[0].shape[:2]
        self.weights = {
            "calibration": constant_weights(folder / "calibration.safetensors", self.camera.fx_px, width_px, height_px),
            "depth": depth_weights(folder / "depth.safetensors"),
            "localization": folder / "scene.safetensors",
        }
        self.weights["localization"].write_bytes(tiny_scene.scene_path.read_bytes())
        self.intact = {name: path.read_bytes() for name, path in self.weights.items()}
        self.stamp_ns, self.position_m = 10**12, 0.0
        self.hostile = 0  # messages sent that nobody means
        create = self.node.create_publisher
        self.images = create(Image, "/camera/image_raw", CAMERA_QOS)
        self.infos = create(CameraInfo, "/camera/camera_info", CAMERA_QOS)
        self.compressed = create(CompressedImage, "/camera/image_raw/compressed", CAMERA_QOS)
        self.odometry = create(Odometry, "/odometry", 10)
        self.landmarks = create(PointCloud2, "/matched_landmarks", 10)
        self.results = {
            NODES[0]: self.collect(Float64, f"{NODES[0]}/focal_length"),
            NODES[1]: self.collect(PoseWithCovarianceStamped, f"{NODES[1]}/pose"),
            NODES[2]: self.collect(Image, f"{NODES[2]}/relative_depth"),
        }
        self.process = self._start()

    # The process.

    def _start(self) -> NodeProcess:
        self.lives += 1
        own = {f"{name}_node": {"device": "cpu"} for name in self.weights}
        own["calibration_node"] |= {"image_transport": "compressed"}
        own["localization_node"] |= {"scene": str(self.weights["localization"]), "agreeing_frames": 1}
        for name in ("calibration", "depth"):
            state_file = self.folder / "state" / f"{name}.json"
            own[f"{name}_node"] |= {"weights": str(self.weights[name]), "state_file": str(state_file)}
        parameters = self.folder / "parameters.yaml"
        parameters.write_text(json.dumps({f"/{node}": {"ros__parameters": given} for node, given in own.items()}))
        return NodeProcess(
            "geo_perception.ros.container", "--ros-args", "--params-file", str(parameters),
            "-r", "image:=/camera/image_raw", "--log-level", "warn", log=self.folder / f"nodes{self.lives}.log",
        )  # fmt: skip

    def supervise(self) -> None:
        """Starts the process again where it has ended without being asked to."""
        if not self.process.running():
            self.unasked_ends += 1
            self._again()

    def kill(self) -> None:
        """kill -9, and a new life."""
        self.process.stop(signal.SIGKILL)
        self._again()

    def _again(self) -> None:
        time.sleep(_RESPAWN_DELAY_S)
        self.process = self._start()

    def close(self) -> None:
        self.process.stop(signal.SIGKILL)
        super().close()

    @property
    def memory_mb(self) -> float:
        """Of the process, resident."""
        return self._memory_kib("VmRSS") / 1024

    @property
    def data_bytes(self) -> int:
        """What a limit of the process's data counts."""
        return int(self._memory_kib("VmData") * 1024)

    def _memory_kib(self, kind: str) -> float:
        for line in Path(f"/proc/{self.process.process.pid}/status").read_text().splitlines():
            if line.startswith(kind):
                return int(line.split()[1])
        return float("nan")

    @property
    def said(self) -> str:
        """What all lives have written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("nodes*.log")))

    # What the camera does.

    def stamped(self, message):
        message.header.frame_id = "camera_optical"
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.stamp_ns, 10**9)
        return message

    def show(self, image_hw3: np.ndarray | None = None, camera: Camera | None = None, tell: bool = True) -> None:
        """One picture with its CameraInfo, a frame period after the one before."""
        self.stamp_ns += round(1e9 / RATE_HZ)
        if tell:
            self.infos.publish(self.stamped(CameraInfo(**info_fields(camera or self.camera))))
        if image_hw3 is None:
            image_hw3 = self.pictures[self.stamp_ns // 10**8 % len(self.pictures)]
        self.images.publish(self.stamped(fill_image(Image(), image_hw3)))
        self.compressed.publish(self.stamped(CompressedImage(format="jpeg", data=encode_jpeg(image_hw3, 90))))
        self.spin_for(1 / RATE_HZ)

    def roll(self) -> None:
        """A decimetre forward, by the wheels."""
        self.position_m += 0.1
        moved = Odometry(child_frame_id="base_link")
        moved.pose.pose.position.x, moved.pose.pose.orientation.w = self.position_m, 1.0
        self.stamped(moved).header.frame_id = "odom"
        self.odometry.publish(moved)

    def seconds_to_results(self, timeout_s: float) -> float:
        """Shows pictures until every node has answered one of them; after how long. Raises TimeoutError."""
        began_s, began_ns = time.monotonic(), self.stamp_ns
        for found in self.results.values():
            found.clear()
        while not all(self._answered(name, began_ns) for name in NODES):
            if time.monotonic() - began_s > timeout_s:
                silent = [name for name in NODES if not self._answered(name, began_ns)]
                why = {name: self.values(name).get("message", "no diagnostics") for name in silent}
                raise TimeoutError(f"no result within {timeout_s:g} s: {why}")
            self.supervise()
            self.show()
        return time.monotonic() - began_s

    def _answered(self, name: str, began_ns: int) -> bool:
        # A number has no stamp: a second one is of a picture shown since.
        return any(stamp_ns(m.header.stamp) > began_ns if hasattr(m, "header") else len(self.results[name]) > 1
                   for m in self.results[name])  # fmt: skip

    # Lifecycle.

    def change(self, name: str, *transitions: int) -> None:
        """Asks for transitions, whether they are allowed or not."""
        for transition in transitions:
            request = ChangeState.Request(transition=Transition(id=transition))
            self.call(ChangeState, f"{name}/change_state", request, 30)

    def make_active(self, name: str) -> None:
        """Configures and activates a node, as far as it lets."""
        state = self.call(GetState, f"{name}/get_state", GetState.Request(), 30).current_state.label
        if state == "unconfigured":
            self.change(name, Transition.TRANSITION_CONFIGURE)
        if state != "active":
            self.change(name, Transition.TRANSITION_ACTIVATE)
