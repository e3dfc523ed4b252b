"""What engines compiled, kept on the disk: the next start does not wait for it. Without a disk nothing is kept."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from functools import cache
from pathlib import Path

import timm
import torch

import geo_perception
from geo_perception.runtime.files import replaced_file

CACHE_VARIABLE = "GEO_PERCEPTION_CACHE"
_FILES = 12  # of up to some tens of megabytes each; beyond, the ones not used for longest go
# What is compiled beyond them cannot be read within them.
_INSTRUCTION_LIMITS = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
)
_SUFFIX = ".compiled"
_LOGGER = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`GEO_PERCEPTION_CACHE`, else geo_perception/ among the user's caches."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "geo_perception"


def cache_key(*parts: object) -> str:
    """Of what is compiled of these parts, on this machine, by these versions and this very code."""
    limits = [os.environ.get(name) for name in _INSTRUCTION_LIMITS]
    versions = torch.__version__, timm.__version__, _code()
    machine = platform.machine(), cpu_name(), limits, torch.get_num_threads(), *versions
    return hashlib.sha256(repr((parts, machine)).encode()).hexdigest()


def read_cached(key: str) -> bytes | None:
    """What was kept; None where nothing is, or where it is damaged."""
    path = cache_folder() / (key + _SUFFIX)
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    checksum, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() == checksum:
        return data
    _LOGGER.warning("%s is damaged and not used", path)
    return None


def keep_cached(key: str, data: bytes) -> None:
    """Keeps it where the disk takes it."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replaced_file(folder / (key + _SUFFIX)) as work:
            work.write_bytes(hashlib.sha256(data).digest() + data)
        newest_first = sorted(folder.glob("*" + _SUFFIX), key=lambda path: -path.stat().st_mtime)
        for path in newest_first[_FILES:]:
            path.unlink(missing_ok=True)
    except OSError as problem:
        _LOGGER.info("what was compiled is not kept: %s", problem)


@cache
def cpu_name() -> str:
    """The model of the CPU and what it can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "|".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))


@cache
def _code() -> str:
    """A checksum of this package: what a network does is not in its weights."""
    digest = hashlib.sha256()
    root = Path(geo_perception.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
