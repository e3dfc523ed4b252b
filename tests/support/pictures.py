"""Pictures that stand for what a camera sees, the same each time."""

from __future__ import annotations

import numpy as np


def random_patches(seed: int = 0, width_px: int = 320, height_px: int = 240) -> np.ndarray:
    """Coarse random patches, (H, W, 3) uint8: another seed is another view."""
    patches = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    rows, columns = np.arange(height_px) * 12 // height_px, np.arange(width_px) * 16 // width_px
    return patches[rows][:, columns]
