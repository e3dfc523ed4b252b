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
