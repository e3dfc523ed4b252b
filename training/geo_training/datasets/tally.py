"""What an import took of a source and what it did not: `found N, used M, left out: ...`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one source. `source` names it, `things` says what is counted.

    Reasons follow a number in the sentence: `88 for the rate of 4 a second`, `2 undecodable`. `lacking` counts what was
    used although something is missing: `3 without a pose`.
    """

    source: str
    things: str = "images"
    found: int = 0
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, count: int = 1) -> None:
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count

    def lack(self, what: str, count: int = 1) -> None:
        if count:
            self.lacking[what] = self.lacking.get(what, 0) + count

    @property
    def sentence(self) -> str:
        """One line; everything that was found is either used or left out for a reason that is named."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items()) or "none"
        lacking = ", ".join(f"{count} {what}" for what, count in self.lacking.items())
        used = f"used {self.used}" + (f" ({lacking})" if lacking else "")
        return f"{self.source}: found {self.found} {self.things}, {used}, left out: {left_out}."

    def to_dict(self) -> dict:
        return {
            "source": self.source, "things": self.things, "found": self.found, "used": self.used,
            "left_out": dict(self.left_out), "lacking": dict(self.lacking),
        }  # fmt: skip
