"""An output folder is made whole beside its place and then moved there; nobody else's files are replaced by it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.runtime.files import PARTIAL, partial_path
from geo_training.storage.output_file import check_folder_takes_files

_OLD = ".replaced"
_NAMED = 3


@dataclass(frozen=True)
class FolderKind:
    """What a folder of ours looks like, so that `--overwrite` replaces such a one and nothing else.

    `is_ours` tells it by the marker that our commands write; `entries` are patterns of all names that our commands put
    directly into it.
    """

    name: str
    is_ours: Callable[[Path], bool]
    entries: tuple[str, ...]


def check_output(
    out: str | Path, kind: FolderKind, sources: Iterable[str | Path] = (), overwrite: bool = False
) -> Path:
    """Where the folder will really stand, symbolic links followed. Changes nothing: call it before any work.

    Raises InputError when `out` is one of the sources, holds one or lies in one; when it is a file; when it holds
    anything and `overwrite` is not set; when what it holds was not written by us; or when it cannot be written.
    """
    out = Path(out)
    real = Path(os.path.realpath(out))
    refuse_overlap(out, sources)
    if real.exists() and not real.is_dir():
        raise InputError(f"{out} is a file; choose another --out")
    there = sorted(entry.name for entry in real.iterdir() if entry.name != PARTIAL) if real.exists() else []
    if there and not overwrite:
        raise InputError(f"{out} exists and is not empty; choose another --out, or pass --overwrite")
    if there:
        _refuse_foreign(out, real, there, kind)
    check_folder_takes_files(real)
    return real


@contextmanager
def output_folder(
    out: str | Path, kind: FolderKind, sources: Iterable[str | Path] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yields the path of the folder to write, which does not exist yet and has the name of `out`. It takes the place of
    `out` when the block ends well; when the block raises it is removed, and what was there stays.

    A symbolic link stays one. A mounted or current folder stays the same folder and gets new contents. Raises
    InputError as `check_output` does, before the block is entered.
    """
    real = check_output(out, kind, sources, overwrite)
    stays = real.exists() and (os.path.ismount(real) or _holds(real, Path.cwd()))
    work = real / PARTIAL if stays else partial_path(real)
    _clear_work(work, real.name)
    try:
        work.mkdir(parents=True)
        yield work / real.name
        (_refill if stays else _replace)(real, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _replace(real: Path, work: Path) -> None:
    old = work / _OLD
    if real.exists():
        os.replace(real, old)
    try:
        os.replace(work / real.name, real)
    except OSError:
        if old.exists():
            os.replace(old, real)
        raise


def _refill(real: Path, work: Path) -> None:
    (work / _OLD).mkdir()
    for entry in [entry for entry in real.iterdir() if entry.name != work.name]:
        os.replace(entry, work / _OLD / entry.name)
    for entry in (work / real.name).iterdir():
        os.replace(entry, real / entry.name)


def _clear_work(work: Path, name: str) -> None:
    """Removes what a killed run left; refuses what cannot be from one."""
    if not os.path.lexists(work):
        return
    if work.is_symlink() or not work.is_dir() or any(entry.name not in (name, _OLD) for entry in work.iterdir()):
        raise InputError(f"{work} is in the way and was not left by an interrupted run; move it away")
    if (work / _OLD).exists():
        raise InputError(f"{work / _OLD} holds what an interrupted run was replacing; move it back or away")
    shutil.rmtree(work)


def refuse_overlap(out: str | Path, sources: Iterable[str | Path]) -> None:
    """Raises InputError when `out` is one of the sources, holds one or lies in one, by whatever names."""
    real = Path(os.path.realpath(out))
    for source in sources:
        source_real = Path(os.path.realpath(source))
        if not source_real.exists():
            continue
        if real == source_real or (real.exists() and os.path.samefile(real, source_real)):
            raise InputError(f"{out} is the source itself and would be replaced; choose another place")
        if _holds(real, source_real):
            raise InputError(f"{out} holds the source {source}; choose a folder beside it")
        if _holds(source_real, real):
            raise InputError(f"{out} lies in the source {source}; choose a folder beside it")


def _refuse_foreign(out: Path, real: Path, names: list[str], kind: FolderKind) -> None:
    if not kind.is_ours(real):
        raise InputError(
            f"{out} holds files but is not a {kind.name} of ours, so it is not replaced; choose another --out"
        )
    foreign = [name for name in names if not any(fnmatch(name, pattern) for pattern in kind.entries)]
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise InputError(
            f"{out} also holds {', '.join(foreign[:_NAMED])}{more}, not part of a {kind.name}; move that away first"
        )


def _holds(folder: Path, path: Path) -> bool:
    """Whether `path` is `folder` or lies in it, whatever names lead there."""
    if not folder.exists():
        return folder == path or folder in path.parents
    return any(place.exists() and os.path.samefile(folder, place) for place in (path, *path.parents))
