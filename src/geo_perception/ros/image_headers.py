"""Size and completeness of JPEG and PNG data, read before anything is decoded.

Decoders fill what a cut file lacks with grey and say nothing, and they allocate whatever size the first bytes claim.
"""

from __future__ import annotations

from geo_perception.errors import InputError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_SCAN, _END = 0xDA, b"\xff\xd9"
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}


def compressed_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that complete JPEG or PNG data announces.

    Raises InputError when the data is empty, cut off, or another format.
    """
    if not data:
        raise InputError("compressed image is empty; check the camera driver")
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith(PNG_SIGNATURE):
        return _png_size(data)
    raise InputError("compressed image is neither JPEG nor PNG; publish one of these")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    width = height = 0
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise InputError("JPEG image is damaged: a marker is missing; check the camera driver")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _BARE_MARKERS:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAME_MARKERS and at + 9 <= len(data):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
        if marker == _SCAN:
            # Within a scan 0xFF is always followed by 0 or a restart marker, so this can only be the end of the image.
            if data.find(_END, at + 2 + length) < 0:
                break
            return width, height
        at += 2 + max(length, 2)
    raise InputError("JPEG image is cut off; check the camera driver and the network")


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return width, height
    raise InputError("PNG image is cut off; check the camera driver and the network")
