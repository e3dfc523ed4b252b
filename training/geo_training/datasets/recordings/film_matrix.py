"""How a film is to be turned: the matrices that phones write into the headers of MP4, MOV and their relatives.

ISO/IEC 14496-12: `moov/mvhd` and `moov/trak/tkhd` each end in a matrix (a b u c d v x y w) of fixed-point numbers,
which takes a pixel (x right, y down) to (a x + c y, b x + d y). OpenCV tells a turn from it, but not that it mirrors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geo_training.datasets.orientation import MARKS, mark_of_turn

# Bytes before the matrix, by the version of the box.
_MOVIE_MATRIX_AT = {0: 36, 1: 48}
_TRACK_MATRIX_AT = {0: 40, 1: 52}


def film_mark(path: Path) -> int | None:
    """The mark, of the eight of EXIF, by which the film's images are put upright; None for a film of another format,
    and for one whose first video track is turned by something else than quarter turns and mirrors."""
    try:
        with path.open("rb") as file:
            return _mark_in(file, path.stat().st_size)
    except (OSError, struct.error):
        return None


def _mark_in(file: BinaryIO, size: int) -> int | None:
    movie_22 = np.eye(2)
    for kind, start, end in _boxes(file, 0, size):
        if kind != b"moov":
            continue
        for inner, inner_start, inner_end in list(_boxes(file, start, end)):
            if inner == b"mvhd":
                movie_22 = _matrix(file, inner_start, _MOVIE_MATRIX_AT)
            elif inner == b"trak" and _is_video(file, inner_start, inner_end):
                header = next((s for k, s, _ in _boxes(file, inner_start, inner_end) if k == b"tkhd"), None)
                return None if header is None else _mark(movie_22 @ _matrix(file, header, _TRACK_MATRIX_AT))
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the contents of each box; ends at the first that does not fit."""
    while start + 8 <= end:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        begin = start + 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            begin += 8
        length = length or end - start  # zero: until the end of the file
        if start + length > end or start + length < begin:
            return
        yield kind, begin, start + length
        start += length


def _is_video(file: BinaryIO, start: int, end: int) -> bool:
    for kind, inner_start, inner_end in _boxes(file, start, end):
        if kind == b"mdia":
            for handler, handler_start, _ in _boxes(file, inner_start, inner_end):
                if handler == b"hdlr":
                    file.seek(handler_start + 8)
                    return file.read(4) == b"vide"
    return False


def _matrix(file: BinaryIO, start: int, matrix_at: dict[int, int]) -> np.ndarray:
    """The 2x2 part that turns: from an offset in the stored image to one in the shown image."""
    file.seek(start)
    (version,) = struct.unpack("B", file.read(1))
    file.seek(start + matrix_at.get(version, matrix_at[0]))
    a, b, _, c, d = struct.unpack(">5i", file.read(20))
    return np.array([[a, c], [b, d]], np.float64) / 65536


def _mark(turn_22: np.ndarray) -> int | None:
    """Scales do not matter here: they say that pixels are not square, which the decoder tells."""
    largest = np.abs(turn_22).max()
    if not largest:
        return MARKS[0]  # some writers leave the matrix empty
    return mark_of_turn(np.sign(np.where(np.abs(turn_22) < 0.01 * largest, 0.0, turn_22)))
