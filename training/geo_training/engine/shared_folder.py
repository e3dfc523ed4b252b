"""A folder of the main process, for the processes of machines that do not see it."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from geo_training import processes
from geo_training.engine.whole_batch import gathered, once, rank, world
from geo_training.storage.output_file import check_room

_MESSAGE_BYTES = 16 << 20
_copies: list[tempfile.TemporaryDirectory] = []  # which go with the process


def shared_folder(folder: Path) -> Path:
    """The folder as the main process has it, for every process: itself where it is seen, else a copy in the folder for
    temporary files, one a machine, which goes with the training. Called by all when the main process has written it;
    whether a machine sees it is tried, not asked.

    Raises InputError where a machine has no room for the copy.
    """
    if world() == 1:
        return folder
    mark = once(lambda: _marked(folder))
    sees = gathered((folder / mark).is_file())
    if rank() == 0:
        (folder / mark).unlink()
    if all(sees):
        return folder
    total_bytes = once(lambda: sum(path.stat().st_size for path in _files(folder)))
    copy = None
    if not sees[rank()] and processes.is_first_here():
        check_room(tempfile.gettempdir(), total_bytes, "copies of what the first machine has made")
        _copies.append(tempfile.TemporaryDirectory(prefix="geo_train_"))
        copy = Path(_copies[-1].name)
    messages = _messages(folder) if rank() == 0 else iter(())
    while (message := once(lambda: next(messages, None))) is not None:
        for name, data in message if copy is not None else ():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(data)
    copies = dict(one for one in gathered((processes.machine(), copy)) if one[1] is not None)
    return folder if sees[rank()] else copies[processes.machine()]


def _marked(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    name = f".seen-{uuid.uuid4().hex}"
    (folder / name).touch()
    return name


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _messages(folder: Path) -> Iterator[list[tuple[str, bytes]]]:
    """The files with their names below the folder, many small ones at a time."""
    message, size_bytes = [], 0
    for path in _files(folder):
        message.append((str(path.relative_to(folder)), path.read_bytes()))
        size_bytes += len(message[-1][1])
        if size_bytes >= _MESSAGE_BYTES:
            yield message
            message, size_bytes = [], 0
    if message:
        yield message
