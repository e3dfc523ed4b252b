"""Files and folders wherever fsspec finds them: local, s3, gs, memory. And a folder that is written whole there."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from geo_perception.errors import InputError
from geo_perception.runtime.files import partial_path, replace_bytes
from geo_training.storage.fingerprints import digest_of, file_digest, sample_digest
from geo_training.storage.kept_json import from_kept_json, to_kept_json

_MADE_BY = ("ETag", "etag", "md5Hash", "crc32c", "checksum")  # what object stores say of a file's content
_END_BYTES = 1 << 16
ANSWER_S = 60.0  # what a store gets to answer at first: s3fs asks one that is silent for more than ten minutes
_WRITE_S, _SLOWEST_BYTES_PER_S = 300.0, 1e5  # s3fs waits without end where its request to write is not answered
Result = TypeVar("Result")


class UnreachableError(InputError):
    """A place cannot be read or written now: nothing is wrong with anybody's data, and another time it may go well."""


def has_scheme(text: str) -> bool:
    """Whether it is a URL (`s3://...`) and no path."""
    return "://" in text


def is_local(url: str) -> bool:
    """Whether it is a path of this machine."""
    return not has_scheme(url)


def open_filesystem(url: str):
    """The filesystem of a path or URL, and the path in it. Raises InputError where nothing can read it."""
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except ImportError as error:
        raise UnreachableError(f"{url} cannot be opened: {error}; install what reads it") from None
    except ValueError as error:
        raise InputError(f"{url} cannot be opened: {error}; give a path, or a URL such as s3://bucket/folder") from None


def answered(work: Callable[[], Result], timeout_s: float | None = None) -> Result:
    """What `work` returns or raises, if it does in time (`ANSWER_S`); else it is left alone. Raises TimeoutError."""
    timeout_s = ANSWER_S if timeout_s is None else timeout_s
    answer: Future[Result] = Future()

    def ask() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # nobody waits for it at the end of the process
    if not wait([answer], timeout_s).done:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return answer.result()


@dataclass(frozen=True)
class Source:
    """A recording as it is now: where it lies, what its content is, how many files and bytes that are."""

    url: str
    digest: str
    files: int
    size_bytes: int

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]


def look_at(url: str) -> Source:
    """What lies at a path or URL. Hidden files do not count. Raises InputError when there is nothing, or no access."""
    fs, path = open_filesystem(url)
    try:
        files = _files(fs, path) if is_local(url) else answered(lambda: _files(fs, path))
    except Exception as error:  # every filesystem has exceptions of its own
        raise UnreachableError(f"{url} cannot be read: {_reason(error)}; check the path and the access") from None
    if not files:
        raise InputError(f"{url} does not exist or holds no file; check the path")
    local = is_local(url)
    try:
        rows = [
            [_below(name, path), sample_digest(name) if local else _remote_digest(fs, name, info)]
            for name, info in files.items()
        ]
    except OSError as error:
        raise UnreachableError(f"{url} cannot be read: {_reason(error)}; check the access") from None
    total_bytes = sum(int(info.get("size") or 0) for info in files.values())
    return Source(url, digest_of(url.rpartition("/")[2], rows), len(files), total_bytes)


def fetch(source: Source, folder: Path) -> Path:
    """Copies a recording into `folder`, under its own name. Raises UnreachableError when it cannot be read, or is no
    longer what was looked at."""
    fs, path = open_filesystem(source.url)
    target = folder / source.name
    try:
        for name in _files(fs, path):
            place = target / _below(name, path) if _below(name, path) else target
            place.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(name, str(place))
    except Exception as error:
        raise UnreachableError(f"{source.url} cannot be fetched: {_reason(error)}; check the access") from None
    if look_at(source.url).digest != source.digest:
        raise UnreachableError(
            f"{source.url} has changed since it was looked at; give the same command again when it is whole"
        )
    return target


def _files(fs, path: str) -> dict[str, dict[str, Any]]:
    """What lies at a path now, no listing of before; without hidden files, and without the empty objects that consoles
    of object stores leave in place of folders."""
    fs.invalidate_cache()
    found = fs.find(path, detail=True)
    return {
        name: info
        for name, info in sorted(found.items())
        if not (_hidden(name, path) or name.endswith("/") or info.get("type") == "directory")
    }


def file_digest_of(path: str) -> str:
    """SHA-256 of a local file. Raises InputError when it cannot be read."""
    try:
        return file_digest(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None


@dataclass(frozen=True)
class Folder:
    """A folder at a path or URL. Every file in it is written whole or not at all; `name` is the path below it."""

    url: str

    def path(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        with self._answering(name) as (fs, path):
            try:
                return fs.cat_file(path)
            except (FileNotFoundError, IsADirectoryError):
                return None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What `write_json` wrote; None where there is nothing, or nothing that can be read."""
        data = self.read(name)
        try:
            content = None if data is None else from_kept_json(data.decode())
        except (ValueError, UnicodeDecodeError, json.JSONDecodeError):
            return None
        return content if isinstance(content, dict) else None

    def write(self, name: str, data: bytes, lasting: bool = True) -> None:
        """Puts a file there at once: object stores do, on a disk it is moved to its place. What need not outlast the
        machine is not waited for until it is on the disk."""
        with self._answering(name) as (fs, path):
            if is_local(self.url):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if lasting:
                    replace_bytes(path, data)
                else:
                    part = partial_path(Path(path))
                    part.write_bytes(data)
                    os.replace(part, path)
            else:
                answered(lambda: fs.pipe_file(path, data), _WRITE_S + len(data) / _SLOWEST_BYTES_PER_S)

    def write_json(self, name: str, content: dict[str, Any], lasting: bool = True) -> None:
        self.write(name, to_kept_json(content).encode(), lasting)

    def put(self, source: Path, name: str) -> None:
        """Copies a local file there. Only what a file that is written later names counts as there."""
        with self._answering(name) as (fs, path):
            if is_local(self.url):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                fs.put_file(str(source), path)
            else:  # which has no folders
                timeout_s = _WRITE_S + source.stat().st_size / _SLOWEST_BYTES_PER_S
                answered(lambda: fs.put_file(str(source), path), timeout_s)

    def get(self, name: str, target: Path) -> bool:
        """Copies a file from there; False where there is none."""
        with self._answering(name) as (fs, path):
            try:
                fs.get_file(path, str(target))
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                return False
            return True

    def names(self, name: str = "") -> list[str]:
        """The names of what lies in a folder, sorted; nothing where there is none."""
        with self._answering(name) as (fs, path):
            fs.invalidate_cache()
            try:
                return sorted(entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
            except (FileNotFoundError, NotADirectoryError):
                return []

    @contextmanager
    def _answering(self, name: str) -> Iterator[tuple[Any, str]]:
        fs, path = open_filesystem(self.path(name) if name else self.url)
        try:
            yield fs, path
        except InputError:
            raise
        except Exception as error:
            raise UnreachableError(f"{self.path(name)} cannot be used: {_reason(error)}; check the place") from None


def _remote_digest(fs, name: str, info: dict[str, Any]) -> list[Any]:
    """Of a file's content: what the store says of it, else its two ends."""
    size = int(info.get("size") or 0)
    for key in _MADE_BY:
        if info.get(key):
            return [size, str(info[key])]
    ends = [fs.cat_file(name, 0, min(size, _END_BYTES)), fs.cat_file(name, max(size - _END_BYTES, 0), size)]
    return [size, digest_of(*(end.hex() for end in ends))]


def _below(name: str, path: str) -> str:
    return os.path.relpath(name, path) if name.rstrip("/") != path.rstrip("/") else ""


def _hidden(name: str, path: str) -> bool:
    return any(part.startswith(".") and part != "." for part in _below(name, path).split("/"))


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split())
