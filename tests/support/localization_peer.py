"""The test's side of the localization node: a camera that shows a scene's own pictures, and what listens."""

from __future__ import annotations

from geometry_msgs.msg import PoseWithCovarianceStamped
from node_peer import NodePeer
from ros_support import CAMERA_QOS, stamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from geo_perception.ros.camera_info import info_fields
from geo_perception.ros.codec import encode_jpeg, fill_image

MODULE = "geo_perception.localization.node"
NAME = "/localization_node"


class Robot(NodePeer):
    """A camera that shows the scene's own pictures, and what listens to the node."""

    def __init__(self, tiny_scene, namespace: str = ""):
        super().__init__(f"{namespace}{NAME}", "robot")
        dataset = tiny_scene.dataset
        self.frames = dataset.of_split("test")
        self.pictures = [dataset.image(frame) for frame in self.frames]
        self.depth = lambda index: dataset.depth_m(self.frames[index])
        self.camera = dataset.camera(self.frames[0])
        self.images = self.node.create_publisher(Image, "/camera/image_raw", CAMERA_QOS)
        self.compressed = self.node.create_publisher(CompressedImage, "/camera/image_raw/compressed", CAMERA_QOS)
        self.infos = self.node.create_publisher(CameraInfo, "/camera/camera_info", CAMERA_QOS)
        self.poses: list[PoseWithCovarianceStamped] = []
        self.listening = False
        self.second = 100

    def listen(self) -> None:
        """Subscribes to the pose, where that is not done yet."""
        if not self.listening:
            self.poses, self.listening = self.collect(PoseWithCovarianceStamped, f"{self.name}/pose"), True

    def turn_away(self) -> None:
        self.stop_collecting(self.poses)
        self.listening = False

    def wait_until_connected(self) -> None:
        self.wait_for_listeners(self.images, self.infos)

    def stamp(self, message):
        """Each message gets a second of its own."""
        self.second += 1
        return stamped(message, self.second * 10**9 + 250_000_000)

    def info(self, header, **changes) -> CameraInfo:
        return CameraInfo(header=header, **(info_fields(self.camera) | changes))

    def show(self, index: int, info_changes=None, compressed: bool = False) -> int:
        """Publishes one picture and its CameraInfo; returns the second of its stamp."""
        picture = self.pictures[index % len(self.pictures)]
        if compressed:
            message = self.stamp(CompressedImage(format="jpeg", data=encode_jpeg(picture, 95)))
        else:
            message = self.stamp(fill_image(Image(), picture))
        self.infos.publish(self.info(message.header, **(info_changes or {})))
        (self.compressed if compressed else self.images).publish(message)
        return self.second

    def pose_at(self, second: int, timeout_s: float = 5.0):
        def find():
            return [pose for pose in self.poses if pose.header.stamp.sec == second]

        assert self.spin_until(lambda: bool(find()), timeout_s), f"no pose for {second}: {self.values()}"
        return find()[0]


def arguments(tiny_scene, *more: str) -> tuple[str, ...]:
    """Of a node that believes every pose, so that a test need not show two pictures."""
    given = ("-p", f"scene:={tiny_scene.scene_path}", "-p", "agreeing_frames:=1", "-r", "image:=/camera/image_raw")
    return ("--ros-args", *given, *more)
