"""Memory that is not there: how an exception says so, and what this process can give back for it."""

from __future__ import annotations

import ctypes
import errno
import gc
import mmap
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from geo_perception.errors import InputError

# As libraries say it that have no class of their own for it, in lower case: torch, CUDA's, OpenCV, OpenVINO, oneDNN
# (which gives no other reason), ONNX Runtime, the C++ library, the kernel, Python where a thread gets no stack.
_SIGNS = (
    "out of memory", "cannot allocate memory", "failed to allocate memory",
    "insufficient memory", "not enough memory", "std::bad_alloc", "bad allocation", "alloc_failed", "out_of_memory",
    "mem_object_allocation_failure", "out_of_host_memory", "could not create a memory", "could not create a primitive",
    "can't alloc", "can't start new thread",
)  # fmt: skip
_LONGEST = 120  # characters of a reason
RESERVE_BYTES = 32 << 20
_COLLECT_S = 1.0
_M_ARENA_MAX, _ARENAS = -8, 2  # the first is malloc.h's name for it
_reserve: mmap.mmap | None = None
_collected_s = -_COLLECT_S
_lock = threading.Lock()


def memory_shortage(error: BaseException | None) -> str:
    """What an exception, or one that it came of, says of memory that could not be had, in one line; empty: nothing."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or _says_so(error):
            return " ".join(str(error).split())[:_LONGEST] or "no memory"
        error = error.__cause__ or error.__context__
    return ""


def _says_so(error: BaseException) -> bool:
    if isinstance(error, InputError):  # its words may be those of a message that came
        return False
    said = str(error).lower()
    return any(sign in said for sign in _SIGNS)


def keep_reserve() -> bool:
    """Sets some memory apart (of the limits of this process; none of it is used) for when there is no more. False where
    there is not even that."""
    global _reserve
    with _lock:
        if _reserve is None and hasattr(mmap, "MAP_PRIVATE"):
            try:
                _reserve = mmap.mmap(-1, RESERVE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except (OSError, MemoryError, ValueError):
                return False
        return True


def give_memory_back() -> None:
    """Lets go of the reserve, of what nothing refers to any more, and of what the allocators keep for later; of the
    latter once a second at most, since it takes time."""
    global _reserve, _collected_s
    with _lock:
        if _reserve is not None:
            _reserve.close()
            _reserve = None
    now_s = time.monotonic()
    if now_s - _collected_s < _COLLECT_S:
        return
    _collected_s = now_s
    with suppress(Exception):
        gc.collect()
    with suppress(Exception):
        free_gpu_memory()
    with suppress(Exception):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc; others have none


def use_few_arenas() -> None:
    """Lets all threads of this process share two heaps, of glibc; others have no such thing. Call it before there are
    threads; what the environment says of it (MALLOC_ARENA_MAX, GLIBC_TUNABLES) holds.

    By itself each thread has a heap of its own, and a thread that begins gets one that others have left in pieces: a
    node whose threads come and go with its lifecycle grew by 100 MB in forty of them, and by nothing with two.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with suppress(Exception):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def free_gpu_memory() -> None:
    """Gives memory that nothing uses any more back to the GPU."""
    cuda = used_cuda()
    if cuda is not None:
        cuda.empty_cache()


def used_cuda() -> Any:
    """torch.cuda where this process uses a GPU, else None. Imports nothing."""
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)  # without it while a thread still imports torch
    used = hasattr(cuda, "is_initialized") and cuda.is_available() and cuda.is_initialized()
    return cuda if used else None
