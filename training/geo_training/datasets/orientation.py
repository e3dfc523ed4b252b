"""The eight orientation marks of EXIF: how the picture, its camera and its pose turn when it is put upright.

A mark says how the rows and columns of a file are to be shown. What is measured in the file's own grid (K, depth, a
pose) turns with the pixels; four of the marks also mirror, and no rigid camera sees a mirrored world.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geo_perception.geometry import Camera, make_pose

UPRIGHT = 1
# Offset from the image's centre (x right, y down) in the file -> offset in the upright picture.
_TURNS = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, -1), (1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, 1), (-1, 0)),
}
MARKS = tuple(_TURNS)


def mark_of_turn(turn_22: np.ndarray) -> int | None:
    """The mark whose turn this is: from an offset in the file (x right, y down) to one in the upright picture."""
    return next((mark for mark, turn in _TURNS.items() if np.array_equal(turn, turn_22)), None)


def swaps_sides(mark: int) -> bool:
    """Whether width and height change places."""
    return mark >= 5


def mirrors(mark: int) -> bool:
    """Whether left and right change places, which no turn of a camera does."""
    return round(np.linalg.det(_TURNS[mark])) < 0


def turned_size(size: tuple[int, int], mark: int) -> tuple[int, int]:
    """Width and height once the picture is upright."""
    return size[::-1] if swaps_sides(mark) else size


def turned_array(array: np.ndarray, mark: int) -> np.ndarray:
    """The pixels (H, W, ...) upright; no value changes."""
    ((xx, xy), (yx, yy)) = _TURNS[mark]
    if swaps_sides(mark):
        array = array.swapaxes(0, 1)
    return np.ascontiguousarray(array[:: yx + yy, :: xx + xy])


def turned_camera(camera: Camera, mark: int) -> Camera:
    """The camera of the upright picture; `camera` is that of the file's rows and columns.

    Radial distortion does not turn. What pulls to one side does: (p2, p1), and (s1, s3), (s2, s4) of a thin prism.
    """
    turn_22 = np.array(_TURNS[mark], float)
    width_px, height_px = turned_size((camera.width_px, camera.height_px), mark)
    centre_2 = turn_22 @ [camera.cx_px - (camera.width_px - 1) / 2, camera.cy_px - (camera.height_px - 1) / 2]
    fx_px, fy_px = np.abs(turn_22) @ [camera.fx_px, camera.fy_px]
    distortion = list(camera.distortion)
    if camera.model in ("plumb_bob", "rational_polynomial"):
        pairs = [(3, 2)] + ([(8, 10), (9, 11)] if len(distortion) >= 12 else [])
        for x, y in pairs:
            distortion[x], distortion[y] = map(float, turn_22 @ [distortion[x], distortion[y]])
    return replace(
        camera,
        width_px=width_px,
        height_px=height_px,
        fx_px=float(fx_px),
        fy_px=float(fy_px),
        cx_px=float(centre_2[0] + (width_px - 1) / 2),
        cy_px=float(centre_2[1] + (height_px - 1) / 2),
        distortion=tuple(distortion),
    )


def turned_pose(T_world_camera: np.ndarray, mark: int) -> np.ndarray | None:
    """The pose of the upright picture's camera. None where the mark mirrors."""
    if mirrors(mark):
        return None
    R_upright_stored = np.eye(3)
    R_upright_stored[:2, :2] = _TURNS[mark]
    return T_world_camera @ make_pose(R_upright_stored.T, np.zeros(3))
