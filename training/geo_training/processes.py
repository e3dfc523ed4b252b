"""The processes that one command runs in: several, where `torchrun` started it, on one machine or on some. One of them
speaks and writes for all.

Imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from datetime import timedelta

from geo_perception.errors import InputError

ANOTHER = "another process of the training"  # so begins what is answered where others are missing
ANOTHER_ENDED = ANOTHER + " has ended{}; run the same command again to go on"
_STORE_TIMEOUT_S = 5.0
_MEETING_S = 600.0  # between the first process and the last to get ready; a slow disk takes a while to import torch
_TURN_S = 0.1
_STORE_KEY = "geo_training/{}/" + os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")

_met = False


def world() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def world_here() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def machine() -> int:
    """The number of this machine among those of the training; 0 is that of the main process."""
    return int(os.environ.get("GROUP_RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that speaks and writes."""
    return world() == 1 or os.environ.get("RANK", "0") == "0"


def is_first_here() -> bool:
    """Whether this is the process that acts for its machine."""
    return world() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def refuse_several(what: str) -> None:
    """Raises InputError where several processes were started for `what` one does."""
    if world() > 1:
        raise InputError(f"{what} by one process; start the command without torchrun")


def meet() -> None:
    """Goes on when the processes of all machines have come here: a launcher ends those of its own machine alone when
    one fails, so others would wait for it in vain. Raises InputError when one has ended before, or some do not come."""
    global _met
    if _met or not _on_several_machines():
        return
    try:
        store, came = _store(), _STORE_KEY.format("came")
        store.add(came, 1)
        began_s = time.monotonic()
        while (count := store.add(came, 0)) < world():
            if store.add(_STORE_KEY.format("failed"), 0):
                raise InputError(ANOTHER_ENDED.format(""))
            if time.monotonic() - began_s > _MEETING_S:
                raise InputError(
                    f"{ANOTHER} has not come within {_MEETING_S / 60:.0f} minutes ({count} of {world()} have); look at "
                    "the other machines, and start the command anew on all of them"
                )
            time.sleep(_TURN_S)
    except RuntimeError:  # the launcher of the first machine keeps the store, and has ended
        raise InputError(ANOTHER_ENDED.format("")) from None
    _met = True


def tell_of_failure() -> None:
    """Lets the other machines know that this process ends before it has met them."""
    if not _met and _on_several_machines():
        with contextlib.suppress(KeyError, ValueError, RuntimeError):
            _store().add(_STORE_KEY.format("failed"), 1)


def choose_interface() -> None:
    """Between machines gloo speaks over the interface by which the first one is reached, unless the environment names
    one: by itself it would take that of the host's own name, which may be the machine's loop to itself."""
    if not _on_several_machines() or "GLOO_SOCKET_IFNAME" in os.environ:
        return
    import psutil

    try:
        family, _, _, _, address = socket.getaddrinfo(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect(address)  # sends nothing
            own = way.getsockname()[0]
    except (KeyError, ValueError, OSError):
        return
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == own for one in addresses):
            os.environ["GLOO_SOCKET_IFNAME"] = name


def first_to_fail() -> bool:
    """Whether no other process of this machine has asked this before: so that on each one line says why all end, that
    of the process in which it began."""
    if world() == 1:
        return True
    try:
        return _store().add(f"{_STORE_KEY.format('failed')}/{machine()}", 1) == 1
    except (KeyError, ValueError, RuntimeError):
        return True  # rather twice than not at all


def _on_several_machines() -> bool:
    return world() > world_here() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _store():
    from torch.distributed import TCPStore

    return TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
        timeout=timedelta(seconds=_STORE_TIMEOUT_S),
    )  # fmt: skip
