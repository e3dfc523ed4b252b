"""A disk budget: what was not used for longest goes, what is in use stays."""

import threading
import time

import pytest
from geo_training.fleet.cache import DiskCache, folder_bytes

from geo_perception.errors import InputError


def fill(cache, key, size_bytes):
    with cache.hold(key) as folder:
        (folder / "data").write_bytes(b"x" * size_bytes)


def kept(cache):
    return {path.name for path in cache.folder.iterdir() if path.is_dir()}


def test_the_least_recently_used_goes_when_the_budget_is_spent(tmp_path):
    cache = DiskCache(tmp_path / "cache", 2500)
    for key in ("a", "b"):
        fill(cache, key, 1000)
        time.sleep(0.01)
    fill(cache, "a", 1000)  # used again
    fill(cache, "c", 1000)
    assert kept(cache) == {"a", "c"}


def test_what_is_held_is_not_removed_however_old(tmp_path):
    cache = DiskCache(tmp_path / "cache", 1500)
    fill(cache, "old", 1000)
    with cache.hold("old") as folder:
        fill(cache, "new", 1000)
        assert (folder / "data").is_file()
    assert folder_bytes(tmp_path / "cache") < 1500 + 1000


def test_room_is_made_before_it_is_taken(tmp_path):
    cache = DiskCache(tmp_path / "cache", 2500)
    fill(cache, "a", 1000)
    fill(cache, "b", 1000)
    cache.make_room(2000, "a recording")
    assert len(kept(cache)) == 0
    with pytest.raises(InputError, match=r"a recording takes .* raise --disk"):
        cache.make_room(2501, "a recording")


def test_what_a_killed_worker_left_counts_and_goes(tmp_path):
    cache = DiskCache(tmp_path / "cache", 1500)
    (tmp_path / "cache" / "left").mkdir(parents=True)
    (tmp_path / "cache" / "left" / "data").write_bytes(b"x" * 1000)
    fill(cache, "new", 1000)
    assert kept(cache) == {"new"}


def test_two_workers_do_not_hold_the_same_folder(tmp_path):
    cache, order = DiskCache(tmp_path / "cache", 10**6), []

    def other():
        with cache.hold("a"):
            order.append("other")

    with cache.hold("a"):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "other"]
