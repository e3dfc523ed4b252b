"""What completing is worth: depth that was hidden, against what the methods say it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geo_training.mapping.fusion.hide import KINDS, hide
from geo_training.mapping.fusion.methods import Completion, find_method
from geo_training.metrics.completion import mean_scores, score_hidden


@dataclass(frozen=True)
class FusionFrame:
    """One image (H, W, 3) to complete: its known depth (H, W), 0 where unknown, and its relative depth (H, W)."""

    name: str
    image_hw3: np.ndarray
    known_hw: np.ndarray
    relative_hw: np.ndarray


@dataclass(frozen=True)
class HiddenTest:
    """One image with some of its depth hidden, and what a method made of it."""

    frame: FusionFrame
    method: str
    kind: str
    hidden_hw: np.ndarray
    completion: Completion
    scores: dict[str, float]


def measure_hidden(
    frames: Sequence[FusionFrame],
    methods: Sequence[str],
    other_holes: Sequence[np.ndarray],
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    done: Callable[[HiddenTest], None] | None = None,
) -> list[HiddenTest]:
    """Hides depth of every frame, in each of the kinds, and completes it by each of the methods. All methods see the
    same; what is hidden depends on the seed and the frame's place among them. `done` is called after each."""
    ways = {name: find_method(name) for name in methods}
    tests = []
    for number, frame in enumerate(frames):
        for kind in kinds:
            rng = np.random.default_rng([seed, number, KINDS.index(kind)])
            hidden_hw = hide(kind, frame.known_hw > 0, other_holes, rng)
            for name, way in ways.items():
                left_hw = np.where(hidden_hw, 0, frame.known_hw)
                completion = way(left_hw, frame.relative_hw, frame.image_hw3)
                tests.append(HiddenTest(frame, name, kind, hidden_hw, completion, _score(frame, hidden_hw, completion)))
                if done is not None:
                    done(tests[-1])
    return tests


def fusion_metrics(tests: Sequence[HiddenTest]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over images, by kind and method: those of `score_hidden`, and `s`, the seconds an image."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in dict.fromkeys(test.kind for test in tests):
        for name in dict.fromkeys(test.method for test in tests):
            own = [test for test in tests if (test.kind, test.method) == (kind, name)]
            rows = [test.scores | {"s": test.completion.seconds} for test in own]
            found.setdefault(kind, {})[name] = mean_scores(rows)
    return found


def _score(frame: FusionFrame, hidden_hw: np.ndarray, completion: Completion) -> dict[str, float]:
    asked_hw = hidden_hw & np.isfinite(completion.depth_hw)
    left_hw = (frame.known_hw > 0) & ~hidden_hw
    away_hw = cv2.distanceTransform((~left_hw).astype(np.uint8), cv2.DIST_L2, 3)
    sigma_n = None if completion.sigma_hw is None else completion.sigma_hw[asked_hw]
    return score_hidden(frame.known_hw[asked_hw], completion.depth_hw[asked_hw], sigma_n, away_hw[asked_hw])
