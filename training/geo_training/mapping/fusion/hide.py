"""Depth that is hidden, to measure how well it is completed: pixels at random, and holes like those that are there."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from geo_perception.errors import InputError

RANDOM, HOLES = "random", "holes"
KINDS = (RANDOM, HOLES)
HIDDEN_SHARE = 0.2  # of known pixels that are hidden
_HOLE_SHARES = 0.1, 0.4  # of known pixels, that the holes of another image may hide
_TRIALS = 60
_ELLIPSE_SHARES = 0.03, 0.15  # half axes of made-up holes, of the image's width
_MOST_ELLIPSES = 200


def hide(
    kind: str, known_hw: np.ndarray, other_holes: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """Which known pixels (H, W) bool are hidden. Raises InputError for a kind that there is not.

    `random`: a fifth of them. `holes`: where other images (`other_holes`, (h, w) bool of any size, true where they have
    no depth) have theirs, mirrored or not, such that a tenth to four tenths of the known pixels are hidden; where none
    does, ellipses of 6 to 30 % of the image's width until a fifth is.
    """
    if kind == RANDOM:
        return known_hw & (rng.random(known_hw.shape) < HIDDEN_SHARE)
    if kind != HOLES:
        raise InputError(f"depth cannot be hidden in '{kind}'; choose {' or '.join(KINDS)}")
    total = max(int(known_hw.sum()), 1)
    low, high = _HOLE_SHARES
    for _ in range(_TRIALS if len(other_holes) else 0):
        hole_hw = other_holes[int(rng.integers(len(other_holes)))]
        resized_hw = cv2.resize(hole_hw.astype(np.uint8), known_hw.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        hidden_hw = known_hw & (resized_hw[:, ::-1] if rng.random() < 0.5 else resized_hw)
        if low <= hidden_hw.sum() / total <= high:
            return hidden_hw
    return known_hw & _ellipses(known_hw, rng)


def _ellipses(known_hw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ellipses (H, W) bool that hold HIDDEN_SHARE of the known pixels."""
    height, width = known_hw.shape
    canvas_hw = np.zeros((height, width), np.uint8)
    total = int(known_hw.sum())
    for _ in range(_MOST_ELLIPSES):
        if (known_hw & (canvas_hw > 0)).sum() >= HIDDEN_SHARE * total:
            break
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = tuple(round(width * share) for share in rng.uniform(*_ELLIPSE_SHARES, 2))
        cv2.ellipse(canvas_hw, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return canvas_hw > 0
