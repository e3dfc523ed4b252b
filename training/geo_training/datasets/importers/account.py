"""What a source holds, and what of it was not taken: nothing is left out without a word."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from geo_perception.errors import InputError
from geo_training.datasets.tally import Tally

KINDS = {"images": "images", "poses": "poses", "depth": "depth images", "masks": "masks"}
CUT_SHORT = "cut short"
NOT_READ = "cannot be read as images"
OTHER_SHAPE = "of another shape than their camera"
OWN_IMAGE = "whose image was left out"
BAD_POSE = "no rigid pose"
IGNORED_PIXELS = "that say which pixels to leave out, not which object"
NO_IMAGE = "of no image"


@dataclass
class Account:
    """Counts by kind (`images`, `poses`, `depth`, `masks`): found, and left out by reason with the first name.

    What was found and not left out was used.
    """

    found: Counter[str] = field(default_factory=Counter)
    _left: dict[str, Counter[str]] = field(default_factory=dict)
    _first: dict[tuple[str, str], str] = field(default_factory=dict)
    _bad_poses: list[str] = field(default_factory=list)
    _bad_depth: list[str] = field(default_factory=list)

    def find(self, kind: str, count: int = 1) -> None:
        self.found[kind] += count

    def leave(self, kind: str, reason: str, name: object = "", count: int = 1) -> None:
        """Some of those found are not taken. `reason` is read behind the count: `2 of no image`."""
        if count:
            self._left.setdefault(kind, Counter())[reason] += count
            self._first.setdefault((kind, reason), printable(name))

    def leave_pose(self, error: InputError) -> None:
        """A pose that is none costs its frame the pose; `require_any` looks whether a good one is left."""
        self._bad_poses.append(str(error))
        self.leave("poses", BAD_POSE, error)

    def leave_depth(self, reason: str, name: object) -> None:
        """Depth that cannot be what it is taken for."""
        self._bad_depth.append(f"{printable(name)}: {reason}")
        self.leave("depth", reason, name)

    def require_any(self) -> None:
        """Raises InputError where poses or depth images were found and every single one is bad: then the source, or
        what it is taken for, is wrong as a whole."""
        if self._bad_poses and self.left("poses", BAD_POSE) == self.found["poses"]:
            raise InputError(f"none of the {self.found['poses']} poses is one: {self._bad_poses[0]}")
        if self._bad_depth and len(self._bad_depth) == self.found["depth"]:
            raise InputError(
                f"none of the {self.found['depth']} depth images can be used: {self._bad_depth[0]}; mend them, or move "
                "them away to import without depth"
            )

    def left(self, kind: str, reason: str = "") -> int:
        """How many were left out, for this reason or for any."""
        reasons = self._left.get(kind, Counter())
        return reasons[reason] if reason else sum(reasons.values())

    def used(self, kind: str) -> int:
        return self.found[kind] - self.left(kind)

    def tallies(self, source: str, lacking: dict[str, int]) -> list[Tally]:
        """A tally for each kind that was found. `lacking` is what the used images are without."""
        tallies = []
        for kind, things in KINDS.items():
            if not self.found[kind] and kind != "images":
                continue
            tally = Tally(printable(source), things, self.found[kind], self.used(kind))
            for reason, count in self._left.get(kind, Counter()).items():
                first = self._first[kind, reason]
                tally.leave_out(reason + (f" ({'the first: ' if count > 1 else ''}{first})" if first else ""), count)
            if kind == "images":
                for what, count in lacking.items():
                    tally.lack(what, count)
            tallies.append(tally)
        return tallies


def printable(name: object) -> str:
    """A name as text that every file can hold, in one line: old disks have names that are no UTF-8."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
