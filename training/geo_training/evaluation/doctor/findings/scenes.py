"""The scene of a localization node against the camera that looks now."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geo_perception.errors import InputError
from geo_training.evaluation.doctor.finding import Finding, warning
from geo_training.evaluation.doctor.findings.cameras import camera_of
from geo_training.evaluation.doctor.snapshot import NodeSeen, SceneFile, Snapshot

FIELD_FACTOR = 1.25  # how much wider or narrower a camera may see than the one the place was mapped with
BLUR_FACTOR = 0.6  # of the pixels per radian that the network looks at
_SHAPE_FACTOR = 1.1


def scene_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Scenes that were made for a camera unlike the one in use."""
    for node in snapshot.ours:
        scene = snapshot.scenes.get(node.name)
        if scene is not None and not scene.problem:
            yield from _compare(snapshot, node, scene)


def _compare(snapshot: Snapshot, node: NodeSeen, scene: SceneFile) -> Iterator[Finding]:
    try:
        found = camera_of(snapshot, node)
    except InputError:
        return  # said where CameraInfo is looked at
    if found is None:
        return
    camera, mapped = found.camera, scene.mapping_camera
    field = 2 * np.degrees(np.arctan2(camera.width_px / 2, camera.fx_px))
    mapped_field = 2 * np.degrees(np.arctan2(mapped["width"] / 2, mapped["fx"]))
    ratio = (camera.width_px / camera.fx_px) / (mapped["width"] / mapped["fx"])
    shape = (camera.width_px / camera.height_px) / (mapped["width"] / mapped["height"])
    sizes = (
        f"{camera.width_px} x {camera.height_px} pixels at focal length {camera.fx_px:.0f} ({field:.0f} degrees "
        f"across) against {mapped['width']:.0f} x {mapped['height']:.0f} at {mapped['fx']:.0f} ({mapped_field:.0f} "
        "degrees)"
    )
    if _beyond(ratio, FIELD_FACTOR) or _beyond(shape, _SHAPE_FACTOR):
        yield warning(
            "scene-other-camera", node.name, f"its scene was mapped with another camera: {sizes}",
            "check the CameraInfo, or make the scene again with frames of this camera among the others",
        )  # fmt: skip
    elif camera.fx_px < BLUR_FACTOR * scene.network_focal_px:
        yield warning(
            "scene-other-camera", node.name,
            f"its scene looks at a focal length of {scene.network_focal_px:.0f} pixels, and the images have "
            f"{camera.fx_px:.0f}: they are enlarged and blurred",
            "publish larger images, or make the scene again with images of this size",
        )  # fmt: skip


def _beyond(ratio: float, factor: float) -> bool:
    return not 1 / factor <= ratio <= factor
