"""What a check finds: a severity, one sentence, one remedy, and the frames it is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum

from geo_training.datasets.scene import Frame

_NAMED_FRAMES = 50


class Severity(str, Enum):
    """`error`: do not train on it. `warning`: the result will suffer. `note`: no harm."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    check: str
    severity: Severity
    message: str
    remedy: str
    frames: tuple[str, ...] = ()  # names of the frames, at most the first fifty
    values: dict = field(default_factory=dict)

    def to_dict(self) -> dict:
        return asdict(self) | {"severity": self.severity.value, "frames": list(self.frames)}


def named(frames: list[Frame]) -> tuple[str, ...]:
    """The names a finding keeps."""
    return tuple(frame.name for frame in frames[:_NAMED_FRAMES])


def by_share(count: int, total: int, warning_share: float) -> Severity:
    """A warning where more than this share of the frames is concerned, else a note."""
    return Severity.WARNING if count > warning_share * total else Severity.NOTE


def about_frames(
    check: str, found: list[Frame], total: int, warning_share: float, what: str, remedy: str
) -> list[Finding]:
    """What is wrong with `found` of `total` frames, where there are any; `what` follows the two counts."""
    message = f"{len(found)} of {total} {what}"
    return [Finding(check, by_share(len(found), total, warning_share), message, remedy, named(found))] if found else []


def by_sequence(frames: list[Frame]) -> dict[str, list[Frame]]:
    """The frames of each sequence in the order of time."""
    sequences: dict[str, list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: (frame.sequence, frame.stamp_ns, frame.name)):
        sequences.setdefault(frame.sequence, []).append(frame)
    return sequences
