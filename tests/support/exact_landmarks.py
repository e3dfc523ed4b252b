"""Landmarks on a few objects around a camera, and what an exact detector would say of them: no network, no picture.

Everything is projected by hand, so that what moved, and by how much, is known to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from geo_training.evaluation.scene_health.answers import answers_at
from geo_training.evaluation.scene_health.leave_out import Anchors, group_points, predict_without_own
from geo_training.evaluation.scene_health.observe import Observation

from geo_perception.geometry import Camera, make_pose, so3_exp
from geo_perception.localization.network import CELL_PX
from geo_perception.localization.pnp import solve_pose

CAMERA = Camera(480, 352, 260.0, 260.0, 239.5, 175.5)
OBJECTS, EACH = 32, 6
RADIUS = 0.3  # of an object
GROUND = np.eye(3)[:2]
_AWAY, _FAINT = 6.0, -4.0


def landmarks() -> np.ndarray:
    """(L, 3): `EACH` landmarks on each of the objects that stand 3 m around the origin."""
    rng = np.random.default_rng(3)
    angle = np.arange(OBJECTS) / OBJECTS * 2 * np.pi
    middles = np.stack([3 * np.cos(angle), 3 * np.sin(angle), 1.4 + 0.6 * (-1) ** np.arange(OBJECTS)], axis=1)
    return (middles[:, None] + rng.uniform(-0.25, 0.25, (OBJECTS, EACH, 3))).reshape(-1, 3)


def on_object(number: int) -> np.ndarray:
    """The landmarks of an object."""
    return np.arange(number * EACH, (number + 1) * EACH)


def walk(frames: int, seed: int = 0) -> list[np.ndarray]:
    """Poses on a circle, five times around it, while the camera turns twice."""
    rng, poses = np.random.default_rng(seed), []
    for share in np.arange(frames) / frames:
        around, heading = 10 * np.pi * share, 4 * np.pi * share + rng.uniform(-0.1, 0.1)
        forward_3 = np.array([np.cos(heading), np.sin(heading), 0.0])
        down_3 = np.array([0.0, 0.0, -1.0])
        R = np.stack([np.cross(down_3, forward_3), down_3, forward_3], axis=1)
        poses.append(make_pose(R, np.array([np.cos(around), np.sin(around), 1.4])))
    return poses


@dataclass
class World:
    """What is there now: `places_l3` of the landmarks, NaN of one that is gone; `answer_share` of the looks in which a
    landmark that is in view is found, drawn anew for each; `noise_px` of where."""

    places_l3: np.ndarray = field(default_factory=landmarks)
    answer_share: float = 0.9
    noise_px: float = 0.7
    light: float = 0.5

    def observe(self, T: np.ndarray, recording: int, stamp_s: float, seed: int, wrong: bool = False) -> Observation:
        """One frame. With `wrong` its pose is another than the camera's, and is believed all the same."""
        rng, mapped_l3 = np.random.default_rng(seed), landmarks()
        local_l3 = (self.places_l3 - T[:3, 3]) @ T[:3, :3]
        true_l2 = CAMERA.project(np.nan_to_num(local_l3, nan=-1.0))
        there_l = (local_l3[:, 2] > 0.1) & CAMERA.contains(np.nan_to_num(true_l2, nan=-1e6))
        found_l = there_l & (rng.random(len(mapped_l3)) < self.answer_share)
        anywhere_l2 = rng.uniform([0, 0], [CAMERA.width_px, CAMERA.height_px], (len(mapped_l3), 2))
        peak_l2 = np.where(found_l[:, None], true_l2 + rng.normal(0, self.noise_px, true_l2.shape), anywhere_l2)
        score_l = np.where(found_l, 0.6, 0.01)
        seen = np.flatnonzero(found_l)
        solution = solve_pose(peak_l2[seen], mapped_l3[seen], score_l[seen], np.full(len(seen), 1.0), CAMERA)
        if wrong:
            solution = None
        predicted_l2 = np.full((len(mapped_l3), 2), np.nan)
        T_found = None if solution is None else solution.T_map_camera
        if wrong:
            T_found = T @ make_pose(so3_exp(np.array([0.0, 0.7, 0.0])), np.array([1.0, 0.0, 0.4]))
            local_l3 = (mapped_l3 - T_found[:3, 3]) @ T_found[:3, :3]
            pixels_l2 = CAMERA.project(local_l3)
            inside_l = (local_l3[:, 2] > 0.1) & CAMERA.contains(np.nan_to_num(pixels_l2, nan=-1e6))
            predicted_l2[inside_l] = pixels_l2[inside_l]
        elif solution is not None:
            agrees = seen[solution.inlier_n]
            anchors = Anchors(peak_l2[agrees], mapped_l3[agrees], np.full(len(agrees), 1.0))
            predicted_l2 = predict_without_own(
                T_found, CAMERA, anchors, mapped_l3, group_points(mapped_l3, RADIUS), RADIUS
            )
        logits_lhw = maps_of(peak_l2, rng)
        answers = answers_at(logits_lhw, predicted_l2, np.ones(len(mapped_l3), bool))
        return Observation("frame", recording, stamp_s, CAMERA, T_found, answers, predicted_l2, peak_l2, score_l,
                           self.light)  # fmt: skip

    def recording(self, number: int, frames: int = 60, start_s: float = 0.0) -> list[Observation]:
        """A walk through it."""
        return [
            self.observe(T, number, start_s + 0.5 * index, 1000 * number + index)
            for index, T in enumerate(walk(frames, number))
        ]


def maps_of(peak_l2: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Landmark maps (L, h, w) that are highest at the given pixels, and a random murmur elsewhere."""
    height, width = CAMERA.height_px // CELL_PX, CAMERA.width_px // CELL_PX
    maps_lhw = rng.normal(_FAINT, 1.0, (len(peak_l2), height, width))
    column_l = (np.arange(width) + 0.5) * CELL_PX - 0.5
    row_l = (np.arange(height) + 0.5) * CELL_PX - 0.5
    squared_lhw = (row_l[None, :, None] - peak_l2[:, None, None, 1]) ** 2 + (
        column_l[None, None, :] - peak_l2[:, None, None, 0]
    ) ** 2
    near_lhw = squared_lhw < (2.5 * CELL_PX) ** 2
    maps_lhw[near_lhw] = (_AWAY - squared_lhw / (2 * 5.0**2))[near_lhw]
    return torch.from_numpy(maps_lhw)
