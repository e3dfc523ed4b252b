"""Weights on disk: safetensors with a JSON header. Nothing that can run code is ever loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from geo_perception.errors import InputError
from geo_perception.runtime.files import replaced_file

HEADER_KEY = "geo_perception"
CHECKSUM_KEY = "sha256"
_BESIDE_BYTES = 16 << 20  # that reading takes beside the tensors
Value = TypeVar("Value")


def checksum(tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def state_checksum(network: Any) -> str:
    """`checksum` of the weights of a torch network, wherever they are."""
    return checksum({name: value.detach().cpu().numpy() for name, value in network.state_dict().items()})


def save_weights(path: str | Path, tensors: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    """Writes tensors and header, with a checksum over both, beside `path` and moves them there. Raises OSError when the
    disk does not take them."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header, sort_keys=True)
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    try:
        with replaced_file(path) as work:
            save_file(tensors, str(work), {HEADER_KEY: text, CHECKSUM_KEY: _checksum_of(tensors, text)})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from None


def load_weights(path: str | Path, kind: str, format_version: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save_weights` wrote; the header's `kind` and `format_version` must be the ones given.

    Raises InputError when the file is missing, is not of this kind or version, or has changed since it was written, and
    MemoryError where there is not enough memory for it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a {kind} file")
    bytearray(2 * path.stat().st_size + _BESIDE_BYTES)  # safetensors itself ends the process where memory is short
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        header = json.loads(metadata[HEADER_KEY])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        raise InputError(
            f"{path} is not a {kind} file of geo_perception, or it is damaged; make or copy it again"
        ) from None
    if header.get("kind") != kind:
        raise InputError(f"{path} is a {header.get('kind')} file; a {kind} file is needed here")
    if header.get("format_version") != format_version:
        raise InputError(
            f"{path} has {kind} format {header.get('format_version')}, this version reads {format_version}; make it "
            "again with this version"
        )
    if metadata.get(CHECKSUM_KEY) != _checksum_of(tensors, metadata[HEADER_KEY]):
        raise InputError(f"{path} has changed since it was written (its checksum does not match); copy it again")
    return tensors, header


def with_present_names(state: Mapping[str, Value], former: Mapping[str, str], prefix: str = "") -> dict[str, Value]:
    """A state dict in which the modules below `prefix` have their present names, by the former ones in `former`."""

    def present(key: str) -> str:
        module, dot, rest = key.removeprefix(prefix).partition(".")
        return f"{prefix}{former.get(module, module)}{dot}{rest}" if key.startswith(prefix) else key

    return {present(key): value for key, value in state.items()}


class RenamedModules:
    """A base beside `nn.Module`: weights saved with the `former_names` of its modules (former: present) load, too."""

    former_names: ClassVar[Mapping[str, str]] = {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        present = with_present_names(state_dict, self.former_names, prefix)
        state_dict.clear()
        state_dict.update(present)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[misc]  # of nn.Module


def packaged_weights(package: str, name: str, command: str) -> Path:
    """A weights file that comes with a package, in its folder weights/. Raises InputError, which names the command that
    makes such files, where the package was built without it."""
    path = Path(str(resources.files(package) / "weights" / name))
    if not path.is_file():
        raise InputError(f"the package came without its reference weights; give a weights file, made by `{command}`")
    return path


def _checksum_of(tensors: dict[str, np.ndarray], header_text: str) -> str:
    return hashlib.sha256((checksum(tensors) + header_text).encode()).hexdigest()
