"""One attempt at a stage on Ray: a task on one machine, or one on each of several that hold on to each other."""

from __future__ import annotations

import socket
import time
from typing import Any

from geo_training.fleet.engine import Ended
from geo_training.fleet.head import Node
from geo_training.fleet.ledger import DONE, KILLED, StageRecord
from geo_training.fleet.manifest import Needs
from geo_training.fleet.worker import StageTask

_OTHERS_S = 30.0  # that the machines have to end, when the stage has on one


class Attempt:
    """Gives the stage to Ray's workers, each run of `function` once: Ray starts none of them again. Of several machines
    (`needs.nodes`) each has what the stage needs, all at once or none (a placement group), and where the first one
    listens is found out there when it has been given its place."""

    def __init__(self, ray: Any, function: Any, task: StageTask, needs: Needs, number: int):
        self._ray, self.task, self.number = ray, task, number
        self._ends: dict[int, StageRecord | None] = {}  # by machine; None where its worker was lost
        self._told_s: float | None = None
        self.defect = ""
        options = {"num_cpus": needs.cpu, "num_gpus": needs.gpu, "memory": needs.memory, "name": task.title,
                   "max_retries": 0}  # fmt: skip
        if needs.nodes == 1:
            self._group = None
            self._nodes = {function.options(**options).remote(task): 0}
            return
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Place

        bundle = {"CPU": needs.cpu, "GPU": needs.gpu, "memory": needs.memory or 0}
        bundles = [{key: amount for key, amount in bundle.items() if amount}] * needs.nodes
        self._group = placement_group(bundles, strategy="STRICT_SPREAD", name=task.title)
        found = ray.remote(_nodes_from_here).options(
            num_cpus=0, num_returns=needs.nodes, max_retries=0, name=f"{task.title}, meeting",
            scheduling_strategy=Place(self._group, 0),
        ).remote(needs.nodes)  # fmt: skip
        self._nodes = {
            function.options(**options, scheduling_strategy=Place(self._group, rank)).remote(task, node): rank
            for rank, node in enumerate(found)
        }

    @property
    def references(self) -> list[Any]:
        """Of the tasks that have not ended."""
        return list(self._nodes)

    def take(self, reference: Any) -> None:
        """Takes notice of a task that has ended."""
        rank = self._nodes.pop(reference)
        try:
            self._ends[rank] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            self.defect = " ".join(str(error).split())[-500:]
        except self._ray.exceptions.RayError:  # crashed, out of memory, its node gone
            self._ends[rank] = None

    def ended(self) -> Ended | None:
        """How the stage ended, where that is known: by what the first machine says, or by what keeps another from
        helping. Neither a record nor a defect says that it may be begun again."""
        if self.defect:
            return Ended(self.task, None, self.defect)
        ends = [self._ends[rank] for rank in sorted(self._ends)]
        told = [end for end in ends if end is not None and (end.outcome != DONE or end is self._ends.get(0))]
        answers = [end for end in told if end.outcome != KILLED]
        if None in ends and not answers:
            return Ended(self.task, None)
        if not told:
            return None
        # The others end with it, and the line that says why comes from the machine in which it began.
        self._told_s = self._told_s or time.monotonic()
        if self._nodes and time.monotonic() - self._told_s < _OTHERS_S:
            return None
        return Ended(self.task, answers[0]) if answers else Ended(self.task, None, told[0].sentence)

    def end(self) -> None:
        """Ends what runs of it, and lets go of the machines."""
        for reference in self._nodes:
            self._ray.cancel(reference, force=True)
        self._nodes.clear()
        if self._group is not None:
            from ray.util.placement_group import remove_placement_group

            remove_placement_group(self._group)


def _nodes_from_here(count: int) -> list[Node]:
    """The machines that train together, of which this one is the first."""
    import ray.util

    address = ray.util.get_node_ip_address()
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    return [Node(rank, count, address, port) for rank in range(count)]
