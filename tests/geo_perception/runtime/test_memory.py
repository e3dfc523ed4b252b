"""What libraries really raise where memory is short is told from other errors, and a process can give some back."""

import os
import platform
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from geo_perception.errors import InputError
from geo_perception.runtime import memory
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.memory import RESERVE_BYTES, give_memory_back, keep_reserve, memory_shortage

HUGE = 1 << 45  # bytes; more than a process can address


def raised(work) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def numpys() -> None:
    np.empty(HUGE, np.uint8)


def torchs() -> None:
    torch.empty(HUGE, dtype=torch.uint8)


def opencvs() -> None:
    cv2.copyMakeBorder(np.zeros((1, 1), np.uint8), 0, 1 << 22, 0, 1 << 23, cv2.BORDER_CONSTANT)


@pytest.mark.parametrize("work", [numpys, torchs, opencvs])
def test_what_libraries_raise_without_memory_is_known_in_one_line(work):
    reason = memory_shortage(raised(work))
    assert reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223:\nstd::bad_alloc"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("Exception from src/inference/src/dev/plugin.cpp:54: can't alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
)
def test_so_are_those_that_this_machine_cannot_be_brought_to(error):
    assert memory_shortage(error)


def test_it_is_seen_behind_the_sentence_that_a_user_reads():
    def load() -> None:
        try:
            torchs()
        except RuntimeError as error:
            raise InputError(f"the file does not fit the network ({error}); make it again") from None

    assert "allocate" in memory_shortage(raised(load))


@pytest.mark.parametrize(
    "error",
    [
        None,
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(28, "No space left on device"),
        InputError("image encoding 'out of memory' is not supported; use rgb8"),  # as a message may have it
    ],
)
def test_other_errors_are_none_of_it(error):
    assert memory_shortage(error) == ""


def test_the_reserve_is_set_apart_once_and_given_back():
    def mapped_bytes() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * 4096

    give_memory_back()
    before = mapped_bytes()
    assert keep_reserve()
    assert keep_reserve()
    assert mapped_bytes() - before == pytest.approx(RESERVE_BYTES, abs=RESERVE_BYTES // 4)
    give_memory_back()
    assert memory._reserve is None
    assert mapped_bytes() - before < RESERVE_BYTES // 2


ARENAS = """
import ctypes, sys, threading
from geo_perception.runtime.memory import use_few_arenas
use_few_arenas()
libc, met = ctypes.CDLL(None), threading.Barrier(8)
libc.malloc.restype = ctypes.c_void_p
def work():
    met.wait()
    for _ in range(100):
        libc.malloc(1000)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have no arenas")
@pytest.mark.parametrize(("given", "few"), [({}, True), ({"MALLOC_ARENA_MAX": "6"}, False)])
def test_threads_share_two_heaps_unless_the_environment_says_otherwise(given, few):
    environment = {key: value for key, value in os.environ.items() if key not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    ended = subprocess.run(
        [sys.executable, "-c", ARENAS], env=environment | given, capture_output=True, text=True, check=True, timeout=60
    )
    arenas = sum(line.startswith("Arena ") for line in ended.stderr.splitlines())
    assert (arenas <= 2) is few, ended.stderr


def test_an_engine_that_lacked_memory_is_asked_again():
    """It would take no less by torch, and there may be some again."""
    calls = []

    class Network(torch.nn.Module):
        def forward(self, image_b3hw):
            calls.append(len(calls))
            if len(calls) == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return [image_b3hw]

    frozen, image_hw3 = FrozenNetwork(Network(), torch.device("cpu")), np.zeros((4, 4, 3), np.uint8)
    calls.clear()
    frozen(image_hw3)
    with pytest.raises(torch.OutOfMemoryError):
        frozen(image_hw3)
    assert frozen(image_hw3)[0].shape == (1, 3, 4, 4)
    assert frozen.choice.name == "torch"
