"""Recordings as topics and messages: ROS 1 and ROS 2 bags (sqlite3, MCAP), compressed or split, whole or damaged."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from geo_perception.errors import InputError
from geo_training.datasets.recordings.bag_salvage import Channel, Record, scan_mcap, scan_ros1, scan_sqlite, zstd_module
from geo_training.datasets.recordings.bag_types import MessageTypes
from geo_training.storage.names import natural_key

SUFFIXES = (".bag", ".mcap", ".db3")
_SCANNERS = {".bag": scan_ros1, ".mcap": scan_mcap, ".db3": scan_sqlite}
_COPY_BYTES = 1 << 16
# A stamp keeps whole seconds in 32 bits: until January 2038.
LAST_STAMP_NS = (2**31 - 1) * 10**9 + 999_999_999
_LAST_TIME_NS = (1 << 63) - 1  # what is beyond is damage, and no array of times could hold it
# A topic whose stamps are this far from the time of receipt has another clock (a simulation, a bag played back).
_SAME_CLOCK_NS = 10 * 10**9
_METADATA_ERRORS = (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Topic:
    name: str
    msgtype: str
    count: int


class Recording:
    """One bag, opened. Use it in a `with` statement.

    `topics` holds what there is by name, `losses` sentences about what could not be read (complete once the messages
    have been read), `custom_data` the key-value pairs of a rosbag2's metadata. Raises InputError when the path is no
    recording, or holds no message that can be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.losses: list[str] = []
        self.custom_data: dict[str, str] = {}
        self.topics: dict[str, Topic] = {}
        self.damaged: dict[str, int] = {}  # messages by topic, of the passes that are complete
        self._types = MessageTypes(self.path)
        self._channels: dict[str, Channel] = {}
        self._stack = contextlib.ExitStack()
        try:
            self._files = [_BagFile(path, self._report, self._stack) for path in self._storage_files()]
            self._gather()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_error) -> None:
        self._stack.close()

    @property
    def message_count(self) -> int:
        return sum(topic.count for topic in self.topics.values())

    def of_type(self, *msgtypes: str) -> list[Topic]:
        """Topics of these types that hold messages, by name."""
        return sorted(
            (topic for topic in self.topics.values() if topic.msgtype in msgtypes and topic.count), key=lambda t: t.name
        )

    def topic_list(self, *msgtypes: str) -> str:
        """The topics of these types (none named: all) with type and number of messages, for a message to the user."""
        there = self.of_type(*msgtypes) if msgtypes else [topic for _, topic in sorted(self.topics.items())]
        return ", ".join(f"{t.name} ({t.msgtype.replace('/msg/', '/')}, {t.count})" for t in there)

    def require(self, name: str, option: str, *msgtypes: str) -> Topic:
        """The topic of this name. Raises InputError, listing those that fit, when it is missing or of another type."""
        topic = self.topics.get(name) or self.topics.get("/" + name)
        if topic is None or not topic.count:
            problem = f"{self.path} has no {'topic' if topic is None else 'message on'} {name}"
        elif topic.msgtype not in msgtypes:
            wanted = " or ".join(msgtype.replace("/msg/", "/") for msgtype in msgtypes)
            problem = (
                f"{name} in {self.path} is a {topic.msgtype.replace('/msg/', '/') or 'nothing known'}, not {wanted}"
            )
        else:
            return topic
        fitting = self.topic_list(*msgtypes)
        if not fitting:
            raise InputError(f"{problem}, and nothing that {option} could name; leave it out")
        raise InputError(f"{problem}; pass {option} with one of: {fitting}")

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, object]]:
        """Topic, receive time in nanoseconds and message, for these topics, file by file in the order of recording.

        Messages that cannot be deserialized are left out and counted in `losses`.
        """
        damaged: dict[str, int] = {}
        for file in self._files:
            for channel, time_ns, data in file.messages(topics):
                message = self._types.deserialize(channel, data) if 0 <= time_ns <= _LAST_TIME_NS else None
                if message is None:
                    damaged[channel.topic] = damaged.get(channel.topic, 0) + 1
                else:
                    yield channel.topic, time_ns, message
        self.damaged |= damaged
        for topic, count in damaged.items():
            self._report(f"{self.path.name}: {count} messages of {topic} are damaged and were left out")

    def _report(self, sentence: str) -> None:
        if sentence not in self.losses:
            self.losses.append(sentence)

    def _gather(self) -> None:
        counts: dict[str, int] = {}
        for file in self._files:
            for channel, count in file.counts.items():
                self._channels.setdefault(channel.topic, channel)
                counts[channel.topic] = counts.get(channel.topic, 0) + count
        self.topics = {name: Topic(name, self._channels[name].msgtype, count) for name, count in counts.items()}
        if not self.message_count:
            lost = f" ({'; '.join(self.losses)})" if self.losses else ""
            raise InputError(f"{self.path} holds no message that can be read{lost}; record again, or copy it again")

    def _storage_files(self) -> list[Path]:
        if not self.path.exists():
            raise InputError(f"{self.path} does not exist; give a .bag, .mcap or .db3 file, or a rosbag2 directory")
        if self.path.is_dir():
            files = self._files_of_directory()
        else:
            files = [self.path]
            with contextlib.suppress(*_METADATA_ERRORS):
                named, custom_data = read_metadata(self.path.parent)
                self.custom_data = custom_data if self.path in named else {}
        wrong = [file for file in files if _bag_suffix(file) is None]
        if wrong or not files:
            what = f"{wrong[0]} is not a recording" if wrong else f"{self.path} holds no .mcap, .db3 or .bag file"
            raise InputError(f"{what}; give a .bag, .mcap or .db3 file, or a rosbag2 directory")
        empty = [file for file in files if not file.stat().st_size]
        if len(empty) == len(files):
            raise InputError(f"{self.path} is empty (0 bytes); record again, or copy it again")
        for file in empty:
            self._report(f"{file.name} is empty")
        return [file for file in files if file not in empty]

    def _files_of_directory(self) -> list[Path]:
        # Hidden are the `._x.mcap` that macOS leaves on other disks, and what was half copied.
        visible = [file for file in self.path.iterdir() if not file.name.startswith(".")]
        there = sorted((file for file in visible if _bag_suffix(file)), key=lambda file: natural_key(file.name))
        try:
            named, self.custom_data = read_metadata(self.path)
        except FileNotFoundError:
            if there:
                self._report(f"{self.path.name} has no metadata.yaml: the recording was not closed")
            return there
        except _METADATA_ERRORS:
            self._report(f"metadata.yaml of {self.path.name} cannot be read; the files were read without it")
            return there
        for file in named:
            if not file.exists():
                self._report(f"{file.name} of {self.path.name} is missing")
        return [file for file in named if file.exists()] or there


class _BagFile:
    """One storage file: read by rosbags where it is whole, record by record where it is not."""

    def __init__(self, path: Path, report, stack: contextlib.ExitStack):
        self._report = report
        if path.suffix in (".zst", ".zstd"):
            path = self._unpacked(path, stack)
        self.path = path
        self._scan = _SCANNERS[path.suffix]
        self._reader = self._opened(stack)
        self.counts: dict[Channel, int] = {}
        if self._reader is None:
            for channel, _, _ in self._scanned():
                self.counts[channel] = self.counts.get(channel, 0) + 1
        else:
            for connection in self._reader.connections:
                channel = self._channel(connection)
                self.counts[channel] = self.counts.get(channel, 0) + connection.msgcount
        log = path.with_name(path.name + "-wal")
        if path.suffix == ".db3" and log.is_file() and log.stat().st_size:
            report(
                f"{log.name} holds messages that were not merged into {path.name}; to read them too, run "
                f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint'`"
            )

    def messages(self, topics: Collection[str]) -> Iterator[Record]:
        last_ns, yielded = -1, 0  # the time of the last message, and how many of that time were yielded
        if self._reader is not None:
            channels = {id(c): self._channel(c) for c in self._reader.connections if c.topic in topics}
            connections = [c for c in self._reader.connections if id(c) in channels]
            if not connections:
                return
            by_id = {c.id: channels[id(c)] for c in connections}
            try:
                for connection, time_ns, data in self._reader.messages(connections):
                    last_ns, yielded = time_ns, yielded + 1 if time_ns == last_ns else 1
                    yield by_id[connection.id], time_ns, bytes(data)
                return
            except Exception as error:
                # Damage that shows only when a chunk is opened; what rosbags raises then is of many types.
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self._report(f"{self.path.name} is damaged ({reason}); the rest was read record by record")
        for channel, time_ns, data in self._scanned():
            if channel.topic not in topics or time_ns < last_ns:
                continue
            if time_ns == last_ns and yielded:
                yielded -= 1
                continue
            yield channel, time_ns, data

    def _scanned(self) -> Iterator[Record]:
        return self._scan(self.path, self._report)

    def _opened(self, stack: contextlib.ExitStack):
        try:
            reader = (Reader1 if self.path.suffix == ".bag" else Reader2)(self.path)
            reader.open()
        except Exception:
            # rosbags answers a damaged file with many types of exceptions; the scanner says what is wrong with it.
            return None
        stack.callback(reader.close)
        return reader

    def _channel(self, connection) -> Channel:
        ros1 = self.path.suffix == ".bag"
        form = "idl" if connection.msgdef.format.name == "IDL" else "msg"
        serialization = "ros1" if ros1 else connection.ext.serialization_format
        return Channel(connection.topic, connection.msgtype, serialization, connection.msgdef.data, form)

    def _unpacked(self, path: Path, stack: contextlib.ExitStack) -> Path:
        """A file compressed as a whole, unpacked into a folder that goes with the recording."""
        target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.stem
        decompressor = zstd_module().ZstdDecompressor()
        with path.open("rb") as source, target.open("wb") as file:
            # Block by block: a cut file gives what its last whole block holds.
            with contextlib.suppress(zstd_module().ZstdError):
                while not decompressor.eof and (block := source.read(_COPY_BYTES)):
                    file.write(decompressor.decompress(block))
            if not decompressor.eof:
                self._report(f"{path.name} is cut off or damaged: what was recorded after that is lost")
        return target


def header_stamp_ns(message, receive_ns: int) -> int:
    """The stamp in the message's header, or the time it was received where a driver left it zero."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec) or receive_ns


class StampClock:
    """The stamps of one topic, in the order of recording."""

    def __init__(self):
        self._ahead_ns: int | None = None  # time of receipt minus stamp, of the last message that had one

    def stamp_ns(self, message, receive_ns: int) -> int | None:
        """As `header_stamp_ns`, but None for a zero stamp among others of another clock than that of receipt: then
        nothing says when it was."""
        stamp = message.header.stamp
        if stamp.sec or stamp.nanosec:
            stamp_ns = header_stamp_ns(message, receive_ns)
            self._ahead_ns = receive_ns - stamp_ns
            return stamp_ns
        return receive_ns if self._ahead_ns is None or abs(self._ahead_ns) <= _SAME_CLOCK_NS else None


def read_metadata(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The files that a rosbag2's metadata.yaml names, and its custom data. Raises one of `_METADATA_ERRORS`."""
    content = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    files = [folder / Path(name).name for name in content["relative_file_paths"]]
    return files, {str(key): str(value) for key, value in (content.get("custom_data") or {}).items()}


def is_recording(path: Path) -> bool:
    """Whether a path is, or looks like, a bag: a file, or a folder of rosbag2. Whether it can be read shows later."""
    if not path.is_dir():
        return True
    return (path / "metadata.yaml").is_file() or any(_bag_suffix(entry) for entry in path.iterdir())


def _bag_suffix(path: Path) -> str | None:
    suffix = Path(path.stem).suffix if path.suffix in (".zst", ".zstd") else path.suffix
    return suffix if suffix in SUFFIXES and path.is_file() else None
