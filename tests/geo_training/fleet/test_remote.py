"""Recordings and folders on a disk and in a filesystem that is none."""

import threading
import uuid

import fsspec
import pytest
from geo_training.fleet import remote
from geo_training.fleet.remote import Folder, UnreachableError, answered, fetch, look_at

from geo_perception.errors import InputError


@pytest.fixture
def memory():
    """A URL in memory that no other test has."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path, memory):
    return Folder(str(tmp_path / "place") if request.param == "local" else memory)


def test_what_is_written_is_read_back_whole(folder):
    folder.write("a/b.json", b"first")
    folder.write("a/b.json", b"second")
    assert folder.read("a/b.json") == b"second"
    assert folder.names("a") == ["b.json"]
    folder.write_json("c.json", {"x": float("inf")})
    assert folder.read_json("c.json") == {"x": float("inf")}


def test_what_is_not_there_is_none(folder, tmp_path):
    assert folder.read("a/none") is None
    assert folder.read_json("none.json") is None
    assert folder.names("nowhere") == []
    assert not folder.get("none.tar", tmp_path / "none.tar")
    assert not (tmp_path / "none.tar").exists()
    folder.write("broken.json", b"{")
    assert folder.read_json("broken.json") is None


def test_files_go_there_and_back(folder, tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    folder.put(tmp_path / "x", "deep/er/x")
    assert folder.get("deep/er/x", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"content"


def test_a_recording_is_its_name_and_content_wherever_it_lies(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place / "walk").mkdir(parents=True)
        (tmp_path / place / "walk" / "x.mcap").write_bytes(b"1" * 200_000)
    (tmp_path / "b" / "walk" / ".hidden").write_bytes(b"3")
    first, moved = (look_at(str(tmp_path / place / "walk")) for place in ("a", "b"))
    assert first.digest == moved.digest
    assert (first.files, first.size_bytes, first.name) == (1, 200_000, "walk")
    (tmp_path / "b" / "walk" / "x.mcap").write_bytes(b"1" * 199_999 + b"2")
    assert look_at(str(tmp_path / "b" / "walk")).digest != first.digest


def test_a_recording_elsewhere_is_told_apart_and_fetched(memory, tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe({f"{memory}/bags/walk/x.mcap": b"1" * 70_000, f"{memory}/bags/walk/metadata.yaml": b"m"})
    fs.pipe(f"{memory}/bags/one.mcap", b"alone")
    source = look_at(f"{memory}/bags/walk")
    assert (source.files, source.size_bytes) == (2, 70_001)
    path = fetch(source, tmp_path)
    assert path == tmp_path / "walk"
    assert (path / "x.mcap").read_bytes() == b"1" * 70_000
    assert fetch(look_at(f"{memory}/bags/one.mcap"), tmp_path).read_bytes() == b"alone"
    fs.pipe(f"{memory}/bags/walk/x.mcap", b"1" * 69_999 + b"2")
    assert look_at(f"{memory}/bags/walk").digest != source.digest


class SilentStore(fsspec.get_filesystem_class("memory")):
    """As s3fs before a store that takes requests to write and never answers them."""

    protocol, ever = "silent", threading.Event()

    def pipe_file(self, path, value, **kwargs):
        self.ever.wait(20)

    def put_file(self, lpath, rpath, **kwargs):
        self.ever.wait(20)


def test_what_a_silent_store_is_to_keep_is_given_up_and_a_large_file_gets_longer(memory, tmp_path, monkeypatch):
    fsspec.register_implementation("silent", SilentStore, clobber=True)
    monkeypatch.setattr(remote, "_WRITE_S", 0.1)
    folder = Folder(memory.replace("memory://", "silent://"))
    (tmp_path / "x").write_bytes(b"1" * 20_000)
    with pytest.raises(UnreachableError, match=r"a\.json cannot be used: no answer within 0\.1 s"):
        folder.write("a.json", b"")
    with pytest.raises(UnreachableError, match=r"x cannot be used: no answer within 0\.3 s"):
        folder.put(tmp_path / "x", "x")
    SilentStore.ever.set()


class MarkedFolders(fsspec.get_filesystem_class("memory")):
    """As an object store in whose console somebody made folders: empty objects whose names end with a slash."""

    protocol = "marked"

    def find(self, path, maxdepth=None, withdirs=False, detail=False, **kwargs):
        found = super().find(path, detail=True) | {
            f"{path}/": {"name": f"{path}/", "size": 0, "type": "directory"},
            f"{path}/sub/": {"name": f"{path}/sub/", "size": 0, "type": "file"},
        }
        return found if detail else sorted(found)


def test_folders_made_in_a_console_are_no_files_of_a_recording(memory, tmp_path):
    fsspec.register_implementation("marked", MarkedFolders, clobber=True)
    url = memory.replace("memory://", "marked://")
    fsspec.filesystem("marked").pipe(f"{url}/walk/sub/x.mcap", b"1234")
    source = look_at(f"{url}/walk")
    assert (source.files, source.size_bytes) == (1, 4)
    assert (fetch(source, tmp_path) / "sub" / "x.mcap").read_bytes() == b"1234"


def test_a_recording_that_changes_after_it_was_looked_at_is_not_taken_for_what_it_was(memory, tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe(f"{memory}/walk/x.mcap", b"1" * 100)
    source = look_at(f"{memory}/walk")
    fs.pipe(f"{memory}/walk/x.mcap", b"2" * 100)
    with pytest.raises(UnreachableError, match="has changed since it was looked at"):
        fetch(source, tmp_path)


def test_who_does_not_answer_is_not_waited_for(memory, monkeypatch):
    ever = threading.Event()
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    monkeypatch.setattr(remote, "_files", lambda fs, path: ever.wait(20))
    with pytest.raises(UnreachableError, match=r"cannot be read: no answer within 0\.1 s"):
        look_at(f"{memory}/walk")
    ever.set()
    assert answered(lambda: 7) == 7
    with pytest.raises(KeyError):
        answered(lambda: {}["x"])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{tmp}/none", "does not exist or holds no file"),
        ("memory://none/at/all", "does not exist or holds no file"),
        ("nonsense://x", "cannot be opened"),
    ],
)
def test_what_cannot_be_used_is_answered(tmp_path, url, words):
    with pytest.raises(InputError, match=words) as wrong:
        look_at(url.format(tmp=tmp_path))
    assert "\n" not in str(wrong.value)


def test_a_folder_that_cannot_be_written_is_answered(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be used"):
        Folder(str(tmp_path / "file")).write("a", b"1")
