"""Messages from bytes: with the standard's types where a bag's own definitions are missing or damaged."""

from __future__ import annotations

import re
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from geo_perception.errors import InputError
from geo_training.datasets.recordings.bag_salvage import Channel, zstd_module

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class MessageTypes:
    """The types of one recording, registered as they are needed."""

    def __init__(self, path: Path):
        self._path = path
        self._typestore = None

    def deserialize(self, channel: Channel, data: bytes) -> object | None:
        """The message, or None where the bytes are damaged. Raises InputError for a type that nothing defines."""
        store = self._store_with(channel)
        try:
            if channel.serialization == "ros1":
                return store.deserialize_ros1(data, channel.msgtype)
            if data[:4] == _ZSTD_MAGIC:  # a bag compressed message by message; plain CDR begins with a zero byte
                data = zstd_module().decompress(data)
            return store.deserialize_cdr(data, channel.msgtype)
        except Exception:
            # What a serializer raises on damaged bytes is any of a dozen types; the message is counted as lost.
            return None

    def _store_with(self, channel: Channel):
        if self._typestore is None:
            self._typestore = get_typestore(Stores.EMPTY)
        store = self._typestore
        if channel.msgtype in store.fielddefs:
            return store
        standard = _standard(ros1=channel.serialization == "ros1")
        found, problem = _parsed(channel)
        types = {**standard, **{name: fields for name, fields in found.items() if _counts(fields, standard.get(name))}}
        try:
            store.register({name: types[name] for name in _needed(types, channel.msgtype) - set(store.fielddefs)})
        except Exception as error:
            problem = _reason(error)
        if channel.msgtype not in store.fielddefs:
            raise InputError(
                f"the definition of {channel.msgtype} in {self._path} cannot be used ({problem}); leave out "
                f"{channel.topic}"
            )
        return store


def _standard(ros1: bool) -> dict:
    if not ros1:
        return get_typestore(Stores.ROS2_JAZZY).fielddefs
    # Of Noetic rosbags has all that we read but TF, by both of its names.
    types = dict(get_typestore(Stores.ROS1_NOETIC).fielddefs)
    for name in ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"):
        types |= get_types_from_msg("geometry_msgs/TransformStamped[] transforms", name)
    return types


def _parsed(channel: Channel) -> tuple[dict, str]:
    """The types that a bag's own definition of a channel holds, or none and what is wrong with it."""
    if not channel.definition:
        return {}, "it has none"
    try:
        if channel.definition_format != "idl":
            return get_types_from_msg(channel.definition, channel.msgtype), "it defines other types"
        types = {}
        # rosbag2 joins the IDL files of nested types, each under a line that names it.
        for part in re.split(r"^=+\nIDL: .*\n", channel.definition, flags=re.MULTILINE):
            types.update(get_types_from_idl(part) if part.strip() else {})
        return types, "it defines other types"
    except Exception as error:
        # The parsers answer a damaged definition with many types of exceptions.
        return {}, _reason(error)


def _counts(found: tuple, standard: tuple | None) -> bool:
    """Whether a bag's own definition counts: of a standard type only where it has more fields than the standard. One
    with the same fields is the standard's, one with fewer or others is damaged."""
    if standard is None:
        return True
    names, wanted = ({name for name, _ in fields} for _, fields in (found, standard))
    return names > wanted


def _needed(types: dict, msgtype: str) -> set[str]:
    """The names of a type and of all that its fields are made of, as far as they are known."""

    def names_in(node) -> list[str]:
        kind, value = node
        if kind == Nodetype.NAME:
            return [value]
        return names_in(value[0]) if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE) else []

    needed, ahead = set(), [msgtype]
    while ahead:
        name = ahead.pop()
        if name in types and name not in needed:
            needed.add(name)
            ahead += [found for _, node in types[name][1] for found in names_in(node)]
    return needed


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:100]
