"""What rclpy leaves out of a lifecycle node's services."""

from __future__ import annotations

from typing import Any


def answer_forbidden_transitions(node: Any) -> None:
    """From now on who asks for a transition that the present state does not allow is told that it did not happen.

    rclpy raises out of its own service then and sends no answer, so that they wait for one. Where its internals are
    others, all stays as it is.
    """
    service = getattr(node, "_service_change_state", None)
    change = getattr(service, "callback", None)
    if change is None:
        return

    def answer(request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except Exception as error:
            reason = str(error).split(", at ")[0].split("\n")[0]
            node.get_logger().warning(f"transition {request.transition.id} was asked for and did not happen: {reason}")
            response.success = False
            return response

    service.callback = answer
