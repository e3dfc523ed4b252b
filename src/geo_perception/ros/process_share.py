"""What the nodes that one executor spins share for computing: whose turn it is, and who gives way."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

from geo_perception.ros.cores import inferences_at_once
from geo_perception.ros.latency_budget import LatencyBudget
from geo_perception.ros.turns import Turns

_shares: WeakKeyDictionary[Any, ProcessShare] = WeakKeyDictionary()
_lock = threading.Lock()


class ProcessShare:
    """The turns and the latency budgets of several nodes."""

    def __init__(self, nodes: int = 1):
        self.turns, self.budget = Turns(inferences_at_once(nodes)), LatencyBudget()


def share_of(node: Any) -> ProcessShare:
    """The share of an rclpy node: one of its own where no executor spins it."""
    executor = node.executor
    if executor is None:
        return ProcessShare()
    with _lock:
        if executor not in _shares:
            _shares[executor] = ProcessShare(len(executor.get_nodes()))
        return _shares[executor]
