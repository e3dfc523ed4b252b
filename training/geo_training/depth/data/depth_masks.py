"""Which pixels show which object, where exact depth is there and nobody has painted masks.

A surface ends where depth jumps and where it meets another one in a hollow: the line in which a chair stands on the
floor has no jump, but the two surfaces fold towards the camera there (as in Stein et al. 2014, "Object Partitioning
using Local Convexity"). What is left between these lines is a piece. Pieces that hide what lies around them are
objects; walls, floors and ceilings are hidden by others and hide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from geo_perception.geometry import Camera
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.depth.data.instance_masks import FOLDER, METADATA_FILE, mask_path, write_ids
from geo_training.metrics.edges import depth_edges
from geo_training.storage.fingerprints import sample_digest
from geo_training.storage.images import find_depth
from geo_training.storage.kept_json import write_kept_json

VERSION = 1  # of how objects are found
JUMP_RATIO = 1.1
FOLD_DEG = 25.0
LEAST_SHARE = 6e-4  # of the image: smaller pieces go to their neighbours
HIDING_SHARE = 0.3  # of a piece's border, along which it must be the nearer side
_REACH = 1 / 160  # of the image width, over which the direction of a surface is measured


@dataclass(frozen=True)
class DepthMasks:
    """Masks made of a dataset's depth, and written into its `masks` folder. Only of exact depth: what a depth camera
    leaves out or blurs at the rims would end objects, too. A mask source of `make_boundaries`."""

    dataset: SceneDataset

    @property
    def metadata(self) -> dict:
        return {"masks": "from depth", "version": VERSION}

    def version(self, frame: Frame) -> str | None:
        path = find_depth(self.dataset.root / "depth" / frame.name)
        return sample_digest(path) if path is not None else None

    def ids(self, frame: Frame) -> np.ndarray:
        """Object ids (H, W) of the frame's depth, 0 for none; kept as its mask. Raises InputError when the depth cannot
        be read."""
        ids_hw = objects_of_depth(self.dataset.depth_m(frame), self.dataset.camera(frame))
        folder = self.dataset.root / FOLDER
        write_kept_json(folder / METADATA_FILE, self.metadata)
        write_ids(mask_path(folder, frame), ids_hw)
        return ids_hw


def objects_of_depth(depth_hw: np.ndarray, camera: Camera) -> np.ndarray:
    """Object ids (uint16, H x W; 0 for none) of depth along z, in metres or any unit, 0 where unknown."""
    height, width = depth_hw.shape
    depth_hw = np.where(depth_hw > 0, depth_hw, np.float32(np.nan))
    unknown_hw = np.isnan(depth_hw)
    reach_px = max(2, round(_REACH * width))
    jump_hw = depth_edges(depth_hw, JUMP_RATIO)
    pieces_hw = _pieces(jump_hw | unknown_hw, _folds(depth_hw, camera.resized(width, height), reach_px), reach_px)
    ids_hw = np.where(_hides(pieces_hw, depth_hw)[pieces_hw], pieces_hw, 0)
    ids_hw[unknown_hw] = 0
    return np.unique(np.append(ids_hw.ravel(), 0), return_inverse=True)[1][:-1].reshape(ids_hw.shape).astype(np.uint16)


def _folds(depth_hw: np.ndarray, camera: Camera, reach_px: int) -> np.ndarray:
    """Where two surfaces meet in a hollow (bool): directions `reach_px` to both sides differ, and lean together."""
    height, width = depth_hw.shape
    x_hw, y_hw = np.meshgrid(np.arange(width), np.arange(height))
    ray_hw3 = np.dstack(
        [(x_hw - camera.cx_px) / camera.fx_px, (y_hw - camera.cy_px) / camera.fy_px, np.ones_like(x_hw)]
    )
    point_hw3 = (ray_hw3 * depth_hw[..., None]).astype(np.float32)
    normal_hw3 = np.cross(_across(point_hw3, 0, reach_px), _across(point_hw3, 1, reach_px))
    with np.errstate(invalid="ignore", divide="ignore"):
        normal_hw3 /= np.linalg.norm(normal_hw3, axis=2, keepdims=True)
        # Towards the camera, so that the normals of a ball part and those of a corner of a room lean together.
        normal_hw3 *= -np.sign((normal_hw3 * point_hw3).sum(2, keepdims=True))
        fold_hw = np.zeros((height, width), bool)
        for axis in (0, 1):
            before_hw3, after_hw3 = _shifted(normal_hw3, axis, -reach_px), _shifted(normal_hw3, axis, reach_px)
            apart_hw = ((after_hw3 - before_hw3) * _across(point_hw3, axis, reach_px)).sum(2)
            cosine_hw = (after_hw3 * before_hw3).sum(2)
            fold_hw |= (apart_hw < 0) & (cosine_hw < np.cos(np.deg2rad(FOLD_DEG)))
    return fold_hw


def _pieces(wall_hw: np.ndarray, fold_hw: np.ndarray, reach_px: int) -> np.ndarray:
    """Numbers of what is connected between jumps (`wall_hw`) and folds, from 1; every pixel has one, if any has."""
    count, pieces_hw = cv2.connectedComponents((~(wall_hw | fold_hw)).astype(np.uint8), connectivity=4)
    small = np.bincount(pieces_hw.ravel(), minlength=count) < LEAST_SHARE * pieces_hw.size
    small[0] = True
    pieces_hw = np.where(small[pieces_hw], 0, pieces_hw).astype(np.float32)
    if not pieces_hw.any():
        return pieces_hw.astype(int)
    # Folds are wide bands, which pieces grow into from both sides, but never across a jump.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for _ in range(4 * reach_px):
        pieces_hw = np.where((pieces_hw == 0) & ~wall_hw, cv2.dilate(pieces_hw, cross), pieces_hw)
    nearest_2hw = distance_transform_edt(pieces_hw == 0, return_distances=False, return_indices=True)
    return pieces_hw[tuple(nearest_2hw)].astype(int)


def _hides(pieces_hw: np.ndarray, depth_hw: np.ndarray) -> np.ndarray:
    """Of each number, whether along HIDING_SHARE of its border what lies behind it is farther by JUMP_RATIO (bool)."""
    count = int(pieces_hw.max()) + 1
    border, hiding = np.zeros(count), np.zeros(count)
    for axis in (0, 1):
        first_hw, second_hw = _between(pieces_hw, axis, 0), _between(pieces_hw, axis, 1)
        # One pixel further on both sides: depth on the border itself may be of either.
        ahead_hw = np.log(_between(depth_hw, axis, 2) / _between(depth_hw, axis, -1))
        apart_hw = first_hw != second_hw
        for own_hw, farther_hw in ((first_hw, ahead_hw), (second_hw, -ahead_hw)):
            border += np.bincount(own_hw[apart_hw], minlength=count)
            hiding += np.bincount(own_hw[apart_hw & (farther_hw > np.log(JUMP_RATIO))], minlength=count)
    return hiding > HIDING_SHARE * np.maximum(border, 1)


def _between(map_hw: np.ndarray, axis: int, offset: int) -> np.ndarray:
    """For each pair of neighbours along an axis (the first has offset 0) the value at an offset, inside the image."""
    count = map_hw.shape[axis]
    return np.take(map_hw, np.clip(np.arange(count - 1) + offset, 0, count - 1), axis)


def _shifted(map_hwc: np.ndarray, axis: int, pixels: int) -> np.ndarray:
    """The value so many pixels further along an axis; NaN beyond the border."""
    shifted_hwc = np.full_like(map_hwc, np.nan)
    inside, moved = [slice(None)] * 3, [slice(None)] * 3
    inside[axis] = slice(max(0, -pixels), map_hwc.shape[axis] - max(0, pixels))
    moved[axis] = slice(max(0, pixels), map_hwc.shape[axis] - max(0, -pixels))
    shifted_hwc[tuple(inside)] = map_hwc[tuple(moved)]
    return shifted_hwc


def _across(point_hw3: np.ndarray, axis: int, reach_px: int) -> np.ndarray:
    return _shifted(point_hw3, axis, reach_px) - _shifted(point_hw3, axis, -reach_px)
