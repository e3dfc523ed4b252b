"""Films, image by image: as they are shown (upright, with square pixels), each with its time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.runtime.image import resized
from geo_training.datasets.orientation import UPRIGHT, mirrors, turned_array
from geo_training.datasets.recordings.film_matrix import film_mark
from geo_training.datasets.recordings.sharpness import TimedImage

# So many packets in a row that give no image are the end: damage is shorter than that, and the end lasts.
_MAX_FAILURES = 250
_DEFAULT_RATE_HZ = 30.0
_MAX_RATE_HZ = 1000.0
_MAX_COUNT = 1 << 40
# What OpenCV turns by itself, clockwise, as one of the eight marks.
_MARK_OF_DEGREES = {0: 1, 90: 6, 180: 3, 270: 8}
_MAX_PIXEL_ASPECT = 4.0
# The headers of these formats hold the number of images; those of others a duration, from which OpenCV estimates it.
_COUNTED = (".mp4", ".m4v", ".mov", ".3gp", ".avi")
# FFmpeg writes every damaged packet to standard error; what is damaged is counted here and said once.
os.environ.setdefault("OPENCV_FFMPEG_DEBUG", "1")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Film:
    """One film, opened. Use it in a `with` statement.

    `promised` is how many images its header says it has, None where it does not. `undecodable` and `restamped` are
    complete once `images` is. `notes` are sentences about how it is shown. Raises InputError when the file is no film.
    """

    def __init__(self, path: Path):
        self.path = path
        self.notes: list[str] = []
        self.decoded = self.undecodable = self.restamped = 0
        if not path.is_file():
            raise InputError(f"{path} is not there, or not a file; give a film")
        self._capture = _opened(path)
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.promised = int(count) if 0 < count < _MAX_COUNT else None
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate_hz = rate_hz if 0 < rate_hz <= _MAX_RATE_HZ else _DEFAULT_RATE_HZ
        self._mark = self._orientation()
        self._pixel_aspect = self._read_pixel_aspect()

    @property
    def codec(self) -> str:
        """The four letters that name how its images are encoded."""
        code = max(0, int(self._capture.get(cv2.CAP_PROP_FOURCC)))
        letters = (code & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
        return "".join(letter for letter in letters if letter.isprintable()).strip() or "unknown"

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_error) -> None:
        self._capture.release()

    def images(self) -> Iterator[TimedImage]:
        """RGB uint8 (H, W, 3), with stamps in nanoseconds since the first image, which rise."""
        first_ms, last_ns, failures = None, None, 0
        while failures < _MAX_FAILURES:
            # After a damaged packet OpenCV says that there is no further image; there may be.
            found, image_bgr = self._capture.read()
            if not found:
                failures += 1
                continue
            self.undecodable, failures = self.undecodable + failures, 0
            self.decoded += 1
            time_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            first_ms = time_ms if first_ms is None else first_ms
            stamp_ns = round((time_ms - first_ms) * 1e6) if math.isfinite(time_ms - first_ms) else -1
            if last_ns is not None and stamp_ns <= last_ns:
                stamp_ns = last_ns + round(1e9 / self._rate_hz)
                self.restamped += 1
            last_ns = max(stamp_ns, 0)
            yield TimedImage(last_ns, self._shown(image_bgr))
        if self.path.suffix.lower() in _COUNTED and self.promised is not None:
            # An edit list may hide some, too; either way the film holds what it does not give.
            self.undecodable = max(self.undecodable, self.promised - self.decoded)

    def _shown(self, image_bgr: np.ndarray) -> np.ndarray:
        image_hw3 = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
        height_px, width_px = image_hw3.shape[:2]
        shown_px = max(1, round(width_px * self._pixel_aspect))
        if shown_px != width_px:
            image_hw3 = resized(image_hw3, (shown_px, height_px))
        return turned_array(image_hw3, self._mark)

    def _orientation(self) -> int:
        mark = film_mark(self.path)
        if mark is None:
            degrees = self._capture.get(cv2.CAP_PROP_ORIENTATION_META)
            mark = _MARK_OF_DEGREES.get(round(degrees / 90) % 4 * 90 if math.isfinite(degrees) else 0, UPRIGHT)
        if mirrors(mark):
            self.notes.append(
                f"{self.path.name} is to be shown mirrored, and so are its images: a scene made of them is a mirror "
                "image of the world, unless the camera had mirrored it before."
            )
        return mark

    def _read_pixel_aspect(self) -> float:
        """Width of a pixel in heights, 1 where the film does not say."""
        width, height = self._capture.get(cv2.CAP_PROP_SAR_NUM), self._capture.get(cv2.CAP_PROP_SAR_DEN)
        if not (width > 0 and height > 0):
            return 1.0
        aspect = width / height
        if not 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT:
            self.notes.append(
                f"{self.path.name} says its pixels are {aspect:.3g} times as wide as high; that is ignored."
            )
            return 1.0
        if aspect != 1:
            self.notes.append(
                f"{self.path.name} has pixels {aspect:.4g} times as wide as high; its images are stored as they are "
                "shown, with square pixels."
            )
        return aspect


def _opened(path: Path) -> cv2.VideoCapture:
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        # An absolute path: FFmpeg takes what stands before a colon for a protocol.
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    finally:
        log.setLogLevel(level)
    if not capture.isOpened():
        raise InputError(f"{path} cannot be read as a film (cut off before its index, damaged, or none); give another")
    return capture
