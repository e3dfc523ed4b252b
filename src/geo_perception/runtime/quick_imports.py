"""torch, torchvision and timm without torch's compiler, whose import takes as long as that of all of torch.

torchvision and timm ask it at import for two names that only matter under `torch.compile`. While they are imported, a
stand-in gives these; afterwards `torch._dynamo` is what it always was, imported where somebody compiles.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_lock = threading.Lock()  # two threads that import the same modules may see halves of them


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """For a block that imports networks. One thread at a time is in it."""
    with _lock:
        collects = gc.isenabled()
        gc.disable()  # nothing that is imported is garbage: a tenth of the time went into looking
        try:
            importlib.import_module("torch")
            with _without_compiler(), contextlib.suppress(Exception):  # then whoever needs them tells what is wrong
                importlib.import_module("timm")
            yield
        finally:
            if collects:
                gc.enable()


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    if _COMPILER in sys.modules:
        yield
        return
    compiler, utils = ModuleType(_COMPILER), ModuleType(f"{_COMPILER}.utils")
    compiler.__path__ = []
    compiler.__dict__.update(disable=_as_it_is, utils=utils)
    utils.__dict__["is_compile_supported"] = _is_compile_supported
    sys.modules.update({_COMPILER: compiler, utils.__name__: utils})
    try:
        yield
    finally:
        for module in (compiler, utils):
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


def _as_it_is(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    """`torch._dynamo.disable` where nothing is compiled."""
    return _as_it_is if function is None else function


def _is_compile_supported(device_type: Any) -> Any:
    return importlib.import_module(f"{_COMPILER}.utils").is_compile_supported(device_type)
