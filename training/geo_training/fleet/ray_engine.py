"""Stages as tasks of Ray: on a cluster of this machine that starts by itself, or on one that stands."""

from __future__ import annotations

import atexit
import importlib.util
import os
import socket
import sys
import time
from dataclasses import replace
from typing import Any

from geo_perception.errors import InputError
from geo_training.fleet.engine import Ended
from geo_training.fleet.manifest import Needs
from geo_training.fleet.ray_attempt import Attempt
from geo_training.fleet.worker import StageTask, run_stage

OBJECTS_BYTES = 80 << 20  # stages pass on records; what they make goes through the filesystem
INSTALL = "Ray is not installed; run pip install 'geo_perception[fleet]', or give --workers 0"
_CONNECT_S = 10.0
AHEAD = 2.0  # of a cluster that may grow: how many times what it has is asked for at once
_ASK_HEAD_S, _SILENT_HEAD_S = 2.0, 10.0
_LOST = (
    "its worker was lost {} times, killed or out of memory; give the stage more memory under `needs`, or look into "
    "Ray's log"
)


class RayEngine:
    """Raises InputError when Ray is not installed, or there is no cluster at `address`.

    `workers` are the CPUs of a local cluster. A stage whose worker is lost is run again, at most `retries` times; what
    it answers with, bad data included, is never run again here.
    """

    watched = True

    def __init__(self, workers: int, address: str | None, retries: int):
        self._ray = ray = _load_ray()
        self._retries = retries
        if address not in (None, "auto"):
            _check_address(address)
        try:
            context = ray.init(**_settings(workers, address))
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            where = f"there is no Ray cluster at {address}" if address else "Ray cannot start here"
            token = "; start one, or give this machine its token (~/.ray/auth_token)" if address else ""
            raise InputError(f"{where}: {reason}{token}") from None
        url = getattr(context, "dashboard_url", "") or ""
        self.dashboard_url = f"http://{url}" if url and "://" not in url else url
        self._joined = address is not None
        self._head = _HeadCheck(ray.get_runtime_context().gcs_address)
        self._total = ray.cluster_resources()
        nodes, cpus = sum(node["Alive"] for node in ray.nodes()), self._total.get("CPU", 0)
        self.words = f"on Ray, {nodes} node{'s' * (nodes != 1)} with {cpus:g} CPU{'s' * (cpus != 1)}"
        self._function = ray.remote(run_stage)
        self._running: list[Attempt] = []

    def check(self, stage: str, needs: Needs) -> None:
        """Raises InputError when the local cluster, which is one machine, can never run this. A cluster that was joined
        may grow."""
        if not self._joined and needs.nodes > 1:
            raise InputError(
                f"needs.{stage} asks for {needs.nodes} nodes, and a cluster that starts by itself has this machine "
                "alone; join a cluster of several by --address, or leave nodes out"
            )
        for key, needed in (("CPU", needs.cpu), ("GPU", needs.gpu), ("memory", needs.memory or 0)):
            if not self._joined and needed > self._total.get(key, 0):
                has = self._total.get(key, 0)
                raise InputError(
                    f"needs.{stage} asks for {needed:g} {key}, this machine was given {has:g}; raise --workers, lower "
                    "the need, or join a cluster by --address"
                )

    def fits(self, needs: Needs, running: list[Needs]) -> bool:
        if not running:
            return True
        if self._joined and self._head.answers():  # Ray waits for one that is gone
            self._total = self._ray.cluster_resources()
        ahead = AHEAD if self._joined else 1.0
        together = [*running, needs]
        cpu, gpu = sum(one.nodes * one.cpu for one in together), sum(one.nodes * one.gpu for one in together)
        wanted = (("CPU", cpu), ("GPU", gpu), ("memory", sum(one.nodes * (one.memory or 0) for one in together)))
        return all(amount <= ahead * self._total.get(key, 0) + 1e-9 or not amount for key, amount in wanted)

    def submit(self, task: StageTask) -> None:
        needs: Needs = getattr(task.options.needs, task.stage)
        self._begin(replace(task, quiet=True, device="auto" if needs.gpu else "cpu"), 1)

    def wait(self, timeout_s: float) -> list[Ended]:
        """Raises InputError when the head of the cluster is gone: Ray itself would end this process after a minute."""
        attempts = {reference: attempt for attempt in self._running for reference in attempt.references}
        if attempts:
            if not self._head.answers() and self._head.silent_s > _SILENT_HEAD_S:
                raise InputError(
                    f"the Ray cluster at {self._head.address} no longer answers; start it again, then give the same "
                    "command to go on"
                )
            ready, _ = self._ray.wait(list(attempts), num_returns=1, timeout=timeout_s)
            for reference in ready:
                attempts[reference].take(reference)
        return [end for attempt in list(self._running) if (end := self._ended(attempt)) is not None]

    def close(self) -> None:
        self._running.clear()
        if self._head.silent_s > _SILENT_HEAD_S:
            atexit.register(_end_at_once)  # Ray would wait for the head, too, and then crash
        else:
            self._ray.shutdown()

    def _begin(self, task: StageTask, number: int) -> None:
        needs = getattr(task.options.needs, task.stage)
        self._running.append(Attempt(self._ray, self._function, task, needs, number))

    def _ended(self, attempt: Attempt) -> Ended | None:
        """How the stage ended, where it has; what was lost is begun again, all of it."""
        end = attempt.ended()
        if end is None:
            return None
        self._running.remove(attempt)
        attempt.end()
        if end.record is not None or attempt.defect:
            return end
        if attempt.number > self._retries:
            return replace(end, lost=end.lost or _LOST.format(attempt.number))
        self._begin(attempt.task, attempt.number + 1)
        return None


def _end_at_once() -> None:
    """Ends the process as the error that it ends with does, without what others do at its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class _HeadCheck:
    """Whether the head of a cluster can be connected to, asked every few seconds."""

    def __init__(self, address: str):
        self.address = address
        self._heard_s = self._asked_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """How long it has not answered."""
        return self._asked_s - self._heard_s

    def answers(self) -> bool:
        """Whether it did when it was asked last."""
        if time.monotonic() - self._asked_s >= _ASK_HEAD_S:
            host, _, port = self.address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), _ASK_HEAD_S).close()
                self._heard_s = self._asked_s = time.monotonic()
            except OSError:
                self._asked_s = time.monotonic()
        return self._asked_s == self._heard_s


def _load_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise InputError(INSTALL) from None
    # It would write on standard output, into the table, of every worker that is lost; Ray has no public way to say so.
    ray._private.worker._worker_logs_enabled = False
    return ray


def _check_address(address: str) -> None:
    """Ray itself waits for minutes where nothing listens. Raises InputError when nobody does."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        raise InputError(f"'{address}' is no address of a Ray cluster; give HOST:PORT of its head, or auto")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"there is no Ray cluster at {address}: {reason}; start one with `ray start --head`") from None


def _settings(workers: int, address: str | None) -> dict[str, Any]:
    shared = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address is not None:
        return shared | {"address": address}
    # The dashboard's own packages are no need of ours; without them Ray would start one that shows nothing.
    dashboard = importlib.util.find_spec("aiohttp_cors") is not None
    return shared | {
        "address": "local", "num_cpus": workers, "object_store_memory": OBJECTS_BYTES, "include_dashboard": dashboard,
        "dashboard_host": "127.0.0.1", "_node_ip_address": "127.0.0.1", "_system_config": {"task_oom_retries": 3},
    }  # fmt: skip
