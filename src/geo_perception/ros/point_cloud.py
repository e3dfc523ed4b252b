"""Arrays to sensor_msgs/PointCloud2 and back, through one structured array: a column for each field."""

from __future__ import annotations

from array import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from geo_perception.errors import InputError

MAX_POINTS = 1 << 24
_KINDS = {
    PointField.INT8: "i1", PointField.UINT8: "u1", PointField.INT16: "i2", PointField.UINT16: "u2",
    PointField.INT32: "i4", PointField.UINT32: "u4", PointField.FLOAT32: "f4", PointField.FLOAT64: "f8",
}  # fmt: skip
_DATATYPES = {np.dtype(kind): datatype for datatype, kind in _KINDS.items()}


def point_cloud_message(header, points_n: np.ndarray) -> PointCloud2:
    """A cloud of one row from a structured array (N,), in the order and with the names of its columns.

    `is_dense` says whether every number in it is finite. Raises InputError when the array has no columns, or one of a
    type that PointCloud2 does not know.
    """
    dtype = points_n.dtype
    if points_n.ndim != 1 or not dtype.names:
        raise InputError(f"a cloud needs a structured array (N,), {dtype} {points_n.shape} was given; name its columns")
    fields, dense = [], True
    for name in dtype.names:
        kind, offset = dtype.fields[name][:2]
        datatype = _DATATYPES.get(kind.newbyteorder("="))
        if datatype is None:
            raise InputError(f"column {name} of a cloud is {kind}; use whole numbers or floats of at most 8 bytes")
        fields.append(PointField(name=name, offset=offset, datatype=datatype, count=1))
        # Packed colours are bits in a float: what they look like as a number says nothing.
        if kind.kind == "f" and name not in ("rgb", "rgba"):
            dense = dense and bool(np.isfinite(points_n[name]).all())
    message = PointCloud2(header=header, height=1, width=len(points_n), fields=fields, is_bigendian=False)
    message.point_step, message.row_step = dtype.itemsize, dtype.itemsize * len(points_n)
    message.is_dense = dense
    little_n = np.ascontiguousarray(points_n).astype(dtype.newbyteorder("<"), copy=False)
    # rclpy takes an array('B') as it is; bytes and lists it checks element by element.
    message.data = array("B", little_n.tobytes())
    return message


def point_cloud_array(message: PointCloud2) -> np.ndarray:
    """The points of a cloud of any shape as a structured array (N,), a copy in this machine's byte order.

    A field of several numbers becomes a column of that many. Raises InputError, and nothing else, when the message
    contradicts itself: a field outside the point, a type or a count that cannot be, names that clash, rows that are
    shorter than their points, data that is shorter than its rows.
    """
    width, height, step, row_step = message.width, message.height, message.point_step, message.row_step
    count = width * height
    if count > MAX_POINTS:
        raise InputError(f"cloud of {width} x {height} points is too large; publish at most {MAX_POINTS}")
    dtype = _declared_dtype(message)
    if count == 0:
        return np.zeros(0, dtype.newbyteorder("="))
    rows, row_bytes = height, width * step
    if rows > 1 and row_step < row_bytes:
        raise InputError(f"cloud's row_step of {row_step} is less than {width} points of {step} bytes")
    needed = (rows - 1) * row_step + row_bytes
    data = np.frombuffer(message.data, np.uint8)
    if len(data) < needed:
        raise InputError(f"cloud holds {len(data)} bytes, its {width} x {height} points need {needed}")
    rows_hb = np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (row_step or row_bytes, 1), writeable=False)
    return np.frombuffer(rows_hb.tobytes(), dtype).astype(dtype.newbyteorder("="))


def _declared_dtype(message: PointCloud2) -> np.dtype:
    order, step = ">" if message.is_bigendian else "<", message.point_step
    names, formats, offsets = [], [], []
    for field in message.fields:
        kind = _KINDS.get(field.datatype)
        # Older publishers leave the count of a single number at zero.
        size = max(field.count, 1)
        if kind is None:
            raise InputError(f"cloud's field '{field.name[:40]}' has an unknown type {field.datatype}")
        if field.offset + size * np.dtype(kind).itemsize > step:
            raise InputError(f"cloud's field '{field.name[:40]}' lies outside its points of {step} bytes")
        names.append(field.name)
        formats.append(f"{order}{kind}" if size == 1 else (f"{order}{kind}", (size,)))
        offsets.append(field.offset)
    if not names:
        raise InputError("cloud has no fields; give at least one")
    try:
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})
    except (ValueError, TypeError) as error:
        raise InputError(f"cloud's fields cannot be: {error}") from None
