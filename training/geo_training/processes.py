"""The processes that one command runs in: several, where `torchrun` started it. One of them speaks and writes for all.

Imports nothing that takes time.
"""

from __future__ import annotations

import os
from datetime import timedelta

from geo_perception.errors import InputError

_STORE_TIMEOUT_S = 5.0


def world() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that speaks and writes."""
    return world() == 1 or os.environ.get("RANK", "0") == "0"


def refuse_several(what: str) -> None:
    """Raises InputError where several processes were started for `what` one does."""
    if world() > 1:
        raise InputError(f"{what} by one process; start the command without torchrun")


def first_to_fail() -> bool:
    """Whether no other of the processes has asked this before: so that one line says why all of them end, that of the
    process in which it began."""
    if world() == 1:
        return True
    from torch.distributed import TCPStore

    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
            timeout=timedelta(seconds=_STORE_TIMEOUT_S),
        )  # fmt: skip
        return store.add(f"geo_training/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    except (KeyError, ValueError, RuntimeError):
        return True  # rather twice than not at all
