"""How the map points look as keypoints: a compact SIFT descriptor each, for what the backbone's features tell apart too
little or know only from where they saw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHANNELS = 48  # of 128; more did not localize more
SHARED_BYTES = CHANNELS * (2 * 128 + 4) + 4  # of a file beside what each point takes: projection, offset and step
_PREFIX = "keypoints."


@dataclass(frozen=True)
class MapKeypoints:
    """A descriptor for each of P points, `descriptors_pd` int8 in steps of `step`.

    What is compared with it, by Euclidean distance, is `projection_dc` times a SIFT descriptor, plus `offset_d`.
    """

    descriptors_pd: np.ndarray
    projection_dc: np.ndarray
    offset_d: np.ndarray
    step: float

    def __len__(self) -> int:
        return len(self.descriptors_pd)

    def project(self, descriptors_kc: np.ndarray) -> np.ndarray:
        """SIFT descriptors (K, 128), as unit vectors, in the space of the map's (K, D), float32."""
        # By einsum, since the threads of BLAS would keep the cores from the network for longer than this takes.
        return np.einsum("kc,dc->kd", descriptors_kc, self.projection_dc) + self.offset_d

    @property
    def wanted_pd(self) -> np.ndarray:
        """The map's descriptors as float32."""
        return self.descriptors_pd.astype(np.float32) * np.float32(self.step)

    def like_these(self, projected_pd: np.ndarray) -> MapKeypoints:
        """Those of other points, in the same space: what `project` made of their descriptors (P, D)."""
        descriptors_pd = np.clip(np.rint(projected_pd / self.step), -127, 127).astype(np.int8)
        return MapKeypoints(descriptors_pd, self.projection_dc, self.offset_d, self.step)

    @classmethod
    def compressed(cls, descriptors_pc: np.ndarray, channels: int = CHANNELS) -> MapKeypoints:
        """Unit vectors (P, 128) in their principal components."""
        mean_c = descriptors_pc.mean(axis=0)
        offset_pc = descriptors_pc - mean_c
        _, axes_cc = np.linalg.eigh(offset_pc.T @ offset_pc)
        projection_dc = np.ascontiguousarray(axes_cc[:, ::-1][:, :channels].T).astype(np.float32)
        projected_pd = offset_pc @ projection_dc.T
        # The few largest values are cut, so that the others have finer steps.
        step = max(float(np.quantile(np.abs(projected_pd), _CUT)) / 127, 1e-9) if projected_pd.size else 1.0
        descriptors_pd = np.clip(np.rint(projected_pd / step), -127, 127).astype(np.int8)
        return cls(descriptors_pd, projection_dc, (-projection_dc @ mean_c).astype(np.float32), step)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file."""
        return {
            _PREFIX + "descriptors_pd": self.descriptors_pd,
            _PREFIX + "projection_dc": self.projection_dc.astype(np.float16),
            _PREFIX + "offset_d": self.offset_d.astype(np.float32),
            _PREFIX + "step": np.array([self.step], np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> MapKeypoints | None:
        """The keypoints in a file's tensors; None where it has none. Raises KeyError or ValueError where parts of them
        are missing or do not fit together."""
        found = {name.removeprefix(_PREFIX): array for name, array in tensors.items() if name.startswith(_PREFIX)}
        if not found:
            return None
        descriptors_pd, offset_d = found["descriptors_pd"], found["offset_d"]
        projection_dc = found["projection_dc"].astype(np.float32)
        D = len(offset_d)
        if descriptors_pd.shape[1:] != (D,) or projection_dc.shape != (D, 128):
            raise ValueError("keypoint descriptors of different sizes")
        return cls(descriptors_pd, projection_dc, offset_d, float(found["step"][0]))


_CUT = 0.9995
