"""The latest scenes of a registry as a folder of scenes, such as robots load: what changed is fetched, and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.runtime.files import replaced_file
from geo_training.fleet.manifest import PLACE_NAME
from geo_training.fleet.registry import PROVENANCE, SCENE, latest_version
from geo_training.fleet.remote import Folder, UnreachableError, answered
from geo_training.storage.fingerprints import file_digest

NEW, REPLACED, KEPT, FAILED = "new", "replaced", "the same", "failed"


@dataclass(frozen=True)
class FetchedScene:
    """What became of the scene of a place: its version, new, replaced, the same as before, or failed and why."""

    place: str
    version: str
    outcome: str
    why: str = ""


def published_places(registry: Folder) -> list[str]:
    """The places of which something is published, sorted. Raises InputError where there is none, or no answer."""
    try:
        names = [name for name in answered(registry.names) if PLACE_NAME.fullmatch(name)]
    except TimeoutError as error:
        raise UnreachableError(f"{registry.url} cannot be used: {error}; check the place") from None
    places = [name for name in names if latest_version(registry, name) is not None]
    if not places:
        raise InputError(f"{registry.url} holds no published place; give the --registry of `geo-train fleet`")
    return places


def fetch_scene(registry: Folder, place: str, out: Path) -> FetchedScene:
    """Brings the latest scene of a place to `out/<place>.safetensors`, unless it is there. A file is replaced at once,
    by one whose checksum is that of its provenance, or stays as it was."""
    version = ""
    try:
        version = (latest_version(registry, place) or "") if PLACE_NAME.fullmatch(place) else ""
        if not version:
            raise InputError(f"{registry.path(place)} was never published; check the name")
        size_bytes, sha256 = _expected(registry, place, version)
        target = out / f"{place}.safetensors"
        there = target.is_file()
        if there and target.stat().st_size == size_bytes and file_digest(target) == sha256:
            return FetchedScene(place, version, KEPT)
        name = f"{place}/{version}/{SCENE}"
        with replaced_file(target) as part:
            if not registry.get(name, part):
                raise UnreachableError(f"{registry.path(name)} is gone; publish it again by `geo-train fleet`")
            if part.stat().st_size != size_bytes or file_digest(part) != sha256:
                raise UnreachableError(
                    f"{registry.path(name)} is not what its provenance says (checksum); fetch it again, or remove that "
                    "version and publish it again by `geo-train fleet`"
                )
        return FetchedScene(place, version, REPLACED if there else NEW)
    except InputError as error:
        return FetchedScene(place, version, FAILED, str(error))


def _expected(registry: Folder, place: str, version: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a version's scene."""
    name = f"{place}/{version}/{PROVENANCE}"
    data = registry.read(name)
    try:
        content = json.loads(data or b"")
        return int(content["scene_bytes"]), str(content["scene_sha256"])
    except (ValueError, KeyError, TypeError):
        raise UnreachableError(
            f"{registry.path(name)} is missing or damaged; publish the place again by `geo-train fleet`"
        ) from None
