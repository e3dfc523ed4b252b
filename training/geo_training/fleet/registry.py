"""The registry: published scenes by place and version, and which version is the latest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from geo_training.console import json_text
from geo_training.fleet.manifest import Options
from geo_training.fleet.remote import Folder, Source
from geo_training.report.machine import describe_machine, describe_versions
from geo_training.storage.fingerprints import file_digest

FORMAT_VERSION = 1
SCENE, REPORT, FIGURES, PROVENANCE, LATEST = (
    "scene.safetensors", "report.html", "report.json", "provenance.json", "latest",
)  # fmt: skip
_SHOWN = 8


@dataclass(frozen=True)
class PublishedScene:
    """What is published of a place. `figures` are those of every stage, by its name."""

    place: str
    fingerprint: str
    scene: Path
    report: Path
    evaluation: Path
    figures: dict[str, Any]
    options: Options
    sources: tuple[Source, ...]


def publish(registry: Folder, scene: PublishedScene) -> str:
    """Writes `<place>/<version>/`, then turns `<place>/latest` to it. Returns the version.

    A version counts as there when its provenance does, which is written last: a reader that begins at `latest` never
    sees half of one. The same scene is not published twice.
    """
    version = published_version(registry, scene.place, scene.fingerprint)
    if version is None:
        version = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{scene.fingerprint[:_SHOWN]}"
        folder = f"{scene.place}/{version}"
        registry.put(scene.scene, f"{folder}/{SCENE}")
        registry.put(scene.report, f"{folder}/{REPORT}")
        registry.put(scene.evaluation, f"{folder}/{FIGURES}")
        registry.write(f"{folder}/{PROVENANCE}", (json_text(_provenance(scene, version)) + "\n").encode())
    registry.write(f"{scene.place}/{LATEST}", f"{version}\n".encode())
    return version


def published_version(registry: Folder, place: str, fingerprint: str) -> str | None:
    """The version under which a scene was published, whole; None where it was not."""
    for name in registry.names(place):
        if name.endswith(f"-{fingerprint[:_SHOWN]}"):
            data = registry.read(f"{place}/{name}/{PROVENANCE}")
            if data is not None and json.loads(data).get("fingerprint") == fingerprint:
                return name
    return None


def latest_version(registry: Folder, place: str) -> str | None:
    """The version that is used now; None where nothing was published."""
    data = registry.read(f"{place}/{LATEST}")
    return None if data is None else data.decode().strip()


def _provenance(scene: PublishedScene, version: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "place": scene.place,
        "version": version,
        "fingerprint": scene.fingerprint,
        "scene_sha256": file_digest(scene.scene),
        "scene_bytes": scene.scene.stat().st_size,
        "recordings": [
            {"url": source.url, "digest": source.digest, "bytes": source.size_bytes} for source in scene.sources
        ],
        "figures": scene.figures,
        "options": scene.options.model_dump(mode="json"),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
