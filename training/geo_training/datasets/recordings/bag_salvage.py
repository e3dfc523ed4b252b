"""Reading bag files record by record, without their index: what a recorder that was killed, a full disk or a broken
copy has left. Each scanner yields what can be read and reports, in one sentence, what cannot."""

from __future__ import annotations

import bz2
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from geo_perception.errors import InputError

MCAP_MAGIC = b"\x89MCAP0\r\n"
ROS1_MAGIC = b"#ROSBAG V2.0\n"
# No message or chunk of a camera recording is larger; a length beyond it is damage.
MAX_RECORD_BYTES = 1 << 31
_BLOCK = 1 << 16

Report = Callable[[str], None]


class Channel(NamedTuple):
    """One topic of one file: its type, how messages are serialized (`cdr` or `ros1`), the definition of its type."""

    topic: str
    msgtype: str
    serialization: str
    definition: str = ""
    definition_format: str = "msg"


Record = tuple[Channel, int, bytes]


def zstd_module():
    """The zstd of the standard library where it has one, else the one that rosbags brings."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def inflate(data: bytes, compression: str) -> tuple[bytes, bool]:
    """What of `data` can be decompressed, and whether that was all. Compression is "", none, lz4, zstd or bz2; nothing
    of another can be (one flipped bit makes it another).
    """
    if compression in ("", "none"):
        return data, True
    if compression == "zstd":
        decompressor = zstd_module().ZstdDecompressor()
    elif compression == "lz4":
        import lz4.frame

        decompressor = lz4.frame.LZ4FrameDecompressor()
    elif compression == "bz2":
        decompressor = bz2.BZ2Decompressor()
    else:
        return b"", False
    parts = []
    for start in range(0, len(data), _BLOCK):
        if decompressor.eof:
            break
        try:
            parts.append(decompressor.decompress(data[start : start + _BLOCK]))
        except (RuntimeError, OSError, EOFError, zstd_module().ZstdError):
            return b"".join(parts), False
    return b"".join(parts), decompressor.eof


def scan_mcap(path: Path, report: Report) -> Iterator[Record]:
    """The messages of an MCAP file in the order of its chunks."""
    with path.open("rb") as file:
        if file.read(8) != MCAP_MAGIC:
            raise InputError(
                f"{path.name} does not begin as an MCAP file; give a recording that `ros2 bag` or a recorder made, or "
                "copy it again"
            )
        yield from _McapScan(path.name, report).records(file, path.stat().st_size)


class _McapScan:
    def __init__(self, name: str, report: Report):
        self._name, self._report = name, report
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Channel] = {}

    def records(self, file: BinaryIO, size: int) -> Iterator[Record]:
        while True:
            at = file.tell()
            head = file.read(9)
            op, length = (head[0], int.from_bytes(head[1:], "little")) if len(head) == 9 else (0, 0)
            if op == 0x02:
                return
            if len(head) < 9 or at + 9 + length > size or length > MAX_RECORD_BYTES:
                if op == 0x06:
                    yield from self._chunk(file.read(min(length, size - at)), at)
                self._report(f"{self._name} is cut off at byte {at} of {size}: what was recorded after that is lost")
                return
            body = file.read(length) if op in (0x03, 0x04, 0x05, 0x06) else b""
            if not body:
                file.seek(length, 1)
            elif op == 0x06:
                yield from self._chunk(body, at)
            else:
                yield from self._record(op, body, at)

    def _chunk(self, body: bytes, at: int) -> Iterator[Record]:
        try:
            name_length = int.from_bytes(body[28:32], "little")
            compression = body[32 : 32 + name_length].decode()
            records, whole = inflate(body[40 + name_length :], compression)
        except UnicodeDecodeError:
            records, whole = b"", False
        messages, position = [], 0
        while position + 9 <= len(records):
            op, length = records[position], int.from_bytes(records[position + 1 : position + 9], "little")
            end = position + 9 + length
            if end > len(records):
                break
            messages.extend(self._record(op, records[position + 9 : end], at))
            position = end
        if not whole:
            self._report(f"{self._name}: the chunk at byte {at} is damaged, a part of it is lost")
        yield from sorted(messages, key=lambda record: record[1])

    def _record(self, op: int, body: bytes, at: int) -> Iterator[Record]:
        try:
            if op == 0x05 and len(body) >= 22:
                channel_id, _, log_time_ns, _ = struct.unpack_from("<HIQQ", body)
                if channel_id in self._channels:
                    yield self._channels[channel_id], log_time_ns, body[22:]
            elif op == 0x03:
                fields = BytesIO(body)
                schema_id = int.from_bytes(fields.read(2), "little")
                self._schemas[schema_id] = (_text(fields), _text(fields), _text(fields))
            elif op == 0x04:
                fields = BytesIO(body)
                channel_id, schema_id = struct.unpack("<HH", fields.read(4))
                topic, serialization = _text(fields), _text(fields)
                msgtype, encoding, definition = self._schemas.get(schema_id, ("", "", ""))
                form = "idl" if "idl" in encoding else "msg"
                self._channels[channel_id] = Channel(topic, _ros2_name(msgtype), serialization, definition, form)
        except (struct.error, UnicodeDecodeError):
            self._report(f"{self._name}: the record at byte {at} is damaged and was left out")


def scan_ros1(path: Path, report: Report) -> Iterator[Record]:
    """The messages of a ROS 1 bag (format 2.0) in the order of its chunks."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(ROS1_MAGIC)) != ROS1_MAGIC:
            raise InputError(
                f"{path.name} does not begin as a ROS 1 bag of format 2.0; give a .bag file that `rosbag` made, or "
                "copy it again"
            )
        channels = _ros1_connections(file, size)
        file.seek(len(ROS1_MAGIC))
        while (at := file.tell()) < size:
            fields, data, whole = _ros1_record(file, size)
            if fields.get("op") == b"\x05":
                records, inflated = inflate(data, fields.get("compression", b"none").decode("ascii", "replace"))
                yield from _ros1_chunk(records, channels)
                if whole and not inflated:
                    report(f"{path.name}: the chunk at byte {at} is damaged, a part of it is lost")
            else:
                yield from _ros1_message(fields, data, channels)
            if not whole:
                report(f"{path.name} is cut off at byte {at} of {size}: what was recorded after that is lost")
                return


def _ros1_connections(file: BinaryIO, size: int) -> dict[int, Channel]:
    """The topics that the index at the end of a bag names, so that they are known where the first chunk is lost."""
    channels: dict[int, Channel] = {}
    while file.tell() < size:
        fields, data, whole = _ros1_record(file, size, skip=b"\x05")
        if not whole:
            break
        for _ in _ros1_message(fields, data, channels):
            pass
    return channels


def _ros1_chunk(records: bytes, channels: dict[int, Channel]) -> Iterator[Record]:
    inner, messages = BytesIO(records), []
    while inner.tell() < len(records):
        fields, data, whole = _ros1_record(inner, len(records))
        if not whole:
            break
        messages.extend(_ros1_message(fields, data, channels))
    yield from sorted(messages, key=lambda record: record[1])


def _ros1_message(fields: dict[str, bytes], data: bytes, channels: dict[int, Channel]) -> Iterator[Record]:
    connection = int.from_bytes(fields.get("conn", b""), "little")
    if fields.get("op") == b"\x07":
        about = _ros1_fields(data)
        msgtype, definition = (about.get(key, b"").decode(errors="replace") for key in ("type", "message_definition"))
        topic = fields.get("topic", b"").decode(errors="replace")
        channels[connection] = Channel(topic, _ros2_name(msgtype), "ros1", definition)
    elif fields.get("op") == b"\x02" and connection in channels and len(fields.get("time", b"")) == 8:
        seconds, nanoseconds = struct.unpack("<II", fields["time"])
        yield channels[connection], seconds * 10**9 + nanoseconds, data


def _ros1_record(file: BinaryIO, size: int, skip: bytes = b"") -> tuple[dict[str, bytes], bytes, bool]:
    """Header fields and data of the record at the file's place, and whether it is there as a whole. The data of records
    of the kind `skip` are not read."""
    header_length = int.from_bytes(file.read(4), "little")
    if file.tell() + header_length + 4 > size:
        file.seek(size)
        return {}, b"", False
    fields = _ros1_fields(file.read(header_length))
    length = int.from_bytes(file.read(4), "little")
    if skip and fields.get("op") == skip and file.tell() + length <= size:
        file.seek(length, 1)
        return fields, b"", True
    data = file.read(min(length, size - file.tell()))
    return fields, data, len(data) == length


def _ros1_fields(header: bytes) -> dict[str, bytes]:
    fields, position = {}, 0
    while position + 4 <= len(header):
        length = int.from_bytes(header[position : position + 4], "little")
        name, equals, value = header[position + 4 : position + 4 + length].partition(b"=")
        if equals:
            fields[name.decode(errors="replace")] = value
        position += 4 + length
    return fields


def scan_sqlite(path: Path, report: Report) -> Iterator[Record]:
    """The messages of a rosbag2 sqlite3 file in the order they were written, up to the first page that is missing."""
    count, pending, problem = 0, None, ""
    with path.open("rb") as file:
        page_bytes = int.from_bytes(file.read(18)[16:18], "big")
    # 1 stands for 65536 bytes.
    cut_in_a_page = bool(path.stat().st_size % (65536 if page_bytes == 1 else page_bytes or 1))
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    database.text_factory = lambda data: data.decode(errors="replace")  # a damaged name is no reason to stop
    try:
        # Without this sqlite refuses any file that is shorter than its header says. Nothing is written.
        database.execute("PRAGMA writable_schema=ON")
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        if not {"topics", "messages"} <= set(names):
            raise InputError(
                f"{path.name} has no table of topics and messages, so it is no rosbag2 or damaged; give a recording of "
                "`ros2 bag`, or copy it again"
            )
        definitions = {}
        if "message_definitions" in names:
            columns = "topic_type, encoding, encoded_message_definition"
            definitions = {
                row[0]: row[1:]
                for row in database.execute(f"SELECT {columns} FROM message_definitions")
                if all(isinstance(text, str) for text in row)
            }
        channels = {}
        for key, topic, msgtype, serialization in database.execute(
            "SELECT id, name, type, serialization_format FROM topics"
        ):
            if not all(isinstance(text, str) for text in (topic, msgtype, serialization)):
                continue
            encoding, definition = definitions.get(msgtype, ("", ""))
            form = "idl" if "idl" in encoding else "msg"
            channels[key] = Channel(topic, _ros2_name(msgtype), serialization, definition, form)
        for key, time_ns, data in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
            if key not in channels or not isinstance(data, bytes):
                continue
            if pending is not None:
                yield pending
                count += 1
            pending = channels[key], time_ns, data
    except sqlite3.DatabaseError as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    finally:
        database.close()
    # What is missing of a page sqlite reads as zeros: the last message before a cut within a page is not to be trusted.
    if pending is not None and not cut_in_a_page:
        yield pending
        count += 1
    if problem or cut_in_a_page:
        report(f"{path.name} is damaged ({problem or 'cut off'}): only its first {count} messages could be read")


def _text(fields: BytesIO) -> str:
    (length,) = struct.unpack("<I", fields.read(4))
    return fields.read(length).decode()


def _ros2_name(msgtype: str) -> str:
    """ROS 1 writes pkg/Type, ROS 2 pkg/msg/Type; the code speaks ROS 2."""
    parts = msgtype.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else msgtype
