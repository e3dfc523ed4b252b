"""How much memory the arrays of an object take: what can be given back by letting go of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch

_ROOMS = ("geo_perception", "torch.nn")


def held_bytes(root: Any, beside: Collection[Any] = ()) -> int:
    """Bytes of all arrays and tensors that an object of this package holds, itself or through its parts, each memory
    counted once; without what `beside` holds, which others hold, too."""
    counted: dict[int, int] = {}
    seen = {id(one) for one in beside}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            storage = one.untyped_storage()
            counted[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, np.ndarray):
            while isinstance(one.base, np.ndarray):
                one = one.base
            counted[one.ctypes.data] = one.nbytes
        else:
            waiting.extend(_parts(one))
    return sum(counted.values())


def _parts(one: Any) -> Iterator[Any]:
    if isinstance(one, dict):
        yield from one.values()
    elif isinstance(one, (list, tuple, set)):
        yield from one
    elif type(one).__module__.startswith(_ROOMS):
        yield from vars(one).values() if hasattr(one, "__dict__") else ()
