"""Point clouds read by what they declare, and those that contradict themselves refused."""

import importlib.util
import time

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from geo_perception.errors import InputError
from geo_perception.ros.point_cloud import point_cloud_array, point_cloud_message

POINT = np.dtype([("x", np.float32), ("y", np.float32), ("z", np.float32), ("rgb", np.float32), ("id", np.uint16)])
NUMPY = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


def points(count: int = 5) -> np.ndarray:
    points_n = np.zeros(count, POINT)
    for index, name in enumerate(POINT.names):
        points_n[name] = np.arange(count) + 10 * index
    return points_n


def read(message: PointCloud2, name: str) -> np.ndarray:
    """One field by its own offset, in the way of a reader that knows nothing of this package."""
    field = next(field for field in message.fields if field.name == name)
    data, kind = bytes(message.data), np.dtype(NUMPY[field.datatype])
    starts = [
        row * message.row_step + column * message.point_step + field.offset
        for row in range(message.height)
        for column in range(message.width)
    ]
    return np.array([np.frombuffer(data[at : at + kind.itemsize], kind)[0] for at in starts])


class TestWriting:
    def test_every_field_is_where_the_message_says(self):
        message = point_cloud_message(Header(frame_id="optical"), points())
        assert (message.height, message.width, message.header.frame_id) == (1, 5, "optical")
        assert (message.point_step, message.row_step, len(message.data)) == (18, 90, 90)
        assert [(field.name, field.offset, field.count) for field in message.fields] == [
            ("x", 0, 1), ("y", 4, 1), ("z", 8, 1), ("rgb", 12, 1), ("id", 16, 1),
        ]  # fmt: skip
        for name in POINT.names:
            np.testing.assert_array_equal(read(message, name), points()[name])
        assert not message.is_bigendian

    def test_gaps_between_columns_are_kept(self):
        dtype = np.dtype({"names": ["x", "i"], "formats": ["<f4", "<i4"], "offsets": [4, 12], "itemsize": 20})
        points_n = np.zeros(3, dtype)
        points_n["x"], points_n["i"] = [1, 2, 3], [4, 5, 6]
        message = point_cloud_message(Header(), points_n)
        np.testing.assert_array_equal(read(message, "x"), [1, 2, 3])
        np.testing.assert_array_equal(read(message, "i"), [4, 5, 6])
        assert message.point_step == 20

    def test_dense_means_that_every_number_is_finite(self):
        points_n = points()
        assert point_cloud_message(Header(), points_n).is_dense
        points_n["rgb"] = np.nan  # bits of a colour, not a number
        assert point_cloud_message(Header(), points_n).is_dense
        points_n["y"][2] = np.inf
        assert not point_cloud_message(Header(), points_n).is_dense

    def test_an_empty_cloud(self):
        message = point_cloud_message(Header(), points(0))
        assert (message.width, message.row_step, len(message.data)) == (0, 0, 0)
        assert len(point_cloud_array(message)) == 0

    def test_a_big_cloud_takes_no_time(self):
        points_n = points(300_000)
        started_s = time.perf_counter()
        point_cloud_message(Header(), points_n)
        assert time.perf_counter() - started_s < 0.5  # assigning bytes takes seconds

    def test_arrays_that_are_no_points_are_refused(self):
        for array in (np.zeros((3, 3)), np.zeros((2, 2), POINT)):
            with pytest.raises(InputError, match="structured array"):
                point_cloud_message(Header(), array)
        with pytest.raises(InputError, match="column c of a cloud is complex64"):
            point_cloud_message(Header(), np.zeros(2, [("c", np.complex64)]))


class TestReading:
    def test_what_was_written_comes_back(self):
        found_n = point_cloud_array(point_cloud_message(Header(), points()))
        np.testing.assert_array_equal(found_n, points())

    def test_rows_with_padding_in_the_other_byte_order(self):
        message = point_cloud_message(Header(), points(6))
        big_n = points(6).astype(POINT.newbyteorder(">"))
        message.height, message.width, message.row_step, message.is_bigendian = 2, 3, 3 * 18 + 7, True
        message.data = big_n[:3].tobytes() + bytes(7) + big_n[3:].tobytes()
        np.testing.assert_array_equal(point_cloud_array(message), points(6))

    def test_a_field_of_several_numbers(self):
        fields = [PointField(name="n", offset=0, datatype=PointField.FLOAT32, count=3)]
        data = np.arange(6, dtype="<f4").tobytes()
        message = PointCloud2(height=1, width=2, fields=fields, point_step=12, row_step=24, data=data)
        np.testing.assert_array_equal(point_cloud_array(message)["n"], [[0, 1, 2], [3, 4, 5]])

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"data": bytes(80)}, "cloud holds 80 bytes, its 5 x 1 points need 90"),
            ({"fields": []}, "cloud has no fields"),
            ({"point_step": 17}, "field 'id' lies outside its points of 17 bytes"),
            ({"point_step": 0}, "lies outside its points of 0 bytes"),
            ({"height": 2, "row_step": 4}, "row_step of 4 is less than"),
            ({"height": 2**31, "width": 2**31}, "is too large"),
            ({"width": 2**20}, "cloud holds 90 bytes"),
            ({"fields": [PointField(name="x", datatype=99, count=1)]}, "field 'x' has an unknown type 99"),
            ({"fields": [PointField(name="x", datatype=7, count=2**32 - 1)]}, "field 'x' lies outside"),
            ({"fields": [PointField(name="x", datatype=7, count=1)] * 2}, "cloud's fields cannot be"),
        ],
    )
    def test_messages_that_contradict_themselves_are_refused(self, changes, words):
        message = point_cloud_message(Header(), points())
        for name, value in changes.items():
            setattr(message, name, value)
        with pytest.raises(InputError, match=words):
            point_cloud_array(message)


@pytest.mark.skipif(importlib.util.find_spec("sensor_msgs_py") is None, reason="comes with a ROS distribution")
def test_sensor_msgs_py_reads_it():
    from sensor_msgs_py.point_cloud2 import read_points

    found_n = read_points(point_cloud_message(Header(), points()))
    for name in POINT.names:
        np.testing.assert_array_equal(found_n[name], points()[name])
