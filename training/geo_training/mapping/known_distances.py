"""The scale of a map from distances that a user measured between places of its frames."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError

DISTANCES_AGREE = 0.05  # relative; tapes and phones do better


@dataclass(frozen=True)
class KnownDistance:
    """The distance between the camera's places at two frames."""

    frame_a: str
    frame_b: str
    distance_m: float


def parse_known_distance(text: str) -> KnownDistance:
    """Reads `FRAME_A FRAME_B METRES`; a name with blanks stands in quotes. Raises InputError when it is not that."""
    words = text.split()
    if len(words) != 3 or text.lstrip()[0] in "'\"":  # else an apostrophe belongs to a name
        with contextlib.suppress(ValueError):
            words = shlex.split(text)
    try:
        frame_a, frame_b, distance_m = words[0], words[1], float(words[2])
        if len(words) != 3 or not 0 < distance_m < np.inf or frame_a == frame_b:
            raise ValueError
    except (IndexError, ValueError):
        raise InputError(
            f"--scale-from '{text}' is not two frames and a distance; write for example "
            '--scale-from "walk/000010.jpg walk/000042.jpg 2.35", and names with blanks in single quotes'
        ) from None
    return KnownDistance(frame_a, frame_b, distance_m)


def scale_from_distances(T_world_camera: dict[str, np.ndarray], known: list[KnownDistance]) -> tuple[float, float]:
    """Metres in a unit of the map, and the relative disagreement of the distances: half the widest difference.

    Raises InputError for distances between fewer than two different pairs of frames, a frame that is not in the map,
    two frames at one place, or distances that disagree by more than DISTANCES_AGREE.
    """
    names = list(T_world_camera)
    pairs = [(find_frame(item.frame_a, names), find_frame(item.frame_b, names)) for item in known]
    if len({frozenset(pair) for pair in pairs}) < 2:
        raise InputError(
            "one known distance cannot be checked; pass --scale-from twice, with distances between different frames"
        )
    scales = []
    for item, pair in zip(known, pairs, strict=True):
        a_3, b_3 = (T_world_camera[name][:3, 3] for name in pair)
        length = float(np.linalg.norm(a_3 - b_3))
        if length < 1e-9:
            raise InputError(f"{item.frame_a} and {item.frame_b} were taken from one place; choose frames apart")
        scales.append(item.distance_m / length)
    scale = float(np.exp(np.mean(np.log(scales))))
    disagreement = (max(scales) - min(scales)) / (2 * scale)
    if disagreement > DISTANCES_AGREE:
        stated = ", ".join(f"{s:.4g}" for s in scales)
        raise InputError(
            f"the known distances disagree: they give {stated} metres a unit of the map, {2 * disagreement:.0%} apart; "
            "measure again, or choose frames further apart"
        )
    return scale, disagreement


def find_frame(name: str, names: list[str]) -> str:
    """The frame that is meant by its whole name, or by the end of it without the suffix.

    Raises InputError when none or several fit.
    """
    if name in names:
        return name
    fitting = [full for full in names if full.endswith("/" + name) or full.rsplit(".", 1)[0].endswith("/" + name)]
    if len(fitting) != 1:
        what = "is not in the map" if not fitting else f"could be {' or '.join(fitting[:3])}"
        raise InputError(f"frame '{name}' {what}; give it as it stands in frames.csv, such as {names[0]}")
    return fitting[0]
