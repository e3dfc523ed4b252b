"""The head of a Ray cluster that stands: asked every few seconds, and told when it is gone."""

import socket
from types import SimpleNamespace

import pytest
from geo_training.fleet import ray_engine
from geo_training.fleet.ray_engine import RayEngine, _HeadCheck

from geo_perception.errors import InputError


@pytest.fixture
def clock(monkeypatch):
    """The time that the check sees; tests move it."""
    now = [100.0]
    monkeypatch.setattr(ray_engine.time, "monotonic", lambda: now[0])
    return now


def test_a_head_that_is_gone_is_silent_for_as_long_as_it_is(clock):
    with socket.create_server(("127.0.0.1", 0)) as server:
        head = _HeadCheck(f"127.0.0.1:{server.getsockname()[1]}")
        clock[0] += 5
        assert (head.answers(), head.silent_s) == (True, 0.0)
    clock[0] += 1
    assert head.answers()  # it was asked a second ago
    for passed_s in (2, 4, 11):
        clock[0] = 105 + passed_s
        assert (head.answers(), head.silent_s) == (False, float(passed_s))
    with socket.create_server(("127.0.0.1", int(head.address.split(":")[1]))):
        clock[0] += 3
        assert (head.answers(), head.silent_s) == (True, 0.0)


def test_a_fleet_ends_when_its_cluster_has_no_head_any_more(clock, monkeypatch):
    engine = object.__new__(RayEngine)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    runs = SimpleNamespace(references=["reference"], ended=lambda: None)
    engine._head, engine._running = _HeadCheck(f"127.0.0.1:{port}"), [runs]
    engine._ray = type("NoRay", (), {"wait": lambda *given, **more: ([], [])})
    clock[0] += 9
    assert engine.wait(0.0) == []  # it may come back
    clock[0] += 3
    with pytest.raises(InputError, match=f"the Ray cluster at 127.0.0.1:{port} no longer answers; start it again"):
        engine.wait(0.0)
    ends = []
    monkeypatch.setattr(ray_engine.atexit, "register", ends.append)
    engine.close()  # and does not wait for the head
    assert ends == [ray_engine._end_at_once]
