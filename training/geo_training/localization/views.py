"""Training views: what the camera would have seen, turned and zoomed in its place, in other light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geo_perception.geometry import Camera, invert_pose, make_pose, so3_exp
from geo_perception.localization.estimator import SIDE_MULTIPLE_PX
from geo_training.engine.photometric import change_light
from geo_training.localization.config import AugmentationConfig


@dataclass(frozen=True)
class View:
    """An image as the network sees it, with the landmarks' places in it.

    `state_l` is +1 (seen, at `pixels_l2`), 0 (may be seen: left out of the loss) or -1 (cannot be seen).
    """

    image_hw3: np.ndarray
    camera: Camera
    T_world_camera: np.ndarray
    pixels_l2: np.ndarray
    state_l: np.ndarray


def network_camera_for(camera: Camera, longest_px: int) -> Camera:
    """The pinhole through which training sees `camera`'s images: its field of view, sides multiples of 32."""
    shrink = min(1.0, longest_px / max(camera.width_px, camera.height_px))
    focal_px = (camera.fx_px + camera.fy_px) / 2 * shrink
    width_px, height_px = (
        max(1, round(side * shrink / SIDE_MULTIPLE_PX)) * SIDE_MULTIPLE_PX
        for side in (camera.width_px, camera.height_px)
    )
    cx_px = (camera.cx_px + 0.5 - camera.width_px / 2) * shrink + width_px / 2 - 0.5
    cy_px = (camera.cy_px + 0.5 - camera.height_px / 2) * shrink + height_px / 2 - 0.5
    return Camera(width_px, height_px, focal_px, focal_px, cx_px, cy_px)


def make_view(
    image_hw3: np.ndarray,
    camera: Camera,
    T_world_camera: np.ndarray,
    landmarks_world_l3: np.ndarray,
    visibility_l: np.ndarray,
    network_camera: Camera,
    augmentation: AugmentationConfig | None,
    rng: np.random.Generator,
) -> View:
    """One view of one frame; the plain one where `augmentation` is None.

    A turn of the camera about its centre and a zoom are exact image warps, so the labels stay exact too.
    """
    target, R_camera_view = network_camera, np.eye(3)
    if augmentation is not None:
        target, R_camera_view = _turned(network_camera, augmentation, rng)
    view_hw3, outside_hw = _resample(image_hw3, camera, target, R_camera_view)
    if augmentation is not None:
        view_hw3, covered_hw = change_light(view_hw3, augmentation, rng)
        outside_hw |= covered_hw
    T_world_view = T_world_camera @ make_pose(R_camera_view, np.zeros(3))
    T_view_world = invert_pose(T_world_view)
    pixels_l2 = target.project(landmarks_world_l3 @ T_view_world[:3, :3].T + T_view_world[:3, 3])
    state_l = np.where(target.contains(pixels_l2), visibility_l, -1).astype(np.int8)
    inside_l = state_l >= 0
    columns, rows = np.rint(pixels_l2[inside_l]).astype(int).T
    hidden = outside_hw[rows.clip(0, target.height_px - 1), columns.clip(0, target.width_px - 1)]
    state_l[np.flatnonzero(inside_l)[hidden]] = -1  # there are no pixels of it here
    return View(view_hw3, target, T_world_view, pixels_l2, state_l)


def _turned(camera: Camera, augmentation: AugmentationConfig, rng: np.random.Generator) -> tuple[Camera, np.ndarray]:
    zoom = augmentation.zoom ** rng.uniform(-1, 1)
    tilt_2 = np.radians(augmentation.tilt_deg) * rng.uniform(-1, 1, 2)
    roll = np.radians(augmentation.roll_deg) * rng.uniform(-1, 1)
    target = Camera(
        camera.width_px, camera.height_px, camera.fx_px * zoom, camera.fy_px * zoom, camera.cx_px, camera.cy_px
    )
    return target, so3_exp(np.array([*tilt_2, 0.0])) @ so3_exp(np.array([0.0, 0.0, roll]))


def _resample(image_hw3, camera: Camera, target: Camera, R_camera_view: np.ndarray):
    """The image through `target`, turned, and where it has no pixels of the source."""
    if camera.model == "pinhole":
        H_source_target = camera.K @ R_camera_view @ np.linalg.inv(target.K)
        size = (target.width_px, target.height_px)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view_hw3 = cv2.warpPerspective(image_hw3, H_source_target, size, flags=flags)
        inside = cv2.warpPerspective(np.full(image_hw3.shape[:2], 255, np.uint8), H_source_target, size, flags=flags)
    else:
        grid_n2 = np.stack(np.meshgrid(np.arange(target.width_px), np.arange(target.height_px)), -1).reshape(-1, 2)
        pixels_n2 = np.nan_to_num(camera.project(target.bearings(grid_n2) @ R_camera_view.T), nan=-1e4).astype(
            np.float32
        )
        maps = pixels_n2.reshape(target.height_px, target.width_px, 2)
        view_hw3 = cv2.remap(image_hw3, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
        inside = cv2.remap(np.full(image_hw3.shape[:2], 255, np.uint8), maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
    return view_hw3, inside < 255
