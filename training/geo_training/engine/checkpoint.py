"""Checkpoints of a training: tensors only, so that nothing that can run code is ever loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geo_perception.errors import InputError
from geo_perception.runtime.files import replaced_file
from geo_perception.runtime.weights import load_weights, save_weights

NAME = "checkpoint.safetensors"  # in the run's folder
KIND, FORMAT_VERSION = "training checkpoint", 2
_REMEDY = "pass --overwrite to begin anew, or choose another --out"


@dataclass(frozen=True)
class Checkpoint:
    """Where a training was interrupted. `metadata` are what `save_checkpoint` was given."""

    path: Path
    metadata: dict
    tensors: dict[str, np.ndarray]

    def restore(self, networks: dict[str, torch.nn.Module], optimizer: torch.optim.Optimizer) -> None:
        """Gives networks and optimizer their state back. Raises InputError when they are others."""
        state: dict[int, dict] = {}
        for key, value in self.tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                state.setdefault(int(index), {})[name] = torch.from_numpy(value)
        try:
            for name, network in networks.items():
                network.load_state_dict(self._of(f"{name}/"))
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        except (RuntimeError, ValueError):
            raise InputError(f"{self.path} is of other networks; {_REMEDY}") from None

    def _of(self, prefix: str) -> dict[str, torch.Tensor]:
        own = {key: value for key, value in self.tensors.items() if key.startswith(prefix)}
        return {key[len(prefix) :]: torch.from_numpy(value) for key, value in own.items()}


def save_checkpoint(path: Path, networks: dict[str, torch.nn.Module], optimizer: torch.optim.Optimizer, metadata: dict):
    """Writes networks, the optimizer's state and `metadata` (JSON, with the training's `fingerprint` and `step`).

    The checkpoint before it stays until all of this one is on the disk. Raises InputError when the disk does not take
    it.
    """
    tensors = {}
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": _array(value) for key, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": _array(value) for key, value in state.items() if value is not None}
    header = {**metadata, "kind": KIND, "format_version": FORMAT_VERSION}
    with _as_input_error(path):
        save_weights(path, tensors, header)


def read_checkpoint(path: Path, fingerprint: str, overwrite: bool = False) -> Checkpoint | None:
    """What `save_checkpoint` wrote; None where there is none.

    Raises InputError when it is damaged, or of another training (config, data or starting weights differ), unless
    `overwrite` says that it may be replaced: None then.
    """
    if not path.is_file():
        return None
    try:
        tensors, metadata = load_weights(path, KIND, FORMAT_VERSION)
    except InputError:
        if overwrite:
            return None
        raise InputError(f"{path} is damaged, or of another version, so nothing can go on from it; {_REMEDY}") from None
    if metadata["fingerprint"] == fingerprint:
        return Checkpoint(path, metadata, tensors)
    if overwrite:
        return None
    raise InputError(
        f"{path} is of an interrupted training with another config, other data or other starting weights (at step "
        f"{metadata['step']}); give those again to go on, or {_REMEDY}"
    )


def moments_of(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, torch.Tensor]]:
    """What the optimizer remembers of each parameter, by the parameter's name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: {key: torch.as_tensor(value).detach().cpu() for key, value in state.items()}
        for parameter, state in optimizer.state.items()
        if id(parameter) in names
    }


def restore_moments(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, dict[str, torch.Tensor]]
) -> None:
    """Gives the optimizer what another remembered of the parameters of the same names and shapes."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in network.named_parameters():
        state = moments.get(name)
        if state is None or id(parameter) not in known:
            continue
        if all(value.ndim == 0 or value.shape == parameter.shape for value in state.values()):
            optimizer.state[parameter] = {
                # A step counter stays where it is; averages go where the parameter is.
                key: value.clone() if value.ndim == 0 else value.to(parameter.device, parameter.dtype, copy=True)
                for key, value in state.items()
            }


def save_state(path: Path, network: torch.nn.Module, moments: dict[str, dict[str, torch.Tensor]]) -> None:
    """Writes the state of a finished training, to go on from: weights and moments."""
    tensors = {f"network/{key}": value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    for name, state in moments.items():
        tensors |= {f"moments/{name}/{key}": value.contiguous() for key, value in state.items()}
    with _as_input_error(path), replaced_file(path) as work:
        save_file(tensors, str(work))


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]] | None:
    """What `save_state` wrote: weights and moments. None when it cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError):
        return None
    weights = {key[len("network/") :]: value for key, value in tensors.items() if key.startswith("network/")}
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("moments/"):
            name, what = key[len("moments/") :].rsplit("/", 1)
            moments.setdefault(name, {})[what] = value
    return weights, moments


def _array(value) -> np.ndarray:
    return torch.as_tensor(value).detach().cpu().contiguous().numpy()


@contextmanager
def _as_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} cannot be written ({error}); make room, then run the same command again to go on"
        ) from None
