"""One subscription to an image topic for all nodes of a process that take it alike, so that a message is received,
deserialized and decoded once.

Nodes share where they are spun by the same executor. The subscription is one of their own: that of the node which came
first, and when it leaves, that of the next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from geo_perception.errors import InputError
from geo_perception.ros import qos
from geo_perception.ros.codec import ImageDecoder
from geo_perception.ros.input_qos import InputQos
from geo_perception.runtime.memory import memory_shortage

_KEPT = 2  # decoded images: the newest, and one that somebody may still be busy with
_streams: WeakKeyDictionary[Any, dict[tuple, ImageStream]] = WeakKeyDictionary()  # by executor
_decoders: WeakKeyDictionary[Any, WeakValueDictionary[tuple, SharedDecoder]] = WeakKeyDictionary()
_lock = threading.RLock()


@dataclass(frozen=True, eq=False)
class Receiver:
    """A node that takes images: what it is told. Its callbacks must not raise."""

    node: Any
    on_image: Callable[[Any], None]
    on_lost: Callable[[int], None]
    on_incompatible: Callable[[Any], None]


class ImageStream:
    """A subscription and those that receive from it. Made by `join`."""

    def __init__(self, kind: type, topic: str, asked: InputQos, options: Any, forget: Callable[[], None]):
        self.asked = asked
        self._kind, self._topic, self._options, self._forget = kind, topic, options, forget
        self._receivers: list[Receiver] = []
        self._owner: Any = None
        self._made: object = None  # of the subscription that counts
        self._subscription: Any = None

    def _add(self, receiver: Receiver) -> None:
        self._receivers.append(receiver)
        if self._owner is None:
            self._subscribe(receiver.node)

    def leave(self, receiver: Receiver) -> None:
        """This node receives no more. The last one to leave ends the subscription."""
        with _lock:
            self._receivers = [other for other in self._receivers if other is not receiver]
            if self._owner is not receiver.node:
                return
            subscription = self._subscription
            if self._receivers:
                self._subscribe(self._receivers[0].node)  # before the old one goes, so that there is no gap
            else:
                self._owner = self._subscription = None
                self._forget()
        receiver.node.destroy_subscription(subscription)

    def _subscribe(self, node: Any) -> None:
        made = object()

        def take(message: Any) -> None:
            if made is self._made:  # else the next subscription gets it, too
                for receiver in tuple(self._receivers):
                    receiver.on_image(message)

        self._subscription = qos.subscribe(
            node, self._kind, self._topic, node.guard(take), self.asked.profile,
            on_incompatible=node.guard(self._on_incompatible), on_lost=node.guard(self._on_lost),
            overriding=self._options,
        )  # fmt: skip
        self._owner, self._made = node, made

    def _on_lost(self, event: Any) -> None:
        for receiver in tuple(self._receivers):
            receiver.on_lost(event.total_count_change)

    def _on_incompatible(self, event: Any) -> None:
        for receiver in tuple(self._receivers):
            receiver.on_incompatible(event)


def join(receiver: Receiver, kind: type, topic: str, asked: InputQos, options: Any) -> ImageStream:
    """Takes the images of a resolved topic; `options` are rclpy's QoS overrides, already in `asked`."""
    executor = receiver.node.executor
    key = (topic, kind, asked.reliable, asked.depth, asked.keep_all)
    with _lock:
        streams = {} if executor is None else _streams.setdefault(executor, {})
        if key not in streams:
            streams[key] = ImageStream(kind, topic, asked, options, lambda: streams.pop(key, None))
        streams[key]._add(receiver)
        return streams[key]


class SharedDecoder:
    """Decodes each message of a stream once, whoever asks for it, from any thread. What it returns must not be written
    in, and cannot be."""

    def __init__(self, image_bits: int = 0):
        self._decoder, self._lock = ImageDecoder(image_bits), threading.Lock()
        self._decoded: deque[tuple[Any, np.ndarray | InputError]] = deque(maxlen=_KEPT)
        self.decoded = 0  # how many, so far

    @property
    def bits(self) -> int:
        """As `ImageDecoder.bits`."""
        return self._decoder.bits

    def decode(self, message: Any) -> np.ndarray:
        """The pixels, RGB uint8 (H, W, 3). Raises InputError as `ImageDecoder.decode` does."""
        with self._lock:
            result = next((done for known, done in self._decoded if known is message), None)
            if result is None:
                result = self._decode(message)
                self._decoded.append((message, result))
        if isinstance(result, InputError):
            raise InputError(str(result))
        return result

    def forget(self) -> None:
        """Lets go of the images it keeps; not of how many bits of a sample they use."""
        with self._lock:
            self._decoded.clear()

    def _decode(self, message: Any) -> np.ndarray | InputError:
        self.decoded += 1
        try:
            image_hw3 = self._decoder.decode(message)
        except InputError as error:
            if memory_shortage(error):  # the next one to ask may have some
                raise
            return error
        image_hw3.flags.writeable = False
        return image_hw3


def shared_decoder(node: Any, topic: str, kind: str, image_bits: int) -> SharedDecoder:
    """The decoder of a topic for all nodes that share its images; one of its own for a node without an executor."""
    if node.executor is None:
        return SharedDecoder(image_bits)
    with _lock:
        decoders = _decoders.setdefault(node.executor, WeakValueDictionary())
        key = (topic, kind, image_bits)
        decoder = decoders.get(key)
        if decoder is None:
            decoders[key] = decoder = SharedDecoder(image_bits)
        return decoder
