"""What a metric was measured with: the machine, the versions, and a checksum of the data."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

import geo_perception
import geo_training
from geo_training.storage.fingerprints import digest_of, file_digest

# The packages that decide a result.
PACKAGES = ("geo_perception", "torch", "timm", "pycolmap", "poselib", "opencv-python-headless", "numpy", "scipy",
            "rosbags", "ros-jazzy-rclpy")  # fmt: skip


def describe_machine() -> dict[str, object]:
    """Processor, cores this process may use, memory in GiB, GPU (or none), operating system."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor_name(),
        "cores": usable,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": _gpu_name(),
        "system": f"{platform.system()} {platform.release()}",
    }


def machine_label(machine: Mapping[str, object]) -> str:
    """What `describe_machine` found, in one line."""
    return ", ".join(f"{key.replace('_gib', ' (GiB)')} {value}" for key, value in machine.items())


def describe_versions() -> dict[str, str]:
    """Python and the packages that decide a result; those not installed are left out. `commit` where git knows it."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return versions | ({"commit": commit} if commit else {})


def sha256_of_data(*roots: str | Path) -> str:
    """One checksum over files and folders: of every file its path below its root and its content.

    Hidden files are left out. The same data at another place has the same checksum.
    """
    found = []
    for root in map(Path, roots):
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() and not _hidden(p, root))
        found += [
            (path.name if path == root else path.relative_to(root).as_posix(), file_digest(path)) for path in files
        ]
    return digest_of(found)


def sha256_of_code() -> str:
    """One checksum over the sources and configs of both packages, as they are on this disk."""
    roots = [Path(package.__file__).parent for package in (geo_perception, geo_training)]
    paths = sorted(path for root in roots for path in root.rglob("*") if path.suffix in (".py", ".yaml"))
    return digest_of([file_digest(path) for path in paths])


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu_name() -> str:
    import torch  # loads slowly

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


def _commit() -> str | None:
    """The commit of the source tree this package runs from, with `+changes` where files differ from it."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
