"""One thing that is wrong with a graph, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Severity(Enum):
    """An error keeps a result from coming, or makes it wrong; a warning may."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """`code` names the kind of fault, for machines; `where` a topic, a node, a frame or the machine."""

    severity: Severity
    code: str
    where: str
    what: str
    mend: str

    def as_json(self) -> dict[str, str]:
        return asdict(self) | {"severity": self.severity.value}

    @property
    def line(self) -> str:
        mend = self.mend[:1].upper() + self.mend[1:]
        return f"{self.severity.value:7} {self.where}: {self.what}. {mend}. [{self.code}]"


def error(code: str, where: str, what: str, mend: str) -> Finding:
    return Finding(Severity.ERROR, code, where, what, mend)


def warning(code: str, where: str, what: str, mend: str) -> Finding:
    return Finding(Severity.WARNING, code, where, what, mend)
