"""Stages that are done in processes of their own."""

import os
import time
from pathlib import Path

import cv2
import torch

from geo_perception.errors import InputError


def told(folder: Path, name: str, seconds: float = 0.0) -> dict:
    """Notes when it began and ended, and in which process."""
    began_s = time.time()
    print(f"{name} speaks")
    time.sleep(seconds)
    with open(folder / f"{name}.txt", "a") as file:
        file.write("done\n")
    threads = torch.get_num_threads(), cv2.getNumThreads(), os.environ.get("OMP_NUM_THREADS")
    return {"pid": os.getpid(), "threads": threads, "began_s": began_s, "ended_s": time.time()}


def refused() -> dict:
    raise InputError("this data cannot be used; give other")


def killed() -> dict:
    os.kill(os.getpid(), 9)
    return {}


def for_ever(folder: Path) -> dict:
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)
    return {}
