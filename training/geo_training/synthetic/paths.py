"""Walks through a room with a camera in the hand: smooth, off the walls and the furniture, looking around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from geo_perception.errors import InputError
from geo_perception.geometry import make_pose
from geo_training.synthetic.room import Room

CLEARANCE_M = 0.3
CELL_M = 0.1
STEP_HZ = 1.8  # steps a second, which the camera feels


@dataclass(frozen=True)
class Walk:
    """`stamps_s` (N,) from 0, evenly spaced; `T_world_camera` (N, 4, 4), optical frames."""

    stamps_s: np.ndarray
    T_world_camera: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps_s)


def walk(
    room: Room,
    seed: int,
    duration_s: float,
    rate_hz: float,
    speed_m_s: float = 0.45,
    turns: float = 3.0,
    height_m: float = 1.4,
) -> Walk:
    """A walk through the free part of the room. Other seeds walk elsewhere and look elsewhere, in the same room.

    The way leads over places drawn at random, around the furniture, at `speed_m_s`. Meanwhile the gaze goes round the
    walls `turns` times (negative: clockwise), up and down a little, and the hand is not quite still.

    Raises InputError when there is no room to walk, or when a duration, rate or speed is not positive.
    """
    if min(duration_s, rate_hz, speed_m_s) <= 0:
        raise InputError(f"a walk of {duration_s} s at {rate_hz} Hz and {speed_m_s} m/s; give positive numbers")
    rng = np.random.default_rng([seed, 21])
    stamps_s = np.arange(max(round(duration_s * rate_hz), 1)) / rate_hz
    xy_n2 = _way(room, rng, stamps_s * speed_m_s)
    bob_m = 0.012 * np.abs(np.sin(np.pi * STEP_HZ * stamps_s))
    z_n = height_m + 0.12 * drift(rng, stamps_s, 9.0) + bob_m
    share_n = stamps_s / duration_s
    bearing_n = rng.uniform(0, 2 * np.pi) + 2 * np.pi * turns * share_n + 0.35 * drift(rng, stamps_s, 5.0)
    half_2 = np.array(room.size_m[:2]) / 2
    # Towards a point on the walls; the eye's own place counts for less, so that the gaze never swings round at once.
    gaze_n2 = half_2 * np.stack([np.cos(bearing_n), np.sin(bearing_n)], 1) - 0.6 * xy_n2
    yaw_n = np.arctan2(gaze_n2[:, 1], gaze_n2[:, 0])
    pitch_n = np.deg2rad(-5.0 + 8.0 * drift(rng, stamps_s, 6.0))
    roll_n = np.deg2rad(3.0 * drift(rng, stamps_s, 3.0))
    poses = [
        camera_pose(np.array([x, y, z]), yaw, pitch, roll)
        for (x, y), z, yaw, pitch, roll in zip(xy_n2, z_n, yaw_n, pitch_n, roll_n, strict=True)
    ]
    return Walk(stamps_s, np.array(poses))


def camera_pose(position_3: np.ndarray, yaw_rad: float, pitch_rad: float = 0.0, roll_rad: float = 0.0) -> np.ndarray:
    """T_world_camera of a camera at `position_3` whose axis has this heading (0 is +x, counter-clockwise) and this
    elevation (positive looks up), turned about its axis by `roll_rad` (positive lowers the left end of the horizon)."""
    c, s = np.cos(pitch_rad), np.sin(pitch_rad)
    forward = np.array([np.cos(yaw_rad) * c, np.sin(yaw_rad) * c, s])
    right = np.array([np.sin(yaw_rad), -np.cos(yaw_rad), 0.0])
    upright_33 = np.stack([right, np.cross(forward, right), forward], axis=1)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    return make_pose(upright_33 @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), position_3)


def _way(room: Room, rng: np.random.Generator, along_n: np.ndarray) -> np.ndarray:
    """Places (N, 2) at distances `along_n` (metres) on a smooth way through the free space."""
    for clearance_m in (CLEARANCE_M + 0.12, CLEARANCE_M):
        free, origin_2 = room.free_space(clearance_m, CELL_M)
        cells, graph = _largest_part(free)
        if len(cells) >= 40:
            break
    else:
        raise InputError(
            f"room {room.seed} of {room.size_m} m has no space to walk in; use another seed or a larger room"
        )
    points, here, length_m = [], int(rng.integers(len(cells))), 0.0
    while length_m < along_n[-1] + 1.5:
        distance_n, before_n = dijkstra(graph, indices=here, return_predecessors=True)
        far = np.flatnonzero(distance_n > 0.6 * distance_n.max())
        target = int(rng.choice(far))
        leg = [target]
        while leg[-1] != here:
            leg.append(int(before_n[leg[-1]]))
        points += leg[::-1][:-1]
        length_m += CELL_M * distance_n[target]
        here = target
    raw_n2 = cells[points][:, ::-1] * CELL_M + origin_2
    smooth_n2 = gaussian_filter1d(raw_n2, 3.0, axis=0, mode="nearest")
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(smooth_n2, axis=0), axis=1))])
    # Smoothing cuts corners, which shortens the way a little: whoever arrives early turns back.
    folded = along_n % (2 * along[-1])
    folded = np.minimum(folded, 2 * along[-1] - folded)
    return np.stack([np.interp(folded, along, smooth_n2[:, axis]) for axis in range(2)], axis=1)


def _largest_part(free: np.ndarray) -> tuple[np.ndarray, object]:
    """The largest connected part of the free cells, (K, 2) rows and columns, and the graph of its neighbours."""
    number = np.full(free.shape, -1)
    number[free] = np.arange(int(free.sum()))
    starts, ends, lengths = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        rows, columns = np.nonzero(free)
        inside = (rows + dy < free.shape[0]) & (columns + dx >= 0) & (columns + dx < free.shape[1])
        rows, columns = rows[inside], columns[inside]
        both = free[rows + dy, columns + dx]
        starts.append(number[rows, columns][both])
        ends.append(number[rows + dy, columns + dx][both])
        lengths.append(np.full(int(both.sum()), np.hypot(dy, dx)))
    count = int(free.sum())
    edges = coo_matrix(
        (np.concatenate(lengths), (np.concatenate(starts), np.concatenate(ends))), (count, count)
    ).tocsr()
    edges = edges + edges.T
    if count == 0:
        return np.zeros((0, 2), int), edges
    _, part = connected_components(edges, directed=False)
    kept = np.flatnonzero(part == np.bincount(part).argmax())
    return np.argwhere(free)[kept], edges[kept][:, kept]


def drift(rng: np.random.Generator, stamps_s: np.ndarray, period_s: float) -> np.ndarray:
    """A smooth random curve within [-1, 1] whose swings last about `period_s`."""
    waves = [
        weight * np.sin(2 * np.pi * stamps_s / (period_s * rng.uniform(0.7, 1.3) * scale) + rng.uniform(0, 2 * np.pi))
        for weight, scale in ((0.6, 1.0), (0.3, 0.53), (0.1, 0.29))
    ]
    return np.sum(waves, axis=0)
