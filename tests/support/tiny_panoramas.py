"""Folders of panoramas, and one of small ones of two domains that a network can tell a little from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

TINY_BACKBONE = "test_resnet"  # timm's own for tests: 0.4 M weights
TINY_CROP = {"sizes_px": [[48, 48]], "focal_px": [10, 80], "pitch_deg": [-90, 0], "roll_deg": [-45, 45]}


def write_panoramas(folder: Path, panoramas: Mapping[str, tuple[str, np.ndarray]]) -> Path:
    """Writes (domain, image (H, W, 3) uint8) by file name, and their index.csv; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, image_hw3) in panoramas.items():
        assert cv2.imwrite(str(folder / name), image_hw3)
    rows = [f"{name},{domain}\n" for name, (domain, _) in panoramas.items()]
    (folder / "index.csv").write_text("file,domain\n" + "".join(rows))
    return folder


def make_tiny_panoramas(folder: Path, count: int = 4) -> Path:
    """`count` panoramas of each domain, 128 x 64, bright above the horizon, with an index.csv; the folder."""
    panoramas = {}
    for number in range(2 * count):
        domain, rng = ("indoor", "outdoor")[number % 2], np.random.default_rng(number)
        coarse_hw3 = rng.integers(0, 120, (8, 16, 3)).astype(np.uint8)
        image_hw3 = cv2.resize(coarse_hw3, (128, 64), interpolation=cv2.INTER_CUBIC)
        image_hw3[:32] = cv2.add(image_hw3[:32], (90, 90, 90, 0) if domain == "indoor" else (0, 60, 120, 0))
        panoramas[f"{domain}_{number}.png"] = domain, image_hw3
    return write_panoramas(folder, panoramas)
