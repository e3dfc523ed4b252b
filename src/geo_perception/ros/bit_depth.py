"""16-bit samples to 8 bits. Cameras put 10, 12 or 14 bits into 16; which, no message says."""

from __future__ import annotations

import numpy as np

IMAGE_BITS = (0, 10, 12, 14, 16)


class BitDepth:
    """How many of 16 bits a stream of images uses: `fixed`, or (0) the fewest of 10, 12, 14 and 16 that held every
    sample so far. It only grows, so that one brightness keeps one grey value, whatever else is in the picture.

    `bits` is 0 as long as no image of 16 bits has come.
    """

    def __init__(self, fixed: int = 0):
        self.fixed, self.bits = fixed, 0

    def to_8_bits(self, samples: np.ndarray) -> np.ndarray:
        """uint16 samples as uint8, full scale for full scale; what is above a fixed depth becomes 255."""
        if self.fixed:
            self.bits = self.fixed
        else:
            top = int(samples.max())
            self.bits = max(self.bits, next(bits for bits in IMAGE_BITS if top < 1 << bits and bits))
        scaled = samples * np.float32(255.0 / ((1 << self.bits) - 1))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
