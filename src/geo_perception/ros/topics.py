"""Which topics the inputs are, after remapping. The functions take any object with rclpy's `resolve_topic_name`."""

from __future__ import annotations

import posixpath
import re

RECTIFIED = ("auto", "true", "false")
TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg", "foxglove")
# `image_rect`, `image_rect_color`, `left_rectified`; not `image_unrectified`, nor a robot called `rect_robot`.
_RECTIFIED_IMAGE = re.compile(r"(?<!un)(?<!non)(?<!not)(?:^|_)(rect|rectified|undistorted)\d*(_|$)", re.IGNORECASE)
_RECTIFIED_NAMESPACE = re.compile(r"(?<!un)(?<!non)(?<!not)(?:^|_)(rect|rectified|undistorted)\d*$", re.IGNORECASE)


def _remapped(node, name: str) -> bool:
    return node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True)


def image_topic(node, transport: str) -> str:
    """The topic images come from. Compressed images are below the raw topic, as image_transport has it: with
    `image:=/camera/image_raw` that is /camera/image_raw/compressed, unless `image/compressed` is remapped itself."""
    if transport == "raw":
        return node.resolve_topic_name("image")
    if _remapped(node, "image/compressed"):
        return node.resolve_topic_name("image/compressed")
    return posixpath.join(node.resolve_topic_name("image"), "compressed")


def camera_info_topic(node) -> str:
    """The topic of the CameraInfo: the remapped `camera_info`, else the one beside the image, as drivers have it."""
    if _remapped(node, "camera_info") or not _remapped(node, "image"):
        return node.resolve_topic_name("camera_info")
    return posixpath.join(posixpath.dirname(node.resolve_topic_name("image")), "camera_info")


def without_transport(topic: str) -> str:
    """The topic that image_transport would call the raw one: `/camera/image_raw` of `/camera/image_raw/compressed`."""
    base, _, last = topic.rpartition("/")
    return base if base and last in TRANSPORTS else topic


def is_rectified(topic: str, rectified: str = "auto") -> bool:
    """Whether the images of this topic (after remapping) have no lens distortion any more.

    `rectified` is `true` or `false` where it is known; `auto` goes by names as image_proc and drivers give them.
    """
    if rectified != "auto":
        return rectified == "true"
    *namespaces, image = without_transport(topic).split("/")
    return bool(_RECTIFIED_IMAGE.search(image)) or any(_RECTIFIED_NAMESPACE.search(name) for name in namespaces)


def rectified_sentence(topic: str, rectified: str, how: str) -> str:
    """What is taken of the images of a topic, for the log; `how` is the parameter or option that says otherwise."""
    why = "as its name says" if rectified == "auto" else f"as {how} says"
    if is_rectified(topic, rectified):
        return f"the images on {topic} are rectified, {why}: P of their CameraInfo holds, without D" + (
            f" ({how} false if they are not)" if rectified == "auto" else ""
        )
    return f"the images on {topic} are raw, {why}: K and D of their CameraInfo hold"
