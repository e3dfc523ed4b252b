"""What a worker has fetched and works on, on its own disk and within a budget: the least recently used goes first."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.storage.kept_json import read_kept_json, to_kept_json


@dataclass(frozen=True)
class DiskCache:
    """Folders by key below `folder`, shared by the workers of a machine. Nothing in it is the only copy of anything but
    of work that has not ended."""

    folder: Path
    budget_bytes: int

    @contextmanager
    def hold(self, key: str) -> Iterator[Path]:
        """The folder of a key (made where there is none), which nobody else holds or removes meanwhile. Afterwards what
        was not used for longest is removed until the budget is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(key):
            place = self.folder / key
            place.mkdir(exist_ok=True)
            try:
                yield place
            finally:
                content = {"bytes": folder_bytes(place), "used_at": time.time()}
                self._note(key).write_text(to_kept_json(content))  # half a note is none: then it is measured
        self.make_room(0)

    def make_room(self, needed_bytes: int, what: str = "") -> None:
        """Removes what nobody holds, the least recently used first, until so much fits into the budget.

        Raises InputError when `what` needs more than the whole budget.
        """
        if needed_bytes > self.budget_bytes:
            raise InputError(
                f"{what} takes {needed_bytes / 1e9:.2f} GB, the budget is {self.budget_bytes / 1e9:.2f} GB; raise "
                "--disk"
            )
        if not self.folder.is_dir():
            return
        with self._lock("_budget"):
            notes = {note.stem: read_kept_json(note) for note in self.folder.glob("*.json")}
            held = {key: note for key, note in notes.items() if note is not None}
            # A folder whose worker was killed before it could say how large it is.
            unknown = [path for path in self.folder.iterdir() if path.is_dir() and path.name not in held]
            held |= {path.name: {"bytes": folder_bytes(path), "used_at": path.stat().st_mtime} for path in unknown}
            total_bytes = sum(note.get("bytes", 0) for note in held.values())
            for key, note in sorted(held.items(), key=lambda item: item[1].get("used_at", 0.0)):
                if total_bytes + needed_bytes <= self.budget_bytes:
                    break
                if self._remove(key):
                    total_bytes -= note.get("bytes", 0)

    def used_bytes(self) -> int:
        """What the cache takes now."""
        return folder_bytes(self.folder)

    def _remove(self, key: str) -> bool:
        with (self.folder / f"{key}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False  # somebody works there
            shutil.rmtree(self.folder / key, ignore_errors=True)
            self._note(key).unlink(missing_ok=True)
            return True

    def _note(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        with (self.folder / f"{key}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the process ends, however it does
            yield


def folder_bytes(folder: Path) -> int:
    """The sizes of all files below a folder."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue  # removed meanwhile
    return total
