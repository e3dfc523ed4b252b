"""Films with exact pixels, and boxes of MP4 files to change."""

import struct

import cv2
import numpy as np

RATE_HZ = 20


def picture(seed=0, height=64, width=96):
    """Red on the left, blue on the right, darker below, with detail: no turn and no mirror of it looks like another."""
    random = np.random.default_rng(seed).integers(0, 60, (height // 4, width // 4), np.uint8)
    detail = cv2.resize(random, (width, height), interpolation=cv2.INTER_NEAREST)
    image = np.repeat(detail[..., None], 3, axis=2)
    image[:, : width // 2, 0] += 180
    image[:, width // 2 :, 2] += 180
    image[height // 2 :, :, 1] += 90
    return image


def write_film(path, images, fourcc=None, rate_hz=RATE_HZ):
    """A film of PNG images: every pixel comes back as it was. AVI, MKV, MP4 or MOV by the name."""
    code = fourcc or ("png " if path.suffix in (".mp4", ".mov") else "MPNG")
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), rate_hz, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


def set_track_matrix(path, a, b, c, d):
    """What a phone does: a pixel at an offset (x, y) is to be shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), (a, b, c, d), strict=True):
        data[at + offset : at + offset + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


def set_shown_width(path, width_px):
    """The width that the track is to be shown at: pixels that are not square."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40 + 36
    data[at : at + 4] = (width_px << 16).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def set_durations(path, ticks):
    """The time from each image to the next, in ticks of the track (512 at the rate it was written with)."""
    data = path.read_bytes()
    payload = struct.pack(">II", 0, len(ticks)) + b"".join(struct.pack(">II", 1, tick) for tick in ticks)
    way = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts")
    path.write_bytes(_with_box(data, 0, len(data), way, payload))
    return path


def _with_box(data, start, end, way, payload):
    """The bytes from start to end with the contents of the first box on the way replaced. The writer puts the index
    behind the images, so that nothing that it points to moves."""
    parts, done = [], False
    while start < end:
        length, kind = struct.unpack_from(">I4s", data, start)
        inside = data[start + 8 : start + length]
        if kind == way[0] and not done:
            done = True
            inside = payload if len(way) == 1 else _with_box(data, start + 8, start + length, way[1:], payload)
        parts.append(struct.pack(">I4s", len(inside) + 8, kind) + inside)
        start += length
    return b"".join(parts)
