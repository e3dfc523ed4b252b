"""Which topics the inputs are, after remapping. The functions take any object with rclpy's `resolve_topic_name`."""

from __future__ import annotations

import posixpath


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
