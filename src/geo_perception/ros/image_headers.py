"""Size and completeness of JPEG and PNG data, read before anything is decoded.

Decoders fill what a cut file lacks with grey and say nothing, and they allocate whatever size the first bytes claim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from geo_perception.errors import InputError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CUT_JPEG = "JPEG image is cut off; check the camera driver and the network"
_CUT_PNG = "PNG image is cut off; check the camera driver and the network"
_FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_START, _END, _SCAN, _FILL = 0xD8, 0xD9, 0xDA, 0xFF
_BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}
# Within a scan 0xFF is followed by 0, by a restart marker or by another 0xFF; anything else ends the scan.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class CompressedHeader:
    """What JPEG or PNG data says of itself. `ended` is False for a JPEG whose end marker is missing: only decoding
    tells whether its picture is all there (see `jpeg_with_tails`).

    `end` is where the data ends. What lies before it and from `padding` on may be picture, or what a buffer of fixed
    size was filled up with.
    """

    width: int
    height: int
    ended: bool
    end: int
    padding: int


def read_header(data: bytes) -> CompressedHeader:
    """The header of JPEG or PNG data, whose parts must all have begun.

    Raises InputError when the data is empty, cut off, or another format.
    """
    if not data:
        raise InputError("compressed image is empty; check the camera driver")
    if data.startswith(b"\xff\xd8"):
        return _jpeg_header(data)
    if data.startswith(PNG_SIGNATURE):
        return _png_header(data)
    raise InputError("compressed image is neither JPEG nor PNG; publish one of these")


def jpeg_with_tails(data: bytes) -> list[bytes]:
    """JPEG data without an end marker, completed in three ways that decode differently from the first bit on.

    A decoder that has all of a picture never reads what follows: then all three give the same pixels.
    """
    tails = []
    for pattern in (b"\x00", b"\x55", b"\xaa"):
        # A picture with restart markers, cut just before one, waits for the next of them.
        restarts = b"".join(bytes((0xFF, 0xD0 + n)) + pattern * 64 for n in range(8))
        tails.append(data + pattern * _TAIL_BYTES + 2 * restarts + bytes((0xFF, _END)))
    return tails


def _jpeg_header(data: bytes) -> CompressedHeader:
    frame: _JpegFrame | None = None
    at = 2
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            raise InputError("JPEG image is damaged: a marker is missing; check the camera driver")
        marker = data[at + 1]
        if marker == _FILL:
            at += 1
            continue
        if marker in _BARE_MARKERS:
            at += 2
            continue
        if marker in (_START, _END):
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if len(segment) != length - 2:
            raise InputError(_CUT_JPEG)
        if marker in _FRAME_MARKERS:
            frame = _JpegFrame(segment, marker in _PROGRESSIVE)
        at += 2 + length
        if marker == _SCAN:
            if frame is None:
                raise InputError("JPEG image is damaged: its size is missing; check the camera driver")
            frame.add_scan(segment)
            following = _AFTER_SCAN.search(data, at)
            if following is None or data[following.start() + 1] == _START:
                return frame.unended(data, at, len(data) if following is None else following.start())
            at = following.start()
            if data[at + 1] == _END:
                return CompressedHeader(frame.width, frame.height, True, at + 2, at + 2)
    raise InputError(_CUT_JPEG)


class _JpegFrame:
    """The frame header of a JPEG, and which of its coefficients the scans have brought so far."""

    def __init__(self, segment: bytes, progressive: bool):
        if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
            raise InputError("JPEG image is damaged: its frame header is too short; check the camera driver")
        self.height, self.width = (int.from_bytes(segment[i : i + 2], "big") for i in (1, 3))
        self._progressive = progressive
        self._missing = {segment[6 + 3 * i]: set(range(64)) for i in range(segment[5])}

    def add_scan(self, segment: bytes) -> None:
        count = segment[0] if segment else 0
        if len(segment) < 4 + 2 * count:
            raise InputError("JPEG image is damaged: a scan header is too short; check the camera driver")
        first, last, precision = segment[1 + 2 * count : 4 + 2 * count]
        for index in range(count):
            missing = self._missing.get(segment[1 + 2 * index], set())
            if not self._progressive:
                missing.clear()
            elif precision & 0x0F == 0:  # the last bit of these coefficients
                missing.difference_update(range(first, last + 1))

    def unended(self, data: bytes, scan_at: int, end: int) -> CompressedHeader:
        """The header where the data ends within a scan. Raises InputError when another scan should have followed."""
        if any(self._missing.values()):
            raise InputError(_CUT_JPEG)
        scan = data[scan_at:end].rstrip(b"\xff")  # fill bytes before a marker that did not come
        padding = scan_at + len(scan.rstrip(b"\x00\xff"))
        return CompressedHeader(self.width, self.height, False, scan_at + len(scan), padding)


def _png_header(data: bytes) -> CompressedHeader:
    if data[12:16] != b"IHDR":
        raise InputError("PNG image is damaged: its header is missing; check the camera driver")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return CompressedHeader(width, height, True, at, at)
    raise InputError(_CUT_PNG)
