"""The latest scenes of a registry in a folder: what is fetched, what is not, and what stays as it was."""

import hashlib
import json
import threading
import uuid

import pytest
from command_line import invoke
from geo_training.cli import train
from geo_training.fleet import remote
from geo_training.fleet.fetching import fetch_scene, published_places
from geo_training.fleet.remote import Folder
from two_scenes import LEFT, RIGHT

from geo_perception.errors import InputError
from geo_perception.localization.scene_folder import read_scene_folder


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    return Folder(str(tmp_path / "registry") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def publish(registry, place, version, scene: bytes, **provenance):
    """As the fleet leaves it."""
    content = {"scene_bytes": len(scene), "scene_sha256": hashlib.sha256(scene).hexdigest()} | provenance
    registry.write(f"{place}/{version}/scene.safetensors", scene)
    registry.write(f"{place}/{version}/provenance.json", json.dumps(content).encode())
    registry.write(f"{place}/latest", f"{version}\n".encode())


def test_only_what_changed_is_fetched(registry, tmp_path, monkeypatch):
    out = tmp_path / "scenes"
    out.mkdir()
    publish(registry, "one", "v1", b"first")
    publish(registry, "two", "v1", b"second")
    registry.write("fleet.json", b"{}")
    registry.write(".fleet/three/latest", b"v1")  # the store is no place
    assert published_places(registry) == ["one", "two"]
    assert [fetch_scene(registry, place, out).outcome for place in ("one", "two")] == ["new", "new"]
    publish(registry, "two", "v2", b"other!")  # of the same size
    got = []
    get = Folder.get
    monkeypatch.setattr(Folder, "get", lambda self, name, target: got.append(name) or get(self, name, target))
    fetched = [fetch_scene(registry, place, out) for place in ("one", "two")]
    assert [(scene.outcome, scene.version) for scene in fetched] == [("the same", "v1"), ("replaced", "v2")]
    assert got == ["two/v2/scene.safetensors"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "one.safetensors": b"first", "two.safetensors": b"other!",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda r: r.write("one/v2/scene.safetensors", b"changee"), "not what its provenance says"),
        (lambda r: r.write("one/v2/scene.safetensors", b"chan"), "not what its provenance says"),
        (lambda r: r.write("one/v2/provenance.json", b'{"scene_bytes": 7'), "missing or damaged"),
        (lambda r: r.write("one/latest", b"v3"), "v3/provenance.json is missing"),
        (lambda r: r.write("one/latest", b""), "never published"),
    ],
)
def test_what_does_not_arrive_whole_leaves_what_was_there(registry, tmp_path, harm, words):
    publish(registry, "one", "v1", b"first")
    fetch_scene(registry, "one", tmp_path)
    publish(registry, "one", "v2", b"changed")
    harm(registry)
    failed = fetch_scene(registry, "one", tmp_path)
    assert failed.outcome == "failed"
    assert words in failed.why
    assert "\n" not in failed.why
    assert (tmp_path / "one.safetensors").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one.safetensors"]


def test_a_name_that_is_no_place_leads_nowhere(registry, tmp_path):
    publish(registry, "one", "v1", b"first")
    assert fetch_scene(registry, "../one", tmp_path / "deep").outcome == "failed"
    assert not (tmp_path / "one.safetensors").exists()


def test_an_empty_registry_is_answered(registry):
    with pytest.raises(InputError, match="holds no published place"):
        published_places(registry)


def test_a_silent_registry_is_answered_in_time(registry, monkeypatch):
    ever = threading.Event()
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    monkeypatch.setattr(Folder, "names", lambda self, name="": ever.wait(20))
    with pytest.raises(InputError, match=r"no answer within 0\.1 s"):
        published_places(registry)
    ever.set()


def test_the_command_makes_a_folder_that_the_node_takes(two_scenes, tmp_path):
    registry, out = Folder(str(tmp_path / "registry")), tmp_path / "out"
    for name in (LEFT, RIGHT):
        publish(registry, name, "v1", (two_scenes.folder / f"{name}.safetensors").read_bytes())
    done = invoke(train, "fetch", registry.url, "--out", out, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    assert list(read_scene_folder(out).scenes) == [LEFT, RIGHT]
    assert json.loads((tmp_path / "out.json").read_text())["places"][RIGHT]["outcome"] == "new"
    wrong = invoke(train, "fetch", registry.url, RIGHT, "three", "--out", out)
    assert (wrong.exit_code, "three was never published" in wrong.output) == (1, True)
    publish(registry, RIGHT, "v2", b"no scene at all")
    wrong = invoke(train, "fetch", registry.url, "--out", out)
    assert (wrong.exit_code, "cannot be used" in wrong.output) == (1, True)
    into_itself = invoke(train, "fetch", registry.url, "--out", registry.url)
    assert (into_itself.exit_code, "it is the registry itself" in into_itself.output) == (2, True)
