"""JPEGs without an end mark: whole ones are decoded, cut ones refused; no broken header raises anything else."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_perception.errors import InputError
from geo_perception.ros.codec import decode_image
from geo_perception.ros.image_headers import read_header

KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    "own tables": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "full colour": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
}
END = b"\xff\xd9"


def picture(height=72, width=104):
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def jpeg(kind="baseline", image=None):
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, *KINDS[kind]]
    return cv2.imencode(".jpg", picture() if image is None else image, options)[1].tobytes()


def decode(data):
    return decode_image(SimpleNamespace(format="jpeg", data=data))


def complaint(read, data) -> str:
    """What is wrong with the data; empty when it is taken."""
    try:
        read(data)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_picture_needs_no_end_mark(kind):
    whole = jpeg(kind)
    wanted = decode(whole)
    for ending in (b"", b"\xff", bytes(700), b"\xff\xff\xff"):
        assert np.array_equal(decode(whole.removesuffix(END) + ending), wanted)
    assert np.array_equal(decode(whole + bytes(700)), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_picture_is_refused_wherever_it_is_cut(kind):
    body = jpeg(kind).removesuffix(END)
    for left in (1, 2, 3, 10, 100, len(body) // 3, len(body) // 2, len(body) - 30):
        for filling in (b"", bytes(2000)):
            with pytest.raises(InputError, match=r"cut off|damaged") as error:
                decode(body[:-left] + filling)
            assert "\n" not in str(error.value)


def test_a_picture_cut_just_before_a_restart_marker_is_refused():
    """A decoder fills the rest with the same grey, whatever follows."""
    body = jpeg("restarts").removesuffix(END)
    places = [i for i in range(len(body) - 1) if body[i] == 0xFF and 0xD0 <= body[i + 1] <= 0xD7]
    assert len(places) > 5
    for place in (places[0], places[4], places[-1]):
        with pytest.raises(InputError, match="cut off"):
            decode(body[:place])
        with pytest.raises(InputError, match="cut off"):
            decode(body[: place + 2])


def test_a_progressive_picture_that_lacks_a_scan_is_refused():
    """Every scan before is whole, so a decoder would show a coarser picture."""
    body = jpeg("progressive")
    last_scan = body.rindex(b"\xff\xda")
    last_table = body.rindex(b"\xff\xc4", 0, last_scan)
    for place in (last_scan, last_table):
        with pytest.raises(InputError, match="cut off"):
            decode(body[:place])


def test_the_next_frame_of_a_stream_is_not_taken_for_the_end_of_this_one():
    first, second = jpeg(), jpeg(image=255 - picture())
    assert np.array_equal(decode(first.removesuffix(END) + second), decode(first))
    with pytest.raises(InputError, match="cut off"):
        decode(first[:-200] + second)


def test_a_uniform_grey_is_no_sign_of_a_cut():
    grey = np.full((48, 64, 3), 128, np.uint8)
    data = jpeg(image=grey)
    assert (decode(data.removesuffix(END)) == 128).all()
    with pytest.raises(InputError, match="cut off"):
        decode(data.removesuffix(END)[:-3])


def test_an_end_mark_inside_a_thumbnail_is_not_the_end():
    whole = jpeg()
    thumbnail = jpeg(image=picture(24, 32))
    segment = b"Exif\0\0" + thumbnail
    with_thumbnail = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]
    assert np.array_equal(decode(with_thumbnail.removesuffix(END)), decode(whole))
    with pytest.raises(InputError, match="cut off"):
        decode(with_thumbnail[:-300])
    header = read_header(with_thumbnail)
    assert (header.width, header.height, header.ended) == (104, 72, True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xd8", "cut off"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xc0\x00\x03\x08\xff\xda", "frame header is too short"),
        (b"\xff\xd8\xff\xc0\x00\x00", "cut off"),
        (b"\xff\xd8\xff\xda\x00\x02\xff\xd9", "size is missing"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xda\x00\x03\x01", "scan header is too"),
        (b"\x89PNG\r\n\x1a\n", "header is missing"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x00IEND\x00\x00\x00\x00", "header is missing"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00", "cut off"),
    ],
)  # fmt: skip
def test_headers_that_end_where_they_should_not(data, words):
    with pytest.raises(InputError, match=words) as error:
        read_header(data)
    assert "\n" not in str(error.value)


@settings(max_examples=400, deadline=None)
@given(
    start=st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b""]),
    segments=st.lists(
        st.tuples(st.sampled_from([0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE1, 0xFE, 0x01, 0xD3]), st.binary(max_size=24),
                  st.integers(-3, 3)),
        max_size=6,
    ),
    rest=st.binary(max_size=60),
)  # fmt: skip
def test_no_header_raises_anything_but_input_error(start, segments, rest):
    data = start
    for marker, body, lie in segments:
        data += bytes((0xFF, marker)) + struct.pack(">H", max(len(body) + 2 + lie, 0)) + body
    data += rest
    for read in (read_header, decode):
        assert complaint(read, data).count("\n") == 0


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)), at=st.integers(0, 3000), value=st.integers(0, 255), cut=st.integers(0, 3000)
)
def test_no_damage_raises_anything_but_input_error(kind, at, value, cut):
    data = bytearray(jpeg(kind))
    data = data[: max(len(data) - cut, 0)]
    if at < len(data):
        data[at] = value
    assert complaint(decode, bytes(data)).count("\n") == 0
