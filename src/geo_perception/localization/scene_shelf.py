"""The scenes that are in memory: loaded when they are asked, put away when others need the room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Generic, Protocol, TypeVar

from geo_perception.errors import InputError


class Sized(Protocol):
    """What knows how many bytes of memory it takes."""

    def held_bytes(self) -> int: ...


Held = TypeVar("Held", bound=Sized)


class SceneShelf(Generic[Held]):
    """Scenes by name, within `budget_bytes` of memory: the one that was not used for the longest goes first, the
    present one never. A scene is loaded anew once its file has another `stamp`.

    Two that are asked for one frame are both held for it, even where they take more.
    """

    def __init__(self, load: Callable[[str], Held], stamp_of: Callable[[str], object], budget_bytes: int):
        self.budget_bytes = budget_bytes
        self.problems: dict[str, str] = {}  # of files that could not be loaded, or not anew, by scene
        self.loads = 0
        self._load, self._stamp_of = load, stamp_of
        self._held: OrderedDict[str, tuple[object, Held, int]] = OrderedDict()  # the last one used last
        self._refused: dict[str, object] = {}  # the stamps of the files that cannot be used

    def __contains__(self, name: str) -> bool:
        return name in self._held

    @property
    def names(self) -> tuple[str, ...]:
        """What is held, the one used last at the end."""
        return tuple(self._held)

    @property
    def held_bytes(self) -> int:
        return sum(size for _, _, size in self._held.values())

    def take(self, name: str, present: str | None) -> Held | None:
        """A scene to be used now; None where its file cannot be. One that is held goes on where its new file is
        broken or gone. `present` stays, whatever room is needed."""
        stamp = self._stamp_of(name)
        held = self._held.get(name)
        if (held is None or held[0] != stamp) and not (name in self._refused and self._refused[name] == stamp):
            try:
                loaded = self._load(name)
            except InputError as problem:
                self._refused[name], self.problems[name] = stamp, str(problem)
            else:
                self.loads += 1
                self._refused.pop(name, None)
                self.problems.pop(name, None)
                held = self._held[name] = stamp, loaded, loaded.held_bytes()
        if held is None:
            return None
        self._held.move_to_end(name)
        self.trim({name, present})
        return held[1]

    def trim(self, keep: set[str | None]) -> None:
        """Puts away what is over the budget, but none of `keep`."""
        for name in [name for name in self._held if name not in keep]:
            if self.held_bytes <= self.budget_bytes:
                return
            del self._held[name]

    def keep(self, names: Collection[str]) -> None:
        """Lets go of every other scene."""
        for name in [name for name in self._held if name not in names]:
            del self._held[name]
        for name in [name for name in (*self.problems, *self._refused) if name not in names]:
            self.again(name)

    def again(self, name: str) -> None:
        """The file of a scene is another: what was wrong with the former one no longer counts."""
        self.problems.pop(name, None)
        self._refused.pop(name, None)
