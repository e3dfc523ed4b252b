"""An executor that goes on when a message cannot be taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.executors import SingleThreadedExecutor


class TakingExecutor(SingleThreadedExecutor):
    """rclpy's, but what is raised while a message is taken (one that cannot be made a Python object, since memory is
    short, say) is told to `on_lost` as (topic, error), and the message is lost.

    rclpy itself leaves the callback group of that subscription taken for ever: none of the node's callbacks would run
    again, and nobody would say so.
    """

    def __init__(self, on_lost: Callable[[str, Exception], None], **kwargs: Any):
        super().__init__(**kwargs)
        self._on_lost = on_lost

    def _take_subscription(self, sub: Any) -> Any:
        return self._taken(super()._take_subscription, sub, "topic_name")

    def _take_service(self, srv: Any) -> Any:
        return self._taken(super()._take_service, srv, "srv_name")

    def _take_client(self, client: Any) -> Any:
        return self._taken(super()._take_client, client, "srv_name")

    def _take_waitable(self, waitable: Any) -> Any:
        return self._taken(super()._take_waitable, waitable, "")

    def _take_timer(self, tmr: Any) -> Any:
        return self._taken(super()._take_timer, tmr, "")

    def _taken(self, take: Callable[[Any], Any], entity: Any, named: str) -> Any:
        try:
            return take(entity)
        except Exception as error:
            self._on_lost(str(getattr(entity, named, "")) if named else "a timer", error)
            return None
