"""A plain folder: images, and beside them what is known: K.txt, poses.txt, depth/, masks/."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from os import walk
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.datasets.importers.account import NO_IMAGE, Account, printable
from geo_training.datasets.importers.depth_files import DEPTH_SUFFIXES, MASK_SUFFIXES
from geo_training.datasets.importers.pairing import own_number, pair_by_name, pair_with_lines, unique_names
from geo_training.datasets.importers.source import (
    DEFAULT_RATE_HZ,
    ImportOptions,
    Source,
    SourceFrame,
    camera_of_K,
    find_hidden,
    folder_name,
    numbers_of,
    pictures_in,
    pose_from_numbers,
    read_K,
    read_lines,
    stamp_at,
    taken_pose,
)
from geo_training.datasets.pictures import is_hidden, is_picture_name
from geo_training.storage.names import natural_key

IMAGE_FOLDERS = ("images", "image", "rgb", "color", "colour", "grey", "gray", "image_0", "image_2")
OTHER_FOLDERS = ("depth", "masks")
DEFAULT_DEPTH_UNITS_PER_M = 1000.0
_TEXT_SUFFIXES = (".txt", ".csv", ".json", ".yaml", ".yml", ".xml", ".tum")
_TEXTS_READ = ("K.txt", "poses.txt", "README.txt", "LICENSE.txt")
ELSEWHERE = "elsewhere than in the folder of images that was taken"


def matches(path: Path) -> bool:
    return bool(_image_folders(path))


def read(path: Path, options: ImportOptions) -> Source:
    """Images in the folder or in one of its subfolders (images, rgb, grey, ...), whichever holds more; K.txt with the
    nine numbers of K; poses.txt with camera in world in metres, 12 or 16 numbers a line; depth/ and masks/ with a file
    of each image's name (depth: 16-bit millimetres unless `depth_units_per_m` says otherwise, or floats in metres;
    masks: objects by number).

    A line of poses.txt begins with the name or number of its image; or there is a line for each image in the order of
    their names; or else the image's own number is its line. Folders below images/ become sequences. Without K.txt the
    focal length is a guess. Images have no clock: the stamps count up at `rate_hz` (10 unless given). Raises InputError
    when there is no image, or poses.txt does not fit.
    """
    folders = _image_folders(path)
    if not folders:
        raise InputError(f"{path} holds no images, nor do its folders {', '.join(IMAGE_FOLDERS[:6])}; check the path")
    account = Account()
    _count_elsewhere(path, [folder for _, folder, _ in folders], account)
    several = len(folders) > 1
    pictures = [(sequence, file) for sequence, _, files in folders for file in files]
    account.find("images", len(pictures))
    names = [f"{folder.name}/{file.stem}" if several else file.stem for _, folder, files in folders for file in files]
    K_33 = options.K_33
    if K_33 is None and (path / "K.txt").is_file():
        K_33 = read_K(path / "K.txt")
    camera_of = camera_of_K(K_33, [file for _, file in pictures])
    rate_hz = options.rate_hz or DEFAULT_RATE_HZ
    notes = [f"The stamps are made up: {rate_hz:g} images a second in the order of their names."]
    if unread := _unread(path):
        notes.append(f"{', '.join(unread)} beside the images: not read; K.txt, poses.txt, depth/ and masks/ are.")
    poses = _read_poses(path / "poses.txt", [file for _, file in pictures], names, account, notes)
    only = "" if several else folders[0][1].name
    depths = _paired(path / "depth", only, DEPTH_SUFFIXES, "depth", names, account, notes)
    masks = _paired(path / "masks", only, MASK_SUFFIXES, "masks", names, account, notes)
    frames, indices = [], dict.fromkeys((sequence for sequence, _ in pictures), 0)
    for (sequence, file), name, T_world_camera in zip(pictures, names, poses, strict=True):
        depth_file = depths.get(name)
        frames.append(
            SourceFrame(
                image_file=file,
                sequence=sequence,
                stamp_ns=stamp_at(indices[sequence], rate_hz),
                stem=file.stem,
                camera=camera_of(file),
                T_world_camera=T_world_camera,
                depth=depth_file and options.depth_file(depth_file, DEFAULT_DEPTH_UNITS_PER_M, "assumed: millimetres"),
                mask_file=masks.get(name),
            )
        )
        indices[sequence] += 1
    source = Source(frames, account, notes=notes)
    if not source.posed:
        return source
    return replace(source, scale="metric", scale_source="poses.txt, which is in metres")


def _image_folders(path: Path) -> list[tuple[str, Path, list[Path]]]:
    """Sequence name, folder and pictures: of the folder itself, its first known subfolder, or that one's subfolders,
    whichever holds most (a thumbnail may lie beside images/)."""
    if not path.is_dir():
        return []
    known = next((path / name for name in IMAGE_FOLDERS if _pictures_below(path / name)), None)
    candidates = [[(folder_name(path), path, pictures_in(path))]]
    if known is not None:
        below = sorted((sub for sub in known.iterdir() if sub.is_dir() and not is_hidden(sub)), key=natural_key)
        names = unique_names([folder_name(sub) for sub in below])
        candidates.insert(0, [(folder_name(path), known, pictures_in(known))])
        candidates.insert(1, [(name, sub, pictures_in(sub)) for name, sub in zip(names, below, strict=True)])
    best = max(candidates, key=lambda folders: sum(len(files) for _, _, files in folders))
    return [entry for entry in best if entry[2]]


def _pictures_below(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return bool(pictures_in(folder)) or any(
        pictures_in(sub) for sub in folder.iterdir() if sub.is_dir() and not is_hidden(sub)
    )


def _count_elsewhere(path: Path, taken: list[Path], account: Account) -> None:
    """Pictures that lie below `path` but in none of the folders that are taken."""
    find_hidden(taken, account)
    for place, below, files in walk(path):
        folder = Path(place)
        below[:] = sorted(
            name for name in below if not is_hidden(Path(name)) and not (folder == path and name in OTHER_FOLDERS)
        )
        if folder in taken:
            continue
        for name in sorted(files):
            if is_picture_name(Path(name)) and not is_hidden(Path(name)):
                account.find("images")
                account.leave("images", ELSEWHERE, (folder / name).relative_to(path))


def _unread(path: Path) -> list[str]:
    """Files that may hold a calibration or poses in another layout."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _TEXT_SUFFIXES and not is_hidden(file))
    return [printable(file.name) for file in files if file.name not in _TEXTS_READ and file.is_file()]


def _read_poses(path: Path, files: list[Path], names: list[str], account: Account, notes: list[str]) -> list:
    """The pose of each image, None where it has none."""
    if not path.is_file():
        return [None] * len(files)
    lines = read_lines(path)
    keyed = bool(lines) and all(_is_keyed(words) for _, words in lines)
    if keyed:
        line_of = _keyed_lines(path, lines, files, names)
        lines = [(number, words[1:]) for number, words in lines]
        notes.append(f"{path.name}: each line names its image.")
    else:
        pairing = pair_with_lines([file.stem for file in files], len(lines), path)
        line_of = pairing.lines
        notes.append(pairing.how)
    poses = []
    for line in line_of:
        if line is None:
            poses.append(None)
            continue
        number, words = lines[line]
        where = f"{path} line {number}"
        poses.append(taken_pose(lambda: pose_from_numbers(numbers_of(words, where), where), account, where))  # noqa: B023
    unused = len(lines) - len({line for line in line_of if line is not None})
    account.find("poses", unused)
    account.leave("poses", NO_IMAGE, f"of {path.name}", unused)
    return poses


def _is_keyed(words: list[str]) -> bool:
    """Whether a line begins with its image's name or number, and the pose comes behind."""
    return len(words) in (13, 17)


def _keyed_lines(path: Path, lines: list, files: list[Path], names: list[str]) -> list[int | None]:
    by_key: dict[str, int] = {}
    for index, (number, words) in enumerate(lines):
        if by_key.setdefault(words[0], index) != index:
            raise InputError(f"{path} line {number} names {words[0]} again; keep one line for each image")
    numbers = [own_number(file.stem) for file in files]
    by_number = {}
    if None not in numbers and len(set(numbers)) == len(numbers):
        by_number = {int(key): index for key, index in by_key.items() if key.isascii() and key.isdigit()}
    # Two sequences, or two formats, may hold images of one name: such a name says nothing.
    keys_of = [{name, f"{name}{file.suffix}", file.name, file.stem} for file, name in zip(files, names, strict=True)]
    shared = {key for key, count in Counter(key for keys in keys_of for key in keys).items() if count > 1}
    return [
        next((by_key[key] for key in sorted(keys - shared) if key in by_key), by_number.get(number))
        for keys, number in zip(keys_of, numbers, strict=True)
    ]


def _paired(
    folder: Path, only: str, suffixes: Iterable[str], kind: str, names: list[str], account: Account, notes: list[str]
) -> dict[str, Path]:
    """The file of each image in depth/ or masks/, by the image's name; below `only` where there is one sequence."""
    if not folder.is_dir():
        return {}
    if only and (folder / only).is_dir():
        folder = folder / only
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*"), key=natural_key):
        if not file.is_file() or is_hidden(file) or any(is_hidden(part) for part in file.relative_to(folder).parents):
            continue
        if file.suffix.lower() in suffixes:
            account.find(kind)
            name = str(file.relative_to(folder).with_suffix(""))
            if files.setdefault(name, file) is not file:
                account.leave(kind, "with the name of another one but for its ending", file.name)
        elif is_picture_name(file):
            account.find(kind)
            reason = f"not one of {', '.join(suffixes)}"
            if kind == "depth":
                account.leave_depth(reason, file.name)
            else:
                account.leave(kind, reason, file.name)
    paired, how = pair_by_name(names, files, kind)
    if files:
        notes.append(f"{how[0].upper()}{how[1:]}")
    used = set(paired.values())
    for file in files.values():
        if file not in used:
            account.leave(kind, NO_IMAGE, file.name)
    return paired
