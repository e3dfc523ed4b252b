"""What the nodes of a graph answer when they are asked: parameters and lifecycle states. Nothing is changed by it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from geo_training.evaluation.doctor.snapshot import CALIBRATION, DEPTH, LOCALIZATION

ASK_AGAIN_S = 1.0
MUTE_S = 3.0  # a node that has not said its state for so long does not answer
# A parameter that no other kind of node has.
_MARKS = {"driver_camera": CALIBRATION, "agreeing_frames": LOCALIZATION, "depth_encoding": DEPTH}
_LIFECYCLE = "lifecycle_msgs/srv/GetState"


@dataclass
class Answers:
    """What one node has said so far. `names` is None until it has listed its parameters."""

    name: str
    lifecycle: bool
    capability: str = ""
    state: str = ""
    stated_s: float = 0.0  # when it said so, on the monotonic clock
    use_sim_time: bool | None = None
    names: list[str] | None = None
    parameters: dict[str, Any] | None = None
    asked: dict[str, tuple[float, Any]] = field(default_factory=dict)  # by question: when, and the future

    @property
    def present_state(self) -> str:
        """Its lifecycle state; empty where it does not answer any more."""
        return self.state if time.monotonic() - self.stated_s <= MUTE_S else ""

    @property
    def known(self) -> bool:
        """Whether it is known if this is a perception node."""
        return not self.lifecycle or self.names is not None


class Questions:
    """Asks each node what it is, by an rclpy node that somebody else spins."""

    def __init__(self, node):
        self._node = node
        self._clients: dict[tuple[str, str], Any] = {}
        self.answers: dict[str, Answers] = {}

    def go_on(self, names: list[str]) -> None:
        """Asks what is not answered yet, and for the states anew."""
        services = dict(self._node.get_service_names_and_types())
        for name in names:
            lifecycle = _LIFECYCLE in services.get(f"{name}/get_state", ())
            answers = self.answers.setdefault(name, Answers(name, lifecycle))
            answers.lifecycle = answers.lifecycle or lifecycle
            answers.capability = answers.capability or _by_name(answers)
            if f"{name}/get_parameters" in services:
                self._ask_parameters(answers)
            if answers.lifecycle:
                self._ask_state(answers)

    def _ask_parameters(self, answers: Answers) -> None:
        from rcl_interfaces.srv import GetParameters, ListParameters

        if answers.use_sim_time is None:
            request = GetParameters.Request(names=["use_sim_time"])

            def on_clock(response) -> None:
                answers.use_sim_time = bool(response.values[0].bool_value) if response.values else False

            self._ask(answers, "clock", GetParameters, "get_parameters", request, on_clock)
        if not answers.lifecycle:
            return
        if answers.names is None:

            def on_names(response) -> None:
                answers.names = list(response.result.names)
                marks = [capability for mark, capability in _MARKS.items() if mark in answers.names]
                answers.capability = marks[0] if marks else ""

            self._ask(answers, "names", ListParameters, "list_parameters", ListParameters.Request(), on_names)
        elif answers.capability and answers.parameters is None:
            asked = list(answers.names)

            def on_values(response) -> None:
                if len(response.values) == len(asked):
                    answers.parameters = dict(zip(asked, map(_value, response.values), strict=True))

            request = GetParameters.Request(names=asked)
            self._ask(answers, "values", GetParameters, "get_parameters", request, on_values)

    def _ask_state(self, answers: Answers) -> None:
        from lifecycle_msgs.srv import GetState

        def on_state(response) -> None:
            answers.state, answers.stated_s = response.current_state.label, time.monotonic()

        self._ask(answers, "state", GetState, "get_state", GetState.Request(), on_state)

    def _ask(self, answers: Answers, question: str, kind, service: str, request, on_answer) -> None:
        """One question of each kind at a time, and again after a while: an answer may be lost."""
        asked_s, future = answers.asked.get(question, (0.0, None))
        if future is not None and time.monotonic() - asked_s < ASK_AGAIN_S:
            return
        key = answers.name, service
        if key not in self._clients:
            self._clients[key] = self._node.create_client(kind, f"{answers.name}/{service}")
        client = self._clients[key]
        if not client.service_is_ready():
            return
        future = client.call_async(request)

        def done(done_future) -> None:
            if not done_future.cancelled() and done_future.exception() is None and done_future.result() is not None:
                on_answer(done_future.result())

        future.add_done_callback(done)
        answers.asked[question] = time.monotonic(), future


def _by_name(answers: Answers) -> str:
    """While a node loads its model it answers nothing; then its usual name tells what it is."""
    if not answers.lifecycle or answers.names is not None:
        return ""
    last = answers.name.rpartition("/")[2]
    return next((kind for kind in (CALIBRATION, LOCALIZATION, DEPTH) if last == f"{kind}_node"), "")


def _value(message) -> Any:
    from rclpy.parameter import parameter_value_to_python

    value = parameter_value_to_python(message)
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
