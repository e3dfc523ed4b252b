"""Small walks as the depth benchmarks read them."""

from __future__ import annotations

import cv2
import numpy as np

SIZE_HW = (48, 72)


def textured(seed):
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    return cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)


def make_walk(folder, count, image_folder, depth=False, box=False):
    """A plain folder of frames 0.1 m apart, with poses in metres; with `box` a near one in the middle of the depth."""
    (folder / image_folder).mkdir(parents=True)
    (folder / "K.txt").write_text("60 0 36 0 60 24 0 0 1")
    poses = []
    for number in range(count):
        cv2.imwrite(str(folder / image_folder / f"{number:05d}.jpg"), textured(number))
        poses.append(f"1 0 0 {0.02 * number**1.5} 0 1 0 0 0 0 1 {0.1 * number}")
        if depth:
            depth_mm = np.linspace(1000, 4000, SIZE_HW[0] * SIZE_HW[1]).reshape(SIZE_HW).astype(np.uint16)
            if box:
                depth_mm = np.maximum(depth_mm, 2000)
                depth_mm[12:36, 24:48] = 1000
            (folder / "depth").mkdir(exist_ok=True)
            cv2.imwrite(str(folder / "depth" / f"{number:05d}.png"), depth_mm)
    (folder / "poses.txt").write_text("\n".join(poses) + "\n")
