"""Every encoding a camera driver sends gives the right pixels; every broken message gives one clear sentence."""

import struct
import sys
import zlib
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_perception.errors import InputError
from geo_perception.ros import codec
from geo_perception.ros.codec import ENCODINGS, ImageDecoder, decode_image, encode_image, encode_jpeg, fill_image


def raw(data, height, width, encoding, step=None, bigendian=0):
    data = data.tobytes() if isinstance(data, np.ndarray) else data
    step = len(data) // max(height, 1) if step is None else step
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, step=step, is_bigendian=bigendian, data=array("B", data)
    )


def compressed(data, label="jpeg"):
    return SimpleNamespace(format=label, data=data)


@pytest.fixture
def image_rgb():
    """6 x 8 pixels, each of a colour of its own."""
    return np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.fixture
def smooth_rgb():
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 3, y * 4, 255 - x * 2 - y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("encoding", "pick"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
def test_colour_channels_come_out_as_rgb(image_rgb, encoding, pick):
    data = image_rgb[..., pick].copy()
    assert np.array_equal(decode_image(raw(data, 6, 8, encoding)), image_rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_repeated_in_three_channels(image_rgb, encoding):
    grey = image_rgb[..., 0].copy()
    assert np.array_equal(decode_image(raw(grey, 6, 8, encoding)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_grey_uses_the_range_of_the_bits_in_use(encoding, order, bits):
    top = (1 << bits) - 1
    samples = np.array([[0, top // 2, top]], order)
    image = decode_image(raw(samples, 1, 3, encoding, bigendian=int(order == ">u2")))
    assert image[0, :, 0].tolist() == [0, 127, 255]


def grey16(*samples, order="<u2"):
    return raw(np.array([samples], order), 1, len(samples), "mono16")


def png16(*samples):
    data = cv2.imencode(".png", np.array([samples], np.uint16))[1].tobytes()
    return compressed(data, "mono16; png compressed")


@pytest.mark.parametrize("message", [grey16, png16])
def test_a_stream_keeps_its_bit_depth(message):
    """Grey 900 of a 12-bit camera: 56 of 255, whatever else is in the picture, once 12 bits have been seen."""
    decoder = ImageDecoder()
    assert decoder.bits == 0
    assert decoder.decode(message(900, 10))[0, 0, 0] == 224  # 900 / 1023
    assert decoder.bits == 10
    assert decoder.decode(message(900, 4000))[0, 0, 0] == 56  # 900 / 4095
    assert decoder.decode(message(900, 10))[0, 0, 0] == 56
    assert decoder.bits == 12
    assert decode_image(message(900, 10))[0, 0, 0] == 224


@pytest.mark.parametrize(("bits", "grey"), [(10, 224), (12, 56), (14, 14), (16, 4)])
@pytest.mark.parametrize("message", [grey16, png16])
def test_a_bit_depth_that_is_given_holds_from_the_first_image(message, bits, grey):
    for image in (ImageDecoder(bits).decode(message(900, 10)), decode_image(message(900, 10), image_bits=bits)):
        assert image[0, 0, 0] == grey
    assert decode_image(message(900, 60000), image_bits=bits)[0, :, 0].tolist() == [grey, 255 if bits < 16 else 233]


def test_images_of_8_bits_do_not_count(image_rgb):
    decoder = ImageDecoder(12)
    assert np.array_equal(decoder.decode(raw(image_rgb, 6, 8, "rgb8")), image_rgb)
    assert decoder.bits == 0
    with pytest.raises(InputError, match="image_bits is 8; use one of 0, 10, 12, 14, 16"):
        ImageDecoder(8)


def test_sixteen_bit_colour_in_both_byte_orders(image_rgb):
    wide = image_rgb.astype(np.uint16) * 257
    assert np.array_equal(decode_image(raw(wide.astype("<u2"), 6, 8, "rgb16")), image_rgb)
    assert np.array_equal(decode_image(raw(wide[..., ::-1].astype(">u2"), 6, 8, "bgr16", bigendian=1)), image_rgb)


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "mono16", "uyvy", "bayer_rggb8"])
def test_a_step_wider_than_the_row_changes_nothing(encoding):
    row_bytes = {"rgb8": 24, "mono8": 8, "mono16": 16, "uyvy": 16, "bayer_rggb8": 8}[encoding]
    rows = np.random.default_rng(2).integers(0, 256, (6, row_bytes), np.uint8)
    padded = np.concatenate([rows, np.full((6, 5), 77, np.uint8)], axis=1)
    assert np.array_equal(
        decode_image(raw(padded, 6, 8, encoding, row_bytes + 5)), decode_image(raw(rows, 6, 8, encoding))
    )


def test_the_last_row_may_lack_its_padding(image_rgb):
    padded = np.concatenate([image_rgb.reshape(6, 24), np.zeros((6, 8), np.uint8)], axis=1).tobytes()[:-8]
    assert np.array_equal(decode_image(raw(padded, 6, 8, "rgb8", step=32)), image_rgb)


@pytest.mark.parametrize(
    ("encoding", "layout"),
    [("yuv422", "UYVY"), ("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV"), ("yuyv", "YUYV")],
)
def test_yuv422_of_one_colour(encoding, layout):
    """BT.601 video range: Y 82, U 90, V 240 is pure red."""
    pair = bytes({"Y": 82, "U": 90, "V": 240}[letter] for letter in layout)
    image = decode_image(raw(pair * 8, 4, 4, encoding))
    assert np.abs(image.reshape(-1, 3).astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize(("encoding", "chroma"), [("nv12", (90, 240)), ("nv21", (240, 90)), ("nv24", (90, 240))])
def test_planar_yuv_of_one_colour(encoding, chroma):
    rows = 4 + (8 if encoding == "nv24" else 2)
    data = np.full((rows, 6), 82, np.uint8)
    data[4:, 0::2], data[4:, 1::2] = chroma
    image = decode_image(raw(data, 4, 6, encoding, step=6))
    assert image.shape == (4, 6, 3)
    assert np.abs(image.reshape(-1, 3).astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("depth", ["8", "16"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_one_colour(pattern, depth):
    colour = {"r": 200, "g": 120, "b": 40}
    cell = np.array([[colour[pattern[0]], colour[pattern[1]]], [colour[pattern[2]], colour[pattern[3]]]])
    mosaic = np.tile(cell, (4, 4))
    mosaic = mosaic.astype(np.uint8) if depth == "8" else (mosaic * 257).astype("<u2")
    image = decode_image(raw(mosaic, 8, 8, f"bayer_{pattern}{depth}"))
    assert np.abs(image[2:-2, 2:-2].astype(int) - [200, 120, 40]).max() <= 1


def test_jpeg_and_png_decode_to_rgb(smooth_rgb):
    assert np.abs(decode_image(compressed(encode_jpeg(smooth_rgb, 98))).astype(int) - smooth_rgb).mean() < 3
    png = cv2.imencode(".png", smooth_rgb[..., ::-1])[1].tobytes()
    assert np.array_equal(decode_image(compressed(np.frombuffer(png, np.uint8), "bgr8; png compressed")), smooth_rgb)


def test_grey_and_sixteen_bit_and_bayer_png():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    png = cv2.imencode(".png", grey)[1].tobytes()
    assert np.array_equal(decode_image(compressed(png, "mono8; png compressed"))[..., 1], grey)
    wide = cv2.imencode(".png", grey.astype(np.uint16) * 1040)[1].tobytes()
    assert decode_image(compressed(wide, "mono16; png compressed"))[..., 0].max() == 255
    mosaic = np.tile(np.array([[200, 120], [120, 40]], np.uint8), (4, 4))
    png = cv2.imencode(".png", mosaic)[1].tobytes()
    assert decode_image(compressed(png, "bayer_rggb8; png compressed"))[4, 4].tolist() == [200, 120, 40]


def test_the_result_is_writable_and_does_not_alias_the_message(image_rgb):
    message = raw(image_rgb, 6, 8, "rgb8")
    image = decode_image(message)
    image[:] = 0
    assert np.array_equal(decode_image(message), image_rgb)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, list, lambda b: np.frombuffer(b, np.uint8)])
def test_any_kind_of_buffer(image_rgb, kind):
    message = raw(image_rgb, 6, 8, "rgb8")
    message.data = kind(image_rgb.tobytes())
    assert np.array_equal(decode_image(message), image_rgb)


def test_real_messages_of_rclpy_and_of_rosbags(image_rgb):
    image_type = pytest.importorskip("sensor_msgs.msg").Image
    from rosbags.typesys import Stores, get_typestore

    message = fill_image(image_type(), image_rgb, "bgr8")
    assert (message.height, message.width, message.step, message.encoding) == (6, 8, 24, "bgr8")
    assert np.array_equal(decode_image(message), image_rgb)

    types = get_typestore(Stores.ROS2_JAZZY).types
    stamp = types["builtin_interfaces/msg/Time"](1, 2)
    header = types["std_msgs/msg/Header"](stamp, "camera")
    height, width, encoding, step, data = encode_image(image_rgb)
    bag_message = types["sensor_msgs/msg/Image"](
        header, height, width, encoding, 0, step, np.frombuffer(data, np.uint8)
    )
    assert np.array_equal(decode_image(bag_message), image_rgb)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 0}, "0 pixels"),
        ({"width": 0}, "0 x 6"),
        ({"width": 2**31}, "cannot be used"),
        ({"width": 2**31, "step": 2**32 - 1}, "cannot be used"),
        ({"height": -3}, "cannot be used"),
        ({"height": 7}, "too short"),
        ({"step": 23}, "less than its row"),
        ({"step": 0}, "less than its row"),
        ({"step": 2**32 - 1}, "too short"),
        ({"encoding": "rgb9"}, "not supported"),
        ({"encoding": ""}, "not supported"),
        ({"encoding": None}, "no encoding"),
        ({"data": b""}, "too short"),
        ({"data": None}, "cannot be decoded"),
        ({"data": [300] * 144}, "cannot be decoded"),
        ({"data": "text"}, "cannot be decoded"),
        ({"width": None}, "no width"),
        ({"width": 2.5}, "no width"),
    ],
)
def test_a_broken_message_is_answered_with_one_line(image_rgb, change, words):
    message = raw(image_rgb, 6, 8, "rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=words) as error:
        decode_image(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["uyvy", "nv12", "nv21"])
def test_an_odd_width_in_a_format_of_pairs(encoding):
    with pytest.raises(InputError, match="odd"):
        decode_image(raw(bytes(200), 4, 5, encoding, step=10))


def png_of_size(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_compressed_data_that_is_no_whole_image(smooth_rgb):
    jpeg = encode_jpeg(smooth_rgb)
    png = cv2.imencode(".png", smooth_rgb)[1].tobytes()
    for data in (
        b"",
        b"hello",
        jpeg[:-40],
        jpeg[: len(jpeg) // 2],
        jpeg[:3],
        png[:-13],
        png[:20],
        png[: len(png) // 2],
    ):
        with pytest.raises(InputError) as error:
            decode_image(compressed(data))
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be used"):
        decode_image(compressed(png_of_size(2**31 - 1, 2**31 - 1)))
    with pytest.raises(InputError, match="cannot be used"):
        decode_image(compressed(png_of_size(0, 5)))
    with pytest.raises(InputError, match="depth image"):
        decode_image(compressed(png, "16UC1; compressedDepth png"))


def test_a_camera_may_pad_its_jpeg(smooth_rgb):
    jpeg = encode_jpeg(smooth_rgb)
    assert np.array_equal(decode_image(compressed(jpeg + bytes(64))), decode_image(compressed(jpeg)))


def test_something_that_is_no_message():
    for thing in (None, 3, SimpleNamespace(), SimpleNamespace(format="jpeg"), SimpleNamespace(encoding="rgb8")):
        with pytest.raises(InputError):
            decode_image(thing)


def decode_or_complain(message):
    try:
        return decode_image(message), ""
    except InputError as error:
        return None, str(error)


sizes = st.one_of(st.integers(0, 12), st.sampled_from([2**16, 2**31, 2**32 - 1]))


@settings(max_examples=300, deadline=None)
@given(
    height=sizes, width=sizes, step=st.one_of(st.integers(0, 64), st.just(2**32 - 1)), bigendian=st.integers(0, 255),
    encoding=st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=8)), data=st.binary(max_size=700),
)  # fmt: skip
def test_no_raw_message_raises_anything_but_input_error(height, width, step, bigendian, encoding, data):
    message = raw(data, height, width, encoding, step, bigendian)
    image, complaint = decode_or_complain(message)
    assert complaint.count("\n") == 0
    assert complaint or (image.shape == (height, width, 3) and image.dtype == np.uint8)


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, 700), at=st.integers(0, 700), value=st.integers(0, 255), label=st.text(max_size=12))
def test_no_compressed_message_raises_anything_but_input_error(cut, at, value, label):
    small = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    for whole in (encode_jpeg(small), cv2.imencode(".png", small)[1].tobytes()):
        data = bytearray(whole[: max(len(whole) - cut, 0)])
        if at < len(data):
            data[at] = value
        image, complaint = decode_or_complain(compressed(bytes(data), label))
        assert complaint.count("\n") == 0
        assert complaint or (image.shape[2] == 3 and image.dtype == np.uint8)


def test_encoding_refuses_what_is_no_rgb_image(image_rgb):
    for wrong in (image_rgb[..., 0], image_rgb.astype(float), image_rgb[:0]):
        with pytest.raises(InputError):
            encode_image(wrong)
    with pytest.raises(InputError, match="rgb8, bgr8 or mono8"):
        encode_image(image_rgb, "nv12")
    assert encode_image(image_rgb, "mono8").step == 8


@pytest.mark.parametrize(
    ("body", "used"),
    [
        ("raise AttributeError('_ARRAY_API not found')", False),
        ("import os; os._exit(139)", False),
        ("class CvBridge:\n    def imgmsg_to_cv2(self, msg, encoding): raise TypeError(encoding)", False),
    ],
)
def test_a_cv_bridge_that_does_not_work_is_left_alone(tmp_path, monkeypatch, body, used, image_rgb):
    """One built for another NumPy raises on import, or ends the process: it is tried in a process of its own."""
    (tmp_path / "cv_bridge.py").write_text(body + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    codec.rgb_converter.cache_clear()
    try:
        assert codec._cv_bridge_works() is used
        assert np.array_equal(decode_image(raw(image_rgb[..., ::-1].copy(), 6, 8, "bgr8")), image_rgb)
    finally:
        codec.rgb_converter.cache_clear()
