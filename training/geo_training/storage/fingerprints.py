"""What a kept result depends on, as one checksum: a cache whose key leaves something out answers for another's data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_WHOLE_BYTES = 1 << 20
_END_BYTES = 1 << 16


def file_version(path: str | Path) -> tuple[str, int, int]:
    """Path, size and time of change: what keys a file's content within one process. A file that is not there has the
    size -1."""
    try:
        stat = os.stat(path)
    except OSError:
        return str(path), -1, -1
    return str(path), stat.st_size, stat.st_mtime_ns


def file_digest(path: str | Path) -> str:
    """SHA-256 of a whole file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_WHOLE_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sample_digest(path: str | Path) -> str:
    """SHA-256 of a file's size and of its first and last 64 KiB, for the many large images of a dataset: compressed, a
    change anywhere moves the end. "" where there is no file."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(f"{size}\0".encode())
            digest.update(file.read(_END_BYTES))
            if size > _END_BYTES:
                file.seek(max(size - _END_BYTES, _END_BYTES))
                digest.update(file.read(_END_BYTES))
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def digest_of(*values: Any) -> str:
    """SHA-256 of anything that JSON can tell, of arrays (shape, type and values), and of lists and dicts of them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=_for_json).encode()).hexdigest()


def digest_of_files(paths: Iterable[str | Path]) -> str:
    """Of the contents of files in their order (see `sample_digest`); where they lie does not matter."""
    return digest_of([sample_digest(path) for path in paths])


def _for_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
