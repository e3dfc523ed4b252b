"""A file is replaced whole or not at all: written beside its place, put on the disk, then moved there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


def partial_path(path: Path) -> Path:
    """Where a file or a folder is written before it is moved to `path`: beside it, hidden, so that nobody takes what a
    killed process left there for data."""
    return path.with_name(f".{path.name}{PARTIAL}")


@contextmanager
def replaced_file(path: str | Path) -> Iterator[Path]:
    """Yields the path to write to. When the block ends well its file is put on the disk and moved to `path`; when the
    block raises it is removed, and what was at `path` stays.

    A symbolic link stays one: the file that it points to is replaced. A new file gets the mode that the process's umask
    allows, whatever the library that wrote it had chosen; a replaced one keeps its mode. The folder must exist.
    """
    path = Path(os.path.realpath(path))
    work = partial_path(path)
    try:
        yield work
        with work.open("rb+") as file:
            os.fchmod(file.fileno(), _mode_of(path))
            os.fsync(file.fileno())
        os.replace(work, path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise


def replace_text(path: str | Path, text: str) -> None:
    """Replaces a file by this text, in UTF-8."""
    with replaced_file(path) as work:
        work.write_text(text, encoding="utf-8")


def replace_bytes(path: str | Path, data: bytes) -> None:
    """Replaces a file by these bytes."""
    with replaced_file(path) as work:
        work.write_bytes(data)


def _mode_of(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0o666 & ~_UMASK


def _umask() -> int:
    """The umask can only be read by setting it, for a moment and for all threads: done once, while modules load."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _umask()
