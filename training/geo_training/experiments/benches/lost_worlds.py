"""Worlds in which a localizer is lured into wrong answers, each a dataset: what was mapped, and what is asked.

The split `train` is mapped. Asked are the sequences of the split `test`: `right`, other frames of what was mapped;
`wrong`, frames of a place that is not in the map but looks alike; `moved`, of the mapped place with things moved.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import track
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.synthetic.visits import RoomVisit, ShopVisit, write_visits

SHOP_SEED, ROOM_SEED = 0, 3
EVENING = (0.8, 3400.0)  # brightness and kelvin of the shop's lamps
# Of the house: the rooms beyond this x are left out of the map, and so is a frame that sees more than a little of them.
HOUSE_X_M, INSIDE = -3.0, 0.97
MAPPED, QUERIED = ("walk_a", "walk_c"), "walk_b"
WRONG_SEES, RIGHT_SEES = 0.02, 0.6  # share of a frame's points that lie in what was mapped: at most, at least
WRONG_EACH = 2  # of the frames elsewhere, which are many
CELL_M, STEP_PX = 0.2, 12


def shop(out: Path, seed: int = SHOP_SEED) -> None:
    """A shop mapped in one of its five aisles; wrong are two others, of the same racks in other orders."""
    visits = (
        ShopVisit("map", "train", seed, (0,), 1, 100),
        ShopVisit("right", "test", seed, (0,), 2, 50, EVENING),
        ShopVisit("wrong", "test", seed, (3, 4), 3, 100, EVENING),
    )
    write_visits(out, visits, "a rendered shop", overwrite=True)


def room(out: Path, seed: int = ROOM_SEED) -> None:
    """A furnished room by day, asked in the evening; wrong is another room of the same furniture."""
    visits = (
        RoomVisit("map", "train", seed, "own", 1, 160, "daylight", 4.0),
        RoomVisit("right", "test", seed, "own", 2, 50, "evening", -2.0),
        RoomVisit("wrong", "test", seed, "rearranged", 3, 60, "evening", -2.5),
        RoomVisit("moved", "test", seed, "moved", 4, 50, "evening", 2.0),
    )
    write_visits(out, visits, "a rendered room", overwrite=True)


def house_part(house: Path, out: Path) -> None:
    """The dataset of a house, mapped in the rooms on one side; wrong are those that no mapped frame looks into.

    Raises InputError when a frame has no depth or no pose, or the walks do not lead through both parts.
    """
    dataset = SceneDataset(house)
    points = {frame.name: world_points(dataset, frame) for frame in track(dataset.frames, "looking")}
    mapped, queried = [], []
    for frame in dataset.frames:
        inside = (points[frame.name][:, 0] < HOUSE_X_M).mean()
        if frame.sequence == QUERIED:
            queried.append(frame)
        elif frame.T_world_camera[0, 3] < HOUSE_X_M and inside >= INSIDE:
            mapped.append(frame)
    if not mapped or not queried:
        raise InputError(f"the walks of {house} do not lead through both parts; it is another house")
    seen = np.unique(np.concatenate([_cells_about(points[frame.name]) for frame in mapped]))
    share_of = {frame.name: np.isin(_cells(points[frame.name]), seen).mean() for frame in queried}
    chosen = [replace(frame, split="train") for frame in mapped]
    right = [frame for frame in queried if share_of[frame.name] >= RIGHT_SEES]
    wrong = [frame for frame in queried if share_of[frame.name] <= WRONG_SEES][::WRONG_EACH]
    for name, frames in (("right", right), ("wrong", wrong)):
        chosen += [replace(frame, sequence=name, split="test") for frame in frames]
    _copy(dataset, chosen, out)


def world_points(dataset: SceneDataset, frame: Frame) -> np.ndarray:
    """Points (N, 3) in the world that a frame's depth shows, one in each STEP_PX pixels.

    Raises InputError when the frame has no depth or no pose.
    """
    depth_hw, camera = dataset.depth_m(frame), dataset.camera(frame)
    if depth_hw is None or frame.T_world_camera is None:
        raise InputError(f"{frame.name} of {dataset.root} needs depth and a pose; import both")
    v, u = np.mgrid[STEP_PX // 2 : camera.height_px : STEP_PX, STEP_PX // 2 : camera.width_px : STEP_PX]
    v, u = v.ravel(), u.ravel()
    depth_n = depth_hw[v, u].astype(np.float64)
    rays_n3 = np.c_[camera.normalize(np.c_[u, v]), np.ones(len(u))]
    points_n3 = (rays_n3 * depth_n[:, None])[depth_n > 0]
    return points_n3 @ frame.T_world_camera[:3, :3].T + frame.T_world_camera[:3, 3]


def _cells(points_n3: np.ndarray) -> np.ndarray:
    """A number for the cell of CELL_M that each point lies in."""
    i, j, k = (np.floor(points_n3 / CELL_M).astype(np.int64) + 10**5).T
    return (i << 40) + (j << 20) + k


def _cells_about(points_n3: np.ndarray) -> np.ndarray:
    """The cells within half of CELL_M of the points, each once."""
    steps = np.stack(np.meshgrid(*[(-0.5, 0.0, 0.5)] * 3), -1).reshape(-1, 3) * CELL_M
    return np.unique(np.concatenate([_cells(points_n3 + step) for step in steps]))


def _copy(dataset: SceneDataset, frames: list[Frame], out: Path) -> None:
    """Writes these frames of a dataset, in the sequences and splits that they now name."""
    with SceneWriter(out, [dataset.root], overwrite=True) as writer:
        info = dataset.info
        writer.describe(scale=info.scale, scale_source=info.scale_source, gravity_world=info.gravity_world)
        camera_ids = {name: writer.add_camera(camera, name) for name, camera in dataset.cameras.items()}
        for frame in frames:
            path = dataset.image_path(frame)
            writer.add_frame(
                frame.sequence, frame.stamp_ns, camera_ids[frame.camera_id], image_file=path, stem=path.stem,
                T_world_camera=frame.T_world_camera, depth_m=dataset.depth_m(frame), split=frame.split,
            )  # fmt: skip
