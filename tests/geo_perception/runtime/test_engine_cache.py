"""What engines compiled, on the disk: found again, or not there at all."""

import os

import pytest

from geo_perception.runtime import engine_cache
from geo_perception.runtime.engine_cache import cache_folder, cache_key, keep_cached, read_cached


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv(engine_cache.CACHE_VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_what_is_kept_is_read_again_and_nothing_else(folder):
    keep_cached("a", b"compiled")
    assert (read_cached("a"), read_cached("b")) == (b"compiled", None)
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert read_cached("a") is None


def test_the_ones_not_used_for_longest_go(monkeypatch, folder):
    monkeypatch.setattr(engine_cache, "_FILES", 2)
    for name in ("old", "used", "new"):
        keep_cached(name, name.encode())
        if name == "used":
            assert read_cached("old") == b"old"
            os.utime(folder / "used.compiled", (1, 1))
    assert read_cached("used") is None
    assert (read_cached("old"), read_cached("new")) == (b"old", b"new")


def test_a_key_is_of_its_parts_and_of_the_threads(monkeypatch):
    before = cache_key("openvino", (192, 256))
    assert before == cache_key("openvino", (192, 256))
    assert before != cache_key("openvino", (192, 320))
    monkeypatch.setattr(engine_cache.torch, "get_num_threads", lambda: 61)
    assert before != cache_key("openvino", (192, 256))
    monkeypatch.undo()
    monkeypatch.setattr(engine_cache, "_code", lambda: "other code")
    assert before != cache_key("openvino", (192, 256))


def test_without_a_disk_nothing_is_kept_and_nothing_raised(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(engine_cache.CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    keep_cached("a", b"compiled")
    assert read_cached("a") is None


def test_the_folder_is_the_users_unless_one_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv(engine_cache.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "geo_perception"
