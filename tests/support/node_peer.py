"""The test's side of one node: its diagnostics, its parameters and its lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_support import Peer
from std_srvs.srv import Trigger

_FIELDS = {
    bool: ("BOOL", "bool_value"), int: ("INTEGER", "integer_value"), float: ("DOUBLE", "double_value"),
    str: ("STRING", "string_value"), list: ("DOUBLE_ARRAY", "double_array_value"),
}  # fmt: skip


class NodePeer(Peer):
    """Speaks with the node of this full name, `/namespace/name`."""

    def __init__(self, name: str, peer_name: str = "test_peer"):
        super().__init__(peer_name)
        self.name = name
        self.statuses: list[DiagnosticArray] = self.collect(DiagnosticArray, "/diagnostics")

    def values(self, name: str = "") -> dict[str, str]:
        """The newest diagnostics of the node, or of another one, with `message` and `level` besides the values."""
        wanted = f"{(name or self.name).lstrip('/')}: status"
        for status in (status for array in reversed(self.statuses) for status in array.status):
            if status.name == wanted:
                values = {value.key: value.value for value in status.values}
                return values | {"message": status.message, "level": status.level[0]}
        return {}

    def wait_for(
        self, condition: Callable[[dict[str, str]], bool] = bool, timeout_s: float = 8.0, name: str = ""
    ) -> dict[str, str]:
        """Waits until diagnostics that are published from now on are as wanted, and returns them."""
        self.statuses.clear()
        found = self.spin_until(lambda: bool(self.values(name)) and condition(self.values(name)), timeout_s)
        assert found, self.values(name)
        return self.values(name)

    def wait_for_listeners(self, *publishers, timeout_s: float = 60.0) -> None:
        """Waits until somebody listens to each of these publishers, and a little more: a publisher knows of a listener
        somewhat before the listener hears it."""
        ready = self.spin_until(lambda: all(p.get_subscription_count() > 0 for p in publishers), timeout_s)
        assert ready, f"nobody listens to {[p.topic_name for p in publishers if not p.get_subscription_count()]}"
        self.spin_for(0.2)

    def call_reset(self) -> Trigger.Response:
        return self.call(Trigger, f"{self.name}/reset", Trigger.Request())

    def reset(self) -> None:
        """Resets the node once it has done with every image it took, and empties what was collected."""
        self.wait_for(is_idle)
        self.call_reset()
        self.clear()

    def set(self, name: str, value: object):
        """Sets a parameter and returns the result."""
        kind, field = _FIELDS[type(value)]
        given = ParameterValue(type=getattr(ParameterType, f"PARAMETER_{kind}"), **{field: value})
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=given)])
        return self.call(SetParameters, f"{self.name}/set_parameters", request).results[0]

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, f"{self.name}/change_state", request, 20).success

    def state(self) -> str:
        return self.call(GetState, f"{self.name}/get_state", GetState.Request()).current_state.label


class HostingPeer(NodePeer):
    """A peer whose executor spins a node of this process, too: made by `make`, with these parameters, not started."""

    def __init__(self, make: Callable[..., Any], peer_name: str = "test_peer", **parameters: object):
        super().__init__("", peer_name)
        given = {"autostart": False} | parameters
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in given.items()]
        self.hosted = make(context=self.context, parameter_overrides=overrides)
        self.name = self.hosted.get_fully_qualified_name()
        self.executor.add_node(self.hosted)

    def start(self, *publishers) -> None:
        """Configures and activates the node, and waits until it listens to these publishers."""
        assert self.hosted.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.hosted.trigger_activate() == TransitionCallbackReturn.SUCCESS
        self.wait_for_listeners(*publishers, timeout_s=10)

    def close(self) -> None:
        self.hosted.trigger_shutdown()
        self.hosted.destroy_node()
        super().close()


def is_idle(values: dict[str, str]) -> bool:
    """Whether a node has done with every image it took: one in work would be counted as outlived by a reset."""
    done = (
        "processed",
        "replaced by a newer frame",
        "left out by max_rate_hz",
        "rejected",
        "left out for a latency budget",
        "left out as too old",
    )
    return int(values["received"]) == sum(int(values.get(key, 0)) for key in done)
