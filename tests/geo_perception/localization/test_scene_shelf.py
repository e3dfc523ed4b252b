"""Scenes in memory within a budget: who goes first, who never goes, and what happens when files are replaced."""

from dataclasses import dataclass

import pytest

from geo_perception.errors import InputError
from geo_perception.localization.scene_shelf import SceneShelf


@dataclass
class Held:
    name: str
    version: int
    size: int = 10

    def held_bytes(self) -> int:
        return self.size


class Disk:
    """Files by name with a version each, as the shelf sees them."""

    def __init__(self, names: str, budget: int):
        self.versions: dict[str, int | None] = dict.fromkeys(names, 1)
        self.broken: set[str] = set()
        self.shelf: SceneShelf[Held] = SceneShelf(self._load, lambda name: self.versions[name], budget)

    def _load(self, name: str) -> Held:
        version = self.versions[name]
        if version is None or name in self.broken:
            raise InputError(f"{name} is damaged; copy it again")
        return Held(name, version)


def test_scenes_are_loaded_when_asked_and_once():
    disk = Disk("abc", 100)
    assert disk.shelf.names == ()
    first = disk.shelf.take("a", None)
    assert disk.shelf.take("a", None) is first
    assert (disk.shelf.loads, disk.shelf.held_bytes) == (1, 10)


def test_the_one_not_used_for_the_longest_goes_first_and_the_budget_is_kept():
    disk = Disk("abcd", 30)
    for name in "abc":
        disk.shelf.take(name, None)
    disk.shelf.take("a", None)
    disk.shelf.take("d", None)
    assert disk.shelf.names == ("c", "a", "d")
    assert disk.shelf.held_bytes == 30


def test_the_present_scene_never_goes():
    disk = Disk("abcd", 20)
    disk.shelf.take("a", "a")
    for name in "bcdbcd":
        disk.shelf.take(name, "a")
        assert "a" in disk.shelf
        assert disk.shelf.held_bytes <= 20
    assert disk.shelf.loads == 7


def test_two_that_are_compared_are_held_over_a_small_budget_and_one_after_it():
    disk = Disk("ab", 5)
    disk.shelf.take("a", "a")
    disk.shelf.take("b", "a")
    assert set(disk.shelf.names) == {"a", "b"}
    disk.shelf.trim({"a"})
    assert disk.shelf.names == ("a",)


def test_a_replaced_file_is_loaded_anew():
    disk = Disk("a", 100)
    assert disk.shelf.take("a", "a").version == 1
    disk.versions["a"] = 2
    assert disk.shelf.take("a", "a").version == 2
    assert disk.shelf.held_bytes == 10


@pytest.mark.parametrize("version", [2, None])
def test_a_copy_in_memory_goes_on_where_its_file_is_broken_or_gone_and_the_problem_is_told(version):
    disk = Disk("a", 100)
    held = disk.shelf.take("a", "a")
    disk.versions["a"] = version
    disk.broken.add("a")
    assert disk.shelf.take("a", "a") is held
    assert disk.shelf.problems == {"a": "a is damaged; copy it again"}
    disk.broken.clear()
    disk.versions["a"] = 3
    assert disk.shelf.take("a", "a").version == 3
    assert disk.shelf.problems == {}


def test_a_file_that_cannot_be_used_is_read_again_only_when_it_was_replaced():
    disk = Disk("a", 100)
    disk.broken.add("a")
    read = []
    disk.shelf._load = lambda name: read.append(name) or disk._load(name)
    assert disk.shelf.take("a", None) is None
    assert disk.shelf.take("a", None) is None
    assert read == ["a"]
    disk.broken.clear()
    disk.versions["a"] = 2
    assert disk.shelf.take("a", None).version == 2
