"""Plain folders: images, and beside them what is known: K.txt, poses.txt, depth/, masks/; or several of such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import walk
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.datasets.importers.account import KINDS, NO_IMAGE, Account, printable
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
_WORDS = ("README.txt", "LICENSE.txt")
_TEXTS_READ = ("K.txt", "poses.txt", *_WORDS)
ELSEWHERE = "elsewhere than in the folder of images that was taken"


@dataclass(frozen=True)
class _Recording:
    """A folder whose files belong together. `folders` holds name of the sequence, folder and pictures of each."""

    path: Path
    folders: list[tuple[str, Path, list[Path]]]

    @property
    def files(self) -> list[Path]:
        return [file for _, _, files in self.folders for file in files]


def matches(path: Path) -> bool:
    # Not a folder of recordings: that their poses are of one world is for the user to say, by naming the format.
    return bool(_image_folders(path))


def read(path: Path, options: ImportOptions) -> Source:
    """Images in the folder or in one of its subfolders (images, rgb, grey, ...), whichever holds more; K.txt with the
    nine numbers of K; poses.txt with camera in world in metres, 12 or 16 numbers a line; depth/ and masks/ with a file
    of each image's name (depth: 16-bit millimetres unless `depth_units_per_m` says otherwise, or floats in metres;
    masks: objects by number). Or, where the folder has no images of its own, each of its subfolders is read so, with
    its own K, poses and depth: these recordings become sequences, and all their poses are of one world.

    A line of poses.txt begins with the name or number of its image; or there is a line for each image in the order of
    their names; or else the image's own number is its line. Folders below images/ become sequences. Without K.txt the
    focal length is a guess. Images have no clock: the stamps count up at `rate_hz` (10 unless given). Raises InputError
    when there is no image, or poses.txt does not fit.
    """
    several = not (own := _image_folders(path))
    recordings = _recordings(path) if several else [_Recording(path, own)]
    if not recordings:
        raise InputError(
            f"{path} holds no images, nor do its folders {', '.join(IMAGE_FOLDERS[:6])}, nor recordings with these; "
            "check the path"
        )
    account = Account()
    _count_elsewhere(path, recordings, account)
    rate_hz = options.rate_hz or DEFAULT_RATE_HZ
    notes = [f"The stamps are made up: {rate_hz:g} images a second in the order of their names."]
    if several and (unread := _unread(path, _WORDS)):
        notes.append(f"{', '.join(unread)} beside the recordings: not read; what lies in each of them is.")
    frames: list[SourceFrame] = []
    posed = 0
    for recording in recordings:
        found_before = account.found.copy()
        own_frames, own_notes = _read_recording(recording, options, account)
        frames += own_frames
        posed += any(frame.T_world_camera is not None for frame in own_frames)
        if several:
            label = printable(recording.path.name)
            notes.append(f"{label}: {_contents(recording, account.found - found_before, options)}")
            own_notes = [f"{label}: {note}" for note in own_notes]
        notes += own_notes
    if posed > 1:
        notes.append(f"The poses of {posed} recordings are taken to be in one world frame, in metres.")
    source = Source(frames, account, notes=notes)
    if not source.posed:
        return source
    return replace(source, scale="metric", scale_source="poses.txt, which is in metres")


def _read_recording(
    recording: _Recording, options: ImportOptions, account: Account
) -> tuple[list[SourceFrame], list[str]]:
    """The frames of one recording, and how their parts were paired."""
    path, folders = recording.path, recording.folders
    several = len(folders) > 1
    pictures = [(sequence, file) for sequence, _, files in folders for file in files]
    account.find("images", len(pictures))
    names = [f"{folder.name}/{file.stem}" if several else file.stem for _, folder, files in folders for file in files]
    K_33 = options.K_33
    if K_33 is None and (path / "K.txt").is_file():
        K_33 = read_K(path / "K.txt")
    camera_of = camera_of_K(K_33, recording.files)
    notes = []
    if unread := _unread(path, _TEXTS_READ):
        notes.append(f"{', '.join(unread)} beside the images: not read; K.txt, poses.txt, depth/ and masks/ are.")
    poses = _read_poses(path / "poses.txt", recording.files, names, account, notes)
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
                stamp_ns=stamp_at(indices[sequence], options.rate_hz or DEFAULT_RATE_HZ),
                stem=file.stem,
                camera=camera_of(file),
                T_world_camera=T_world_camera,
                depth=depth_file and options.depth_file(depth_file, DEFAULT_DEPTH_UNITS_PER_M, "assumed: millimetres"),
                mask_file=masks.get(name),
            )
        )
        indices[sequence] += 1
    return frames, notes


def _contents(recording: _Recording, found: Counter[str], options: ImportOptions) -> str:
    """What was found in one of several recordings, and what was not."""
    parts = [f"{found[kind]} {things}" for kind, things in KINDS.items() if found[kind]]
    if options.K_33 is None and not (recording.path / "K.txt").is_file():
        parts.append("no K.txt, so its focal length is a guess")
    if not (recording.path / "poses.txt").is_file():
        parts.append("no poses.txt, so its images have no pose")
    return f"found {', '.join(parts)}."


def _recordings(path: Path) -> list[_Recording]:
    """The subfolders with images, each a sequence of its name (several where there are folders below its images/)."""
    if not path.is_dir():
        return []
    places = [sub for sub in _folders_in(path) if sub.name not in OTHER_FOLDERS]
    found = [_Recording(place, folders) for place in places if (folders := _image_folders(place))]
    # A link to a recording beside it is that recording again.
    own = {entry.path.resolve() for entry in found if not entry.path.is_symlink()}
    found = [entry for entry in found if not (entry.path.is_symlink() and entry.path.resolve() in own)]
    names = iter(
        unique_names(
            [
                folder_name(entry.path) + (f"_{name}" if len(entry.folders) > 1 else "")
                for entry in found
                for name, _, _ in entry.folders
            ]
        )
    )
    return [
        replace(entry, folders=[(next(names), folder, files) for _, folder, files in entry.folders]) for entry in found
    ]


def _image_folders(path: Path) -> list[tuple[str, Path, list[Path]]]:
    """Sequence name, folder and pictures: of the folder itself, its first known subfolder, or that one's subfolders,
    whichever holds most (a thumbnail may lie beside images/)."""
    if not path.is_dir():
        return []
    known = next((path / name for name in IMAGE_FOLDERS if _pictures_below(path / name)), None)
    candidates = [[(folder_name(path), path, pictures_in(path))]]
    if known is not None:
        below = _folders_in(known)
        names = unique_names([folder_name(sub) for sub in below])
        candidates.insert(0, [(folder_name(path), known, pictures_in(known))])
        candidates.insert(1, [(name, sub, pictures_in(sub)) for name, sub in zip(names, below, strict=True)])
    best = max(candidates, key=lambda folders: sum(len(files) for _, _, files in folders))
    return [entry for entry in best if entry[2]]


def _folders_in(path: Path) -> list[Path]:
    return sorted((sub for sub in path.iterdir() if sub.is_dir() and not is_hidden(sub)), key=natural_key)


def _pictures_below(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return bool(pictures_in(folder)) or any(pictures_in(sub) for sub in _folders_in(folder))


def _files_below(top: Path, leave_out: Iterable[Path] = ()) -> Iterator[Path]:
    """All files below `top`, but for hidden ones and those of the folders to leave out. Links are followed, unless they
    lead back to a folder on the way."""
    left_out = {folder.resolve() for folder in leave_out}
    for place, below, files in walk(top, followlinks=True):
        folder = Path(place)
        way = {way.resolve() for way in (folder, *folder.parents) if way.is_relative_to(top)}
        folders = (name for name in sorted(below) if not is_hidden(folder / name))
        below[:] = [name for name in folders if (folder / name).resolve() not in way | left_out]
        yield from (folder / name for name in sorted(files) if not is_hidden(folder / name))


def _count_elsewhere(path: Path, recordings: list[_Recording], account: Account) -> None:
    """Pictures that lie below `path` but in none of the folders that are taken, under whatever name."""
    taken = [folder for recording in recordings for _, folder, _ in recording.folders]
    find_hidden(taken, account)
    others = [recording.path / name for recording in recordings for name in OTHER_FOLDERS]
    really_taken = {folder.resolve() for folder in taken}
    for file in _files_below(path, others):
        if is_picture_name(file) and file.parent.resolve() not in really_taken:
            account.find("images")
            account.leave("images", ELSEWHERE, file.relative_to(path))


def _unread(path: Path, read: Iterable[str]) -> list[str]:
    """Files that may hold a calibration or poses in another layout, but for those of the names that are read."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _TEXT_SUFFIXES and not is_hidden(file))
    return [printable(file.name) for file in files if file.name not in read and file.is_file()]


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
    for file in sorted(_files_below(folder), key=natural_key):
        if not file.is_file():
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
