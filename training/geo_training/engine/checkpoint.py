"""Checkpoints of a training: tensors only, so that nothing that can run code is ever loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


def save_checkpoint(path: Path, networks: dict[str, torch.nn.Module], optimizer: torch.optim.Optimizer, facts: dict):
    """Writes networks, the optimizer's state and `facts` (JSON) beside `path` and moves them there."""
    tensors = {}
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    work = path.with_name(path.name + ".partial")
    save_file(tensors, str(work), {"facts": json.dumps(facts)})
    os.replace(work, path)


def load_checkpoint(path: Path, networks: dict[str, torch.nn.Module], optimizer, fingerprint: str) -> dict | None:
    """Loads what `save_checkpoint` wrote. None when there is none, or it belongs to another training."""
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            if facts.get("fingerprint") != fingerprint:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError):
        return None
    for name, network in networks.items():
        prefix = f"{name}/"
        network.load_state_dict({key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)})
    state: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return facts


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
    work = path.with_name(path.name + ".partial")
    save_file(tensors, str(work))
    os.replace(work, path)


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
