"""What the perception nodes share: lifecycle, parameters, images in, one inference worker, diagnostics.

A capability derives from `PerceptionNode` and says how to load, what to compute from one image, and what to publish.
Callbacks run in one light executor; inference runs in one worker thread that always takes the newest image.
"""

from __future__ import annotations

import functools
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros import qos
from geo_perception.ros.codec import decode_image
from geo_perception.ros.frame_statistics import FrameStatistics, RateLimiter, Reason
from geo_perception.ros.health import HealthReporter
from geo_perception.ros.image_input import Dropped, ImageInput
from geo_perception.ros.lifecycle_service import answer_forbidden_transitions
from geo_perception.ros.memory_relief import MemoryRelief
from geo_perception.ros.pace import Pace
from geo_perception.ros.parameters import SHARED, Spec, declare, given_parameters, unknown_names
from geo_perception.ros.preparation import Preparation
from geo_perception.ros.stamp_order import FAR_S
from geo_perception.ros.worker import Frame, Worker
from geo_perception.runtime.memory import give_memory_back, memory_shortage

WARNING_INTERVAL_S = 5.0
WORKER_STOP_S = 10.0
_LOOK_S = 0.02  # how often a node that loads is looked after
_BLACK = Image(height=1, width=1, encoding="rgb8", step=3, data=bytes(3))


@dataclass(frozen=True)
class Outcome:
    """What came of one image: `good` when there was a result worth publishing, `verdict` why or why not."""

    good: bool
    verdict: str


class PerceptionNode(LifecycleNode, ABC):
    """A lifecycle node around one estimator. Derive, and override the hooks below.

    Raises InputError when a parameter given at start-up cannot be used.
    """

    own_parameters: tuple[Spec, ...] = ()
    needs_camera = True
    optional_camera_info = False  # takes CameraInfo where there is one, and works without
    rank = 0  # the highest gives way first

    def __init__(self, name: str, **kwargs):
        super().__init__(name, **kwargs)
        self.state, self.failure, self.hardware_id = "unconfigured", "", "none"
        self._runs_network: Any = None  # knows its `runtime.engine.Choice`
        self.epoch, self.inconsistency = 0, ""  # a sentence about what a capability found wrong
        self.shortfall = ""  # and one about what its results lack
        self.scene_problem = self.scene_conflict = ""  # about the scenes of a folder
        self.resets, self.last_reset = 0, ""
        self.configuring = False  # for seconds, in which no callback runs
        specs = SHARED + self.own_parameters
        declare(self, specs, lambda: self.state)
        for sentence in unknown_names(list(given_parameters(self)), specs):
            self.get_logger().warning(sentence)
        self.statistics = FrameStatistics(time.monotonic())
        self._limiter = RateLimiter(WARNING_INTERVAL_S)
        self._worker, self.pace, self.memory = Worker(self._work), Pace(self), MemoryRelief(self)
        self._preparation, self.prepared = Preparation(self.prepare), None
        self._results: list = []  # publishers whose subscribers are a reason to work
        self._outputs: list = []
        self.images = ImageInput(self)
        self.health = HealthReporter(self)
        self.create_service(Trigger, "~/reset", self._on_reset)
        answer_forbidden_transitions(self)
        # Two sources of /clock that are not quite together do not rewind time.
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-FAR_S), on_clock_change=False)
        jumped = self.guard(lambda _: self.reset("the clock jumped back"))
        self._jump_handle = self.get_clock().create_jump_callback(backwards, post_callback=jumped)
        if self.value("autostart"):
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._autostart = self.create_timer(_LOOK_S, self.guard(self._on_autostart), clock=steady)

    # Hooks: what a capability overrides.

    def prepare(self) -> Any:
        """Loads and warms up the estimator, which `load` then finds in `prepared`. At the start of a process it runs
        in a thread beside those of other nodes, so nothing of ROS is made or changed here. Raises InputError."""

    @abstractmethod
    def load(self) -> None:
        """Makes the publishers with `output`, and whatever else the node needs while configured. Raises InputError."""

    def adopt(self, prepared: Any) -> None:
        """Goes on with this, which `prepare` made, and which may run on another device than the one before. For `load`,
        and the worker's thread."""

    def use_smaller_input(self, smaller: bool) -> bool:
        """Lets the estimator look at fewer pixels of an image, or at all again; whether it can. The worker's thread."""
        return False

    def on_activated(self) -> None:
        """The node has become active: publish what is published once."""

    @abstractmethod
    def compute(self, image_hw3: np.ndarray, camera: Camera | None, frame: Frame) -> Any:
        """The result for one image (RGB uint8, as it came). Runs in the worker thread."""

    @abstractmethod
    def publish(self, result: Any, image_hw3: np.ndarray, camera: Camera | None, frame: Frame) -> Outcome:
        """Publishes a result. Runs in the worker thread. Raises Dropped when a transform it needs is missing."""

    def follow_up(self, frame: Frame) -> None:
        """What an image still asks for once its answer is out, and counted. Runs in the worker thread."""

    def release(self) -> None:
        """Lets go of all that `load` made besides the publishers. Called after a failed load, too."""

    def reset_state(self) -> None:
        """Drops what was kept from earlier frames."""

    def demanded(self) -> bool:
        """Whether anyone wants a result."""
        return any(publisher.get_subscription_count() > 0 for publisher in self._results)

    def diagnostic_values(self) -> dict[str, str]:
        """More values for the diagnostics."""
        return {}

    # What a capability uses.

    def value(self, name: str) -> Any:
        """The present value of a parameter."""
        return self.get_parameter(name).value

    def output(self, kind, topic: str, profile=qos.RESULT_OUT, is_result: bool = True):
        """A publisher that is silent unless the node is active. Subscribers to a result are a reason to work."""
        on_incompatible = self.guard(self.health.on_incompatible(topic))
        events = qos.publisher_events(on_incompatible, self.guard(lambda _: self.meet_demand()))
        publisher = self.create_lifecycle_publisher(kind, topic, profile, event_callbacks=events)
        self._outputs.append(publisher)
        if is_result:
            self._results.append(publisher)
        return publisher

    @property
    def device(self) -> str:
        """Where `prepare` is to load to: what was asked for, or the CPU while there is no memory elsewhere."""
        return "cpu" if self.memory.on_cpu else self.value("device")

    def tell_engine(self, estimator: Any) -> None:
        """Logs what runs the network of an estimator, and lets the diagnostics say it."""
        self._runs_network = estimator
        self.get_logger().info("engine {engine}: {engine because}".format_map(self.engine_values()))

    def engine_values(self) -> dict[str, str]:
        """What runs the network, and why, for the diagnostics."""
        estimator = self._runs_network
        if estimator is None:
            return {"engine": "none"}
        return {"engine": estimator.choice.name, "engine because": estimator.choice.why}

    @property
    def left_behind(self) -> bool:
        """Whether an inference that was asked to stop has not ended."""
        return self._worker.left_behind

    def warn(self, kind: str, sentence: str) -> None:
        """Logs a warning, one of each kind per five seconds."""
        held = self._limiter.allow(kind, time.monotonic())
        if held is not None:
            self.get_logger().warning(sentence + (f" ({held} more like this were not logged)" if held else ""))

    def drop(self, reason: Reason, detail: str) -> None:
        """Counts a frame that is dropped, and warns at a limited rate."""
        self.statistics.rejected(reason, detail, time.monotonic())
        if reason not in (Reason.OUTDATED, Reason.NO_MEMORY):
            self.warn(reason.value, f"dropped a frame ({reason.value}): {detail}")

    def check_epoch(self, frame: Frame) -> None:
        """Raises Dropped when the node was reset or stopped since this frame came: nothing of it is kept or told."""
        if frame.epoch != self.epoch:
            raise Dropped(Reason.OUTDATED, "the node was reset or stopped while it worked on this frame")

    def guard(self, callback: Callable) -> Callable:
        """The callback, but nothing raises out of it: that would end the executor and every node in it."""

        @functools.wraps(callback)
        def guarded(*args):
            try:
                return callback(*args)
            except Exception as error:
                if not self.memory.noticed(error):
                    self.get_logger().error(f"a callback failed:\n{traceback.format_exc()}")
                return None

        return guarded

    # Frames.

    def accept(self, frame: Frame) -> None:
        """Hands a frame to the worker; one that still waits there is replaced."""
        self.pace.accepted(time.monotonic())
        if self._worker.put(frame):
            self.statistics.replaced()

    def meet_demand(self) -> None:
        """Takes images while a result is wanted, and none while not."""
        if self.state != "active":
            return
        wanted = not self.value("lazy") or self.demanded()
        if wanted and not self.images.is_open:
            self.health.open_since_s = time.monotonic()
            self.images.open()
        elif not wanted and self.images.is_open:
            self.images.close()
            self._worker.clear()

    def reset(self, why: str, now_ns: int | None = None) -> None:
        """Forgets every earlier frame, camera and measured value. A frame that is being worked on is not published.

        `now_ns` is the stamp that time jumped back to; a CameraInfo up to then is kept.
        """
        self.epoch += 1
        self.resets, self.last_reset = self.resets + 1, why
        self._worker.clear()
        self.images.clear(now_ns)
        self.statistics.reset(time.monotonic())
        self.health.open_since_s = time.monotonic()
        self.reset_state()
        self.get_logger().info(f"reset: {why}")

    def _work(self, frame: Frame) -> None:
        started_s = time.monotonic()
        if self.pace.is_stale(started_s):
            self.statistics.too_old()
            return
        self.statistics.started(started_s)
        try:
            self.memory.before(frame)
            outcome = self._answer(frame)
            age_s, now_s = (self.get_clock().now().nanoseconds - frame.stamp_ns) * 1e-9, time.monotonic()
            self.statistics.finished(frame.received_s, started_s, now_s, outcome.good, outcome.verdict, age_s)
            self.pace.finished(frame, started_s, now_s)
            self.memory.fitted()
            if frame.epoch == self.epoch:
                self.follow_up(frame)
        except Exception as error:
            self._not_answered(frame, error)
        finally:
            self.statistics.ended()

    def _not_answered(self, frame: Frame, error: Exception) -> None:
        reason, outdated = memory_shortage(error), frame.epoch != self.epoch  # then what it used may be gone by now
        if reason:
            self.memory.failed(reason)
        elif isinstance(error, Dropped):
            self.drop(error.reason, str(error))
            if error.reason is not Reason.NO_MEMORY:
                self.memory.fitted()
        else:
            self.drop(Reason.OUTDATED if outdated else Reason.DEFECT, f"{type(error).__name__}: {error}")
            if not outdated and self._limiter.allow("traceback", time.monotonic()) is not None:
                self.get_logger().error(traceback.format_exc())

    def _answer(self, frame: Frame) -> Outcome:
        try:
            image_hw3 = self.images.decode(frame.message)
        except InputError as error:
            raise Dropped(Reason.BAD_IMAGE, str(error)) from None
        height_px, width_px = image_hw3.shape[:2]
        camera = self.images.camera_of(frame, width_px, height_px) if self.needs_camera else None
        result = self.compute(image_hw3, camera, frame)
        self.check_epoch(frame)
        return self.publish(result, image_hw3, camera, frame)

    # Lifecycle. rclpy swallows what a transition raises, so each is answered here.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        def configure() -> None:
            self._worker.check_ended()
            self.images.configure()
            self.images.cameras.open()  # a CameraInfo that comes once may come before the node is active
            self.memory.on_cpu = False
            self.prepared = self._preparation.take()
            self.load()
            self.memory.configured()
            decode_image(_BLACK)  # the first image must not pay for choosing a decoder
            LifecycleNode.on_configure(self, state)

        self.configuring = True
        try:
            return self._transition("configure", configure, "inactive", undo=self._release)
        finally:
            self.configuring = False

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def activate() -> None:
            self._worker.check_ended()
            LifecycleNode.on_activate(self, state)
            self.statistics.reset(time.monotonic())
            self._worker.start(self.pace.join())
            self.on_activated()

        result = self._transition("activate", activate, "active", undo=self._stop)
        self.guard(self.meet_demand)()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def deactivate() -> None:
            self._stop()
            LifecycleNode.on_deactivate(self, state)

        return self._transition("deactivate", deactivate, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("clean up", self._release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("shut down", self._stop_and_release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        failure = self.failure
        result = self._transition("recover", self._stop_and_release, "unconfigured")
        self.failure = failure or self.failure
        return result

    def _transition(self, name: str, work: Callable, next_state: str, undo: Callable | None = None):
        try:
            work()
        except Exception as error:
            reason = memory_shortage(error)
            if reason:
                give_memory_back()
                error = InputError(f"not enough memory ({reason}); free some, and try again")
            expected = isinstance(error, InputError)
            self.failure = f"cannot {name}: {error if expected else f'{type(error).__name__}: {error}'}"
            self.get_logger().error(self.failure + ("" if expected else f"\n{traceback.format_exc()}"))
            if undo is not None:
                self.guard(undo)()
            return TransitionCallbackReturn.FAILURE if expected else TransitionCallbackReturn.ERROR
        self.state, self.failure = next_state, ""
        self.get_logger().info(f"{name}: done, now {next_state}")
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        self.epoch += 1
        self.images.close()
        self.images.clear()
        self.pace.leave()
        if not self._worker.stop(WORKER_STOP_S):
            self.get_logger().error(f"inference did not end within {WORKER_STOP_S:g} s and was left behind")

    def _release(self) -> None:
        self.images.cameras.close()
        for publisher in self._outputs:
            self.destroy_lifecycle_publisher(publisher)
        self._outputs.clear()
        self._results.clear()
        self.health.forget_incompatible()
        self.prepared = self._runs_network = None
        self.release()
        give_memory_back()

    def _stop_and_release(self) -> None:
        self._stop()
        self._release()

    def _on_autostart(self) -> None:
        if self.state == "unconfigured":
            if not self._preparation.begun:
                self.configuring = True
                self._preparation.begin()
            if not self._preparation.is_done:
                return
        self._autostart.cancel()
        self.configuring = False
        if self.state == "unconfigured" and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.reset("asked by ~/reset")
        response.success, response.message = True, "earlier frames, cameras and values are forgotten"
        return response
