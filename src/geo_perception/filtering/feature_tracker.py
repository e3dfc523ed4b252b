"""Corners tracked from one image to another by pyramidal Lucas-Kanade, forward and backward (Kalal, Mikolajczyk and
Matas, "Forward-backward error", 2010): a corner is kept that comes back to where it started."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)


@dataclass(frozen=True)
class TrackerOptions:
    """The window's side and the number of pyramid levels above the image, and how far a corner may come back from where
    it started."""

    window_px: int = 21
    levels: int = 3
    max_round_trip_px: float = 0.5


def find_corners(grey_hw: np.ndarray, count: int, apart_px: float) -> np.ndarray:
    """Up to `count` corners (N, 2) float32 of a grey image (H, W) uint8, at least `apart_px` from each other."""
    corners = cv2.goodFeaturesToTrack(grey_hw, count, 0.01, apart_px)
    return np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)


def track_features(
    from_hw: np.ndarray,
    to_hw: np.ndarray,
    points_n2: np.ndarray,
    guess_n2: np.ndarray | None = None,
    options: TrackerOptions | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where points (N, 2) of one grey image (H, W) uint8 lie in another, (N, 2) float32, and which (N,) were tracked
    there and back. `guess_n2` is where they are looked for first; where they were, without one."""
    options = options or TrackerOptions()
    if len(points_n2) == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0, bool)
    points = points_n2[:, None].astype(np.float32)
    guess = points if guess_n2 is None else guess_n2[:, None].astype(np.float32)
    settings = {
        "winSize": (options.window_px, options.window_px),
        "maxLevel": options.levels,
        "criteria": _CRITERIA,
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    there, seen, _ = cv2.calcOpticalFlowPyrLK(from_hw, to_hw, points, guess.copy(), **settings)
    home, seen_back, _ = cv2.calcOpticalFlowPyrLK(to_hw, from_hw, there, there + (points - guess), **settings)
    tracked_n = (seen[:, 0] == 1) & (seen_back[:, 0] == 1)
    tracked_n &= np.linalg.norm(home[:, 0] - points_n2, axis=1) < options.max_round_trip_px
    return there[:, 0], tracked_n
