"""The head of a place on a real Ray cluster of two nodes, each with a raylet of its own: what one process learns, and
what becomes of it when one of the two ends."""

import json
import shutil
import time

import psutil
import pytest
import torch
from geo_training.fleet.driver import open_fleet
from geo_training.fleet.manifest import Manifest
from geo_training.fleet.ray_engine import RayEngine, _load_ray
from tiny_fleet import OPTIONS, record_place, write_manifest

from geo_perception.localization.scene import Scene

HEAD = {
    "steps": 24,
    "config": {"network_width_px": 320, "width": 32, "dilations": [1, 2], "fine_width": 16, "views": 2, "batch": 4,
               "evaluations": 12, "held_out": 0.0, "closed_form_frames": 12},
}  # fmt: skip
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node."""
    _load_ray()
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as monkeypatch:
        # In float32, as the other test of several processes.
        for name, value in {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}.items():
            monkeypatch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def one_process(cluster, tmp_path_factory):
    """A place that one process has taken to its scene: its recordings, the fleet that remembers it, and the scene."""
    folder = tmp_path_factory.mktemp("one_process")
    recording, held_out = record_place(folder, "hall", 0)
    places = {"hall": {"recordings": [str(recording)], "held_out": str(held_out)}}
    engine = RayEngine(0, cluster.address, retries=0)
    state = drive(folder, places, engine)
    engine.close()
    assert state.outcome == "published", state.sentence
    return folder, places, scene_of(folder, state)


@pytest.fixture
def engine(cluster):
    engine = RayEngine(0, cluster.address, retries=1)
    yield engine
    engine.close()


class Troubled:
    """An engine that is waited for in short turns, until `happens` returns true."""

    def __init__(self, engine, happens):
        self._engine, self._happens, self.happened = engine, happens, False
        self.fits, self.submit = engine.fits, engine.submit

    def wait(self, timeout_s):
        self.happened = self.happened or self._happens()
        return self._engine.wait(timeout_s if self.happened else 0.05)


def drive(folder, places, engine, **needs):
    options = OPTIONS | {"head": HEAD, "needs": {"head": needs}}
    manifest = Manifest.read(write_manifest(folder / "manifest.yaml", places, options))
    fleet = open_fleet(str(folder / "registry"), None, folder / "cache", 10**9, several_processes=True)
    (state,) = fleet.places(manifest)
    fleet.run([state], engine, lambda state: None)
    return state


def scene_of(folder, state):
    return folder / "registry" / state.name / state.version / "scene.safetensors"


def without_its_head(one_process, folder):
    """The place with all that was done of it before the head, in a store of its own."""
    source, places, _ = one_process
    store = folder / "registry" / ".fleet"
    shutil.copytree(source / "registry" / ".fleet", store)
    shutil.rmtree(store / "hall" / "runs")
    for stage in ("head", "evaluation", "gate", "publish"):
        for path in store.glob(f"hall/*/{stage}-*"):
            path.unlink()
    return places


def runs_of_head(folder):
    runs = [json.loads(path.read_text()) for path in (folder / "registry" / ".fleet" / "hall" / "runs").glob("head-*")]
    return sorted(runs, key=lambda run: (run["node"], run["started_at"]))


def assert_same_scene(found, expected):
    found, expected = Scene.load(found), Scene.load(expected)
    one_n, other_n = (
        torch.nn.utils.parameters_to_vector(scene.head.parameters()).detach() for scene in (found, expected)
    )
    assert float((other_n - one_n).norm()) < 0.02 * float(one_n.norm())
    assert len(found.points) == len(expected.points)


@pytest.mark.slow
def test_two_machines_train_the_head_of_one_process_when_the_second_has_come(one_process, engine, cluster, tmp_path):
    places = without_its_head(one_process, tmp_path)
    began_s = time.monotonic()

    def grows():
        if time.monotonic() - began_s < 4:
            return False
        assert runs_of_head(tmp_path) == []
        cluster.add_node(**NODE)
        return True

    state = drive(tmp_path, places, Troubled(engine, grows), nodes=2)
    assert state.outcome == "published", state.sentence
    assert state.ran == ["head", "evaluation", "gate", "publish"]  # what it needs of machines changes nothing before it
    assert_same_scene(scene_of(tmp_path, state), one_process[2])
    runs = runs_of_head(tmp_path)
    assert [(run["node"], run["outcome"]) for run in runs] == [(0, "done"), (1, "done")]
    # The helper had only what the store has, and wrote nothing.
    (first, second) = sorted((tmp_path / "cache").glob("hall-*/"), key=lambda path: len(path.name))
    assert (first / "scene.safetensors").is_file()
    assert {path.name for path in second.iterdir()} == {"have.json", "dataset", "check.json", "scene.config.yaml"}
    # Nothing starts twice.
    again = drive(tmp_path, places, engine, nodes=2)
    assert (again.outcome, again.ran) == ("published", [])


def history(folder):
    (path,) = (folder / "cache").glob("hall-*/scene.safetensors.run/history.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("node", "what"), [(1, "process"), (0, "worker"), (None, "machine")])
def test_what_is_lost_goes_on_from_the_first_ones_checkpoint(one_process, engine, cluster, tmp_path, node, what):
    places = without_its_head(one_process, tmp_path)
    if len(cluster.list_all_nodes()) == 1:
        cluster.add_node(**NODE)
    before = []

    def is_lost():
        if not list((tmp_path / "cache").glob("hall-*/scene.safetensors.run/checkpoint.safetensors")):
            return False
        before.extend(history(tmp_path)[:2])
        workers = {run["node"]: psutil.Process(run["pid"]) for run in runs_of_head(tmp_path)}
        worker = workers.get(node)
        if what == "machine":
            (second,) = [one for one in cluster.list_all_nodes() if one is not cluster.head_node]
            raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
            (worker,) = [one for one in workers.values() if raylet in one.parents()]
            for one in [*worker.children(recursive=True), worker]:  # at once, as on a machine without power
                one.kill()
            cluster.remove_node(second, allow_graceful=False)
            cluster.add_node(**NODE)
        elif what == "worker":
            worker.kill()
        else:
            launched = worker.children(recursive=True)
            next(one for one in launched if "torch.distributed.run" not in one.cmdline()).kill()
        return True

    state = drive(tmp_path, places, Troubled(engine, is_lost), nodes=2)
    assert state.outcome == "published", state.sentence
    assert_same_scene(scene_of(tmp_path, state), one_process[2])
    runs = runs_of_head(tmp_path)
    assert [run["node"] for run in runs] == [0, 0, 1, 1]
    assert [run.get("outcome") for run in runs][1::2] == ["done", "done"]
    assert "done" not in [run.get("outcome") for run in runs][::2]
    # The steps before are those of the first attempt, with the seconds that they took then.
    assert before == history(tmp_path)[:2]
    assert [row["step"] for row in history(tmp_path)] == [0, *range(2, 25, 2)]
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or ())]
