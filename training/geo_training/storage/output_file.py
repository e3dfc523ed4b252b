"""An output file is looked at before the work begins, so that hours of it do not end in a place that cannot take it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from geo_perception.errors import InputError


def check_output_file(path: str | Path, suffix: str = "", overwrite: bool = True, option: str = "--out") -> None:
    """Raises InputError when a file cannot come to stand at `path`: it is a folder, its name does not end with
    `suffix`, its folder cannot be made or written, or, unless `overwrite` is set, something stands there. `option` is
    what named it. Leaves nothing behind."""
    path = Path(path)
    if not path.name or path.is_dir():
        raise InputError(f"{path} is a folder; give {option} the name of a file")
    if suffix and path.suffix != suffix:
        raise InputError(f"{path} must end with {suffix}; give {option} such a name")
    if not overwrite and os.path.lexists(path):
        raise InputError(f"{path} exists; pass --overwrite to replace it when the new one is done, or another {option}")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"{path} cannot be written; choose another {option}")
    check_folder_takes_files(path.parent, option)


def check_folder_takes_files(folder: str | Path, option: str = "--out") -> None:
    """Raises InputError when the folder, or the nearest one above it that exists, takes no new file."""
    folder = Path(folder).absolute()
    try:
        place = next(above for above in (folder, *folder.parents) if os.path.lexists(above))
        # Really written: what a permission says does not hold for a read-only disk, nor for root.
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0")
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another {option}") from None


def check_room(folder: str | Path, needed_bytes: int, what: str) -> None:
    """Raises InputError when the disk of the folder has less room than `what` will take."""
    folder = Path(folder).absolute()
    place = next(above for above in (folder, *folder.parents) if above.exists())
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < needed_bytes:
        raise InputError(
            f"{folder} has {free_bytes / 1e9:.2f} GB free, {what} take {needed_bytes / 1e9:.2f} GB; make room, or "
            "choose another place"
        )
