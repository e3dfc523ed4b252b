"""Indoor-6: images/NAME.color.jpg, NAME.pose.txt (3x4, world to camera) and NAME.intrinsics.txt (W H f px py k).

The splits come with the data set only as serialized Python objects (.pkl), which can run code and are never opened
here. train.txt, val.txt and test.txt (an image name a line), or split.json ({"train": [...], ...}) take their place.
Where there are none, whole sessions are held back: each fifth session is `test`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose
from geo_training.datasets.importers.account import NO_IMAGE, Account
from geo_training.datasets.importers.seven_scenes import read_pose
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    ImportOptions,
    Source,
    SourceFrame,
    folder_name,
    read_text,
    stamp_at,
    taken_pose,
)
from geo_training.datasets.pictures import is_hidden
from geo_training.storage.names import natural_key

TEST_SESSION_EVERY = 5
_IMAGE_END = ".color.jpg"


def matches(path: Path) -> bool:
    return any(_folder(path).glob("*.intrinsics.txt"))


def read(path: Path, options: ImportOptions) -> Source:
    """One scene. A session is what stands before the last number of a name. The k of intrinsics.txt is COLMAP's
    SIMPLE_RADIAL, and so are its pixel centres. Raises InputError when there is no image, or a file of one is broken.
    """
    folder = _folder(path)
    files = [file for file in folder.glob(f"*{_IMAGE_END}") if not is_hidden(file)]
    files = sorted(files, key=lambda file: natural_key(file.name))
    if not files:
        raise InputError(f"{path} holds no images/NAME{_IMAGE_END}; give the folder of one Indoor-6 scene")
    account = Account()
    stems = {file.name.removesuffix(_IMAGE_END) for file in files}
    _count(folder, stems, account)
    sessions = [session_of(file.name.removesuffix(_IMAGE_END), folder_name(path)) for file in files]
    splits, notes = _splits(path, files, sessions)
    frames, indices = [], dict.fromkeys(sessions, 0)
    for file, session in zip(files, sessions, strict=True):
        stem = file.name.removesuffix(_IMAGE_END)
        frames.append(
            SourceFrame(
                image_file=file,
                sequence=session,
                stamp_ns=stamp_at(indices[session], options.rate_hz or DEFAULT_RATE_HZ),
                stem=stem,
                camera=_read_camera(folder / f"{stem}.intrinsics.txt", options),
                T_world_camera=_read_pose(folder / f"{stem}.pose.txt", account),
                split=splits[file.name],
            )
        )
        indices[session] += 1
    without_pose = sum(frame.T_world_camera is None for frame in frames)
    if without_pose:
        notes.append(f"{without_pose} frames have no pose.")
    notes.append("Poses and intrinsics are paired by the image's name; the stamps are made up, in their order.")
    scale_source = "Indoor-6 pseudo ground truth (COLMAP, brought to metres by its authors)"
    return Source(frames, account, scale="metric", scale_source=scale_source, notes=notes)


def session_of(stem: str, default: str) -> str:
    """What stands before the last number of a name: `20200101_kitchen-00012` is of `20200101_kitchen`."""
    return re.sub(r"[-_.]?(frame[-_]?)?\d+$", "", stem) or default


def _folder(path: Path) -> Path:
    return path / "images" if (path / "images").is_dir() else path


def _read_camera(path: Path, options: ImportOptions) -> Camera:
    try:
        # A line may end with the image's first name, which is no number.
        width, height, focal, cx, cy, *rest = read_text(path).split()
        radial = float(rest[0]) if rest and re.fullmatch(r"[-+.\deE]+|nan|inf", rest[0], re.IGNORECASE) else 0.0
        K_33 = [[float(focal), 0, float(cx) - 0.5], [0, float(focal), float(cy) - 0.5], [0, 0, 1]]
        size = int(float(width)), int(float(height))
        camera = Camera.from_K(K_33, *size, "plumb_bob", (radial, 0.0, 0.0, 0.0))
    except (ValueError, OverflowError):
        raise InputError(f"{path} is missing or is not `W H f px py k`; unpack the scene again") from None
    if options.K_33 is not None:
        return Camera.from_K(options.K_33, *size)
    return camera


def _read_pose(path: Path, account: Account) -> np.ndarray | None:
    if not path.is_file():
        return None
    T_camera_world = taken_pose(lambda: read_pose(path), account, path.name)
    return None if T_camera_world is None else invert_pose(T_camera_world)


def _count(folder: Path, stems: set[str], account: Account) -> None:
    """Counts images, and poses of none; the others are counted as they are read."""
    account.find("images", len(stems))
    orphans = [path.name for path in sorted(folder.glob("*.pose.txt")) if path.name[: -len(".pose.txt")] not in stems]
    account.find("poses", len(orphans))
    account.leave("poses", NO_IMAGE, orphans[0] if orphans else "", len(orphans))


def _splits(path: Path, files: list[Path], sessions: list[str]) -> tuple[dict[str, str], list[str]]:
    named = _named_splits(path)
    if named:
        left_out = sum(file.name not in named for file in files)
        notes = [f"{left_out} images are in no split."] if left_out else []
        return {file.name: named.get(file.name, "") for file in files}, notes
    order = sorted(set(sessions), key=natural_key)
    test = set(order[TEST_SESSION_EVERY - 1 :: TEST_SESSION_EVERY]) or set(order[-1:] if len(order) > 1 else ())
    if not test:
        return dict.fromkeys((file.name for file in files), ""), ["There is one session and no split; none was made."]
    note = (
        f"No train.txt, test.txt or split.json: {len(test)} of {len(order)} sessions are test. The .pkl of the data "
        "set can run code and is not opened."
    )
    splits = {file.name: "test" if of in test else "train" for file, of in zip(files, sessions, strict=True)}
    return splits, [note]


def _named_splits(path: Path) -> dict[str, str]:
    """Image file name to split."""
    lists: dict[str, list] = {}
    json_file = path / "split.json"
    if json_file.is_file():
        try:
            content = json.loads(read_text(json_file))
            lists = {split: list(content.get(split, ())) for split in ("train", "val", "test")}
        except (ValueError, AttributeError, TypeError):
            raise InputError(f'{json_file} is not {{"train": [names], "test": [names]}}; mend it') from None
    else:
        for split in ("train", "val", "test"):
            file = path / f"{split}.txt"
            if file.is_file():
                lists[split] = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    return {Path(str(name)).name: split for split, names in lists.items() for name in names}
