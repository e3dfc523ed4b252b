"""How a node goes on where memory is short: with less, by the CPU, or, where nothing fits, without the frame."""

from __future__ import annotations

import time

from geo_perception.ros.frame_statistics import Reason
from geo_perception.ros.image_input import Dropped
from geo_perception.ros.memory_steps import CPU, SMALLER, MemorySteps, Shortage
from geo_perception.ros.worker import Frame
from geo_perception.runtime.memory import give_memory_back, keep_reserve, memory_shortage

NOTICED_S = 5.0  # how long a callback that lacked memory is shown


class MemoryRelief:
    """Of a `PerceptionNode`, from its configuration on. All but `noticed` and `shortage` is for the thread of its
    worker, or while there is none."""

    def __init__(self, node):
        self._node = node
        self._steps = MemorySteps()
        self._smaller = self.on_cpu = False  # what the estimator does now
        self._noticed: tuple[float, str] | None = None  # when a callback lacked memory, and what it said

    def configured(self) -> None:
        """The node has its estimator: whole, and on the device that was asked for."""
        node = self._node
        keep_reserve()
        self._smaller = self.on_cpu = False
        steps = [SMALLER] if node.use_smaller_input(False) else []
        if getattr(getattr(node.prepared, "device", None), "type", "cpu") != "cpu":
            steps.append(CPU)
        self._steps.clear(steps)

    def before(self, frame: Frame) -> None:
        """Makes the estimator what it is to be for the next frame. Raises Dropped where none is tried now, and
        MemoryError where it cannot be made that."""
        now_s = time.monotonic()
        if not self._steps.may_try(now_s):
            raise Dropped(Reason.NO_MEMORY, "there is not enough memory for it")
        if self._steps.takes_whole(now_s):
            give_memory_back()
        used = self._steps.steps[: self._steps.level]
        if (CPU in used) != self.on_cpu:
            self._change_device(CPU in used, frame)
        if (SMALLER in used) != self._smaller:
            self._smaller = SMALLER in used
            self._node.use_smaller_input(self._smaller)

    def fitted(self) -> None:
        """A frame has its result."""
        said = self._steps.fitted(time.monotonic())
        if said:
            keep_reserve()
            self._node.get_logger().info(said)

    def failed(self, reason: str) -> None:
        """There was no memory for a frame."""
        give_memory_back()
        now_s = time.monotonic()
        said = self._steps.failed(reason, now_s)
        self._node.statistics.rejected(Reason.NO_MEMORY, f"not enough memory: {reason}", now_s)
        if said:
            self._node.get_logger().warning(said)

    def noticed(self, error: BaseException) -> bool:
        """Whether a callback failed for lack of memory; then some is given back, and it is told in one line."""
        reason = memory_shortage(error)
        if not reason:
            return False
        give_memory_back()
        now_s = time.monotonic()
        if self._noticed is None or now_s - self._noticed[0] > NOTICED_S:
            self._node.get_logger().warning(f"not enough memory for a message or a timer ({reason})")
        self._noticed = now_s, reason
        return True

    def shortage(self) -> Shortage | None:
        """What is short now, for the diagnostics."""
        now_s, noticed = time.monotonic(), self._noticed
        short = self._steps.shortage(now_s)
        if short is None and noticed is not None and now_s - noticed[0] < NOTICED_S:
            return Shortage(f"not enough memory for a message or a timer ({noticed[1]})", False)
        return short

    def _change_device(self, to_cpu: bool, frame: Frame) -> None:
        """Loads the estimator for the other device, which the node goes on with. Raises MemoryError where it cannot."""
        node, former, self.on_cpu = self._node, self.on_cpu, to_cpu
        try:
            prepared = node.prepare()
            node.check_epoch(frame)
        except Exception as error:
            self.on_cpu = former
            if isinstance(error, Dropped):
                raise
            raise MemoryError(f"no change of device: {' '.join(str(error).split())}") from error
        node.prepared, self._smaller = prepared, False
        node.adopt(prepared)
        give_memory_back()  # of the one before
