"""What a real Ray cluster of this machine is asked for, and what becomes of stages whose workers end."""

import os
import signal
import time
from pathlib import Path

import pytest
from geo_training.fleet.cache import DiskCache
from geo_training.fleet.ledger import DONE, Ledger, StageRecord
from geo_training.fleet.manifest import Needs, Options
from geo_training.fleet.ray_engine import RayEngine
from geo_training.fleet.remote import Folder, Source
from geo_training.fleet.worker import StageTask

from geo_perception.errors import InputError


@pytest.fixture(scope="module")
def engine():
    engine = RayEngine(2, None, retries=1)
    yield engine
    engine.close()


def task(tmp_path, place):
    folder, source = Folder(str(tmp_path)), Source("a", "0", 1, 1)
    cache = DiskCache(tmp_path, 10**6)
    return StageTask(place, "map", {"map": "f"}, Options(), (source,), source, Ledger(folder), folder, cache)


def ended(engine, count):
    found, deadline_s = [], time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline_s:
        found += engine.wait(0.5)
    return found


@pytest.mark.slow
def test_what_the_machine_has_not_is_refused_and_the_rest_fits_side_by_side(engine):
    assert engine.words == "on Ray, 1 node with 2 CPUs"
    engine.check("map", Needs(cpu=2))
    with pytest.raises(InputError, match=r"needs.head asks for 1 GPU, this machine was given 0"):
        engine.check("head", Needs(gpu=1))
    with pytest.raises(InputError, match=r"needs.map asks for 3 CPU"):
        engine.check("map", Needs(cpu=3))
    with pytest.raises(InputError, match=r"needs.map asks for 1e\+15 memory"):
        engine.check("map", Needs(memory=10**15))
    with pytest.raises(InputError, match=r"needs.head asks for 2 nodes, and a cluster that starts by itself has this"):
        engine.check("head", Needs(nodes=2))
    one = Needs()
    assert engine.fits(one, [one])
    assert not engine.fits(one, [one, one])
    assert engine.fits(Needs(cpu=0.1), [one, Needs(cpu=0.9)])
    assert not engine.fits(Needs(nodes=2, cpu=0.6), [one])


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_one_that_never_lives_ends_its_stage_alone(engine, tmp_path, monkeypatch, capfd):
    def run(task):
        """Notes that it was begun; two places end their worker, one of them only the first time."""
        path = Path(task.cache.folder) / task.place
        begun = path.read_text() if path.exists() else ""
        path.write_text(begun + "x")
        if task.place == "never" or (task.place == "once" and not begun):
            os.kill(os.getpid(), signal.SIGKILL)
        assert task.quiet
        assert os.environ["OMP_NUM_THREADS"] == "1"
        return StageRecord(task.place, task.stage, task.fingerprint, DONE)

    monkeypatch.setattr(engine, "_function", engine._ray.remote(run))
    for place in ("never", "once", "good"):
        engine.submit(task(tmp_path, place))
    found = {one.task.place: one for one in ended(engine, 3)}
    assert found["good"].record.done
    assert found["once"].record.done
    assert found["never"].record is None
    assert found["never"].lost.startswith("its worker was lost 2 times, killed or out of memory")
    begun = {place: (tmp_path / place).read_text() for place in ("never", "once", "good")}
    assert begun == {"never": "xx", "once": "xx", "good": "x"}
    time.sleep(0.5)
    assert capfd.readouterr() == ("", "")  # whoever drives says what is to be said
