"""A folder of small panoramas of two domains that a network can tell a little from."""

import cv2
import numpy as np

TINY_BACKBONE = "test_resnet"  # timm's own for tests: 0.4 M weights
TINY_CROP = {"sizes_px": [[48, 48]], "focal_px": [10, 80], "pitch_deg": [-90, 0], "roll_deg": [-45, 45]}


def make_tiny_panoramas(folder, count=4):
    """`count` panoramas of each domain, 128 x 64, bright above the horizon, with an index.csv; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,domain"]
    for number in range(2 * count):
        domain, rng = ("indoor", "outdoor")[number % 2], np.random.default_rng(number)
        coarse_hw3 = rng.integers(0, 120, (8, 16, 3)).astype(np.uint8)
        image_hw3 = cv2.resize(coarse_hw3, (128, 64), interpolation=cv2.INTER_CUBIC)
        image_hw3[:32] = cv2.add(image_hw3[:32], (90, 90, 90, 0) if domain == "indoor" else (0, 60, 120, 0))
        cv2.imwrite(str(folder / f"{domain}_{number}.png"), image_hw3)
        rows.append(f"{domain}_{number}.png,{domain}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder
