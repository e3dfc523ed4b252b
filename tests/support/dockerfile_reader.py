"""Reads a Dockerfile as far as ours go: instructions with their continued lines, by stage."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_FLAG = re.compile(r"--[\w-]+(=\S+)?\s+")


@dataclass(frozen=True)
class Instruction:
    """`RUN --network=none make test`: its keyword in capitals, its flags, and the rest with line ends as spaces."""

    keyword: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The list of the exec form, else the words."""
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


@dataclass(frozen=True)
class Stage:
    """What stands from one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction]

    def of(self, keyword: str) -> list[Instruction]:
        return [found for found in self.instructions if found.keyword == keyword]

    def environment(self) -> dict[str, str]:
        pairs = (pair.split("=", 1) for found in self.of("ENV") for pair in found.text.split())
        return dict(pairs)


def read_dockerfile(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, with the arguments before the first FROM put in by their defaults."""
    lines = (line.rstrip() for line in path.read_text().splitlines())
    text = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    stages, defaults = [], {}
    for line in text.replace("\\\n", " ").splitlines():
        keyword, rest = line.split(None, 1)
        flags = []
        while match := _FLAG.match(rest):
            flags.append(match[0].strip())
            rest = rest[match.end() :]
        found = Instruction(keyword.upper(), tuple(flags), rest.strip())
        if found.keyword == "FROM":
            base, _, name = (*found.words, "", "")[:3]
            for argument, default in defaults.items():
                base = base.replace(f"${{{argument}}}", default)
            stages.append(Stage(base, name, []))
        elif stages:
            stages[-1].instructions.append(found)
        else:
            argument, default = found.text.split("=", 1)
            defaults[argument] = default
    return stages
