"""Augmented training views: the camera turned and zoomed in its place, in other light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geo_perception.geometry import Camera, invert_pose, make_pose, so3_exp
from geo_perception.runtime.image import Resampler
from geo_training.engine.augmentation import augment_photometric
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


def scene_focal_px(cameras: list[Camera], longest_px: int) -> float:
    """The focal length at which a network sees a whole scene, from the cameras of its frames, one for each frame.

    A camera alone would be seen in its own pixels, or smaller until its longer side has `longest_px`. Of these focal
    lengths the middle one is taken, so that most frames are seen that way and a camera with few frames changes nothing.
    """
    return float(np.percentile([_own_focal_px(camera, longest_px) for camera in cameras], 50, method="lower"))


def _own_focal_px(camera: Camera, longest_px: int) -> float:
    shrink = min(1.0, longest_px / max(camera.width_px, camera.height_px))
    return (camera.fx_px + camera.fy_px) / 2 * shrink


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
    if augmentation is None:
        return seen_through(image_hw3, camera, T_world_camera, landmarks_world_l3, visibility_l, network_camera)
    target, R_camera_view = _turned(network_camera, augmentation, rng)
    view = seen_through(image_hw3, camera, T_world_camera, landmarks_world_l3, visibility_l, target, R_camera_view)
    lit_hw3, covered_hw = augment_photometric(view.image_hw3, augmentation, rng)
    return replace(view, image_hw3=lit_hw3, state_l=_without(view.state_l, view.pixels_l2, covered_hw))


def seen_through(
    image_hw3: np.ndarray,
    camera: Camera,
    T_world_camera: np.ndarray,
    landmarks_world_l3: np.ndarray,
    visibility_l: np.ndarray,
    target: Camera,
    R_camera_view: np.ndarray | None = None,
) -> View:
    """What a pinhole `target`, turned by `R_camera_view` in the camera's place, sees of a frame: any part of its field
    of view, with the landmarks' places and states there."""
    resampler = Resampler(camera, target, R_camera_view)
    T_world_view = T_world_camera @ make_pose(np.eye(3) if R_camera_view is None else R_camera_view, np.zeros(3))
    T_view_world = invert_pose(T_world_view)
    pixels_l2 = target.project(landmarks_world_l3 @ T_view_world[:3, :3].T + T_view_world[:3, 3])
    state_l = np.where(target.contains(pixels_l2), visibility_l, -1).astype(np.int8)
    state_l = _without(state_l, pixels_l2, resampler.covered_hw < 1)
    return View(resampler.image(image_hw3), target, T_world_view, pixels_l2, state_l)


def _without(state_l: np.ndarray, pixels_l2: np.ndarray, hidden_hw: np.ndarray) -> np.ndarray:
    """The states where some pixels of the view show nothing: no landmark can be seen there."""
    height, width = hidden_hw.shape
    inside_l = state_l >= 0
    columns, rows = np.rint(pixels_l2[inside_l]).astype(int).T
    state_l = state_l.copy()
    state_l[np.flatnonzero(inside_l)[hidden_hw[rows.clip(0, height - 1), columns.clip(0, width - 1)]]] = -1
    return state_l


def _turned(camera: Camera, augmentation: AugmentationConfig, rng: np.random.Generator) -> tuple[Camera, np.ndarray]:
    zoom = augmentation.zoom ** rng.uniform(-1, 1)
    tilt_2 = np.radians(augmentation.tilt_deg) * rng.uniform(-1, 1, 2)
    roll = np.radians(augmentation.roll_deg) * rng.uniform(-1, 1)
    target = Camera(
        camera.width_px, camera.height_px, camera.fx_px * zoom, camera.fy_px * zoom, camera.cx_px, camera.cy_px
    )
    return target, so3_exp(np.array([*tilt_2, 0.0])) @ so3_exp(np.array([0.0, 0.0, roll]))
