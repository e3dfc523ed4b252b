"""What the planes say of a depth map on which a few points lie: walls, floors and table tops go on between points.

The field of corrections (`completion.py`) knows that what is near and alike is wrong alike. Where points lie on a plane
there is more to know: that what is near and alike lies on it, however crooked the network has it. The plane of most of
the points that a pixel is like says its depth, unless the field is sure that it is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geo_perception.depth.planes import PlaneOptions, find_planes

_FLATTEST = 1e-3  # the least inverse depth of a plane that counts, in that of the map about its factor
_LIKE = 1e-6
_POWER = 4  # of the likeness between a pixel and a point


@dataclass(frozen=True)
class PlaneCorrectionOptions:
    """`agreement`: how far apart field and plane may be, as a logarithm, before the plane counts little; `share` what
    planes count at most, where a pixel is like points on them alone; `sigma` of the log depth of what lies on one;
    `least_right`: how likely right a point must be to tell a plane."""

    planes: PlaneOptions = field(
        default_factory=lambda: PlaneOptions(
            tolerance=0.03, least_points=5, least_share=0.0, reach=(6, 12, 24), trials=200
        )
    )
    agreement: float = 0.08
    share: float = 0.95
    sigma: float = 0.01
    least_right: float = 0.5


class PlaneCorrections:
    """The planes of points with features `at_n6` (completion.py), the logarithms of whose depths are `log_depth_n`.

    `left_out_n` is how far off the field is at each of these when it is not told it: where that is less than the points
    are off their plane, the plane counts little. `variance_n` is how well the field knows them once told: what all err
    alike, a plane through them errs, too.
    """

    def __init__(
        self,
        at_n6: np.ndarray,
        log_depth_n: np.ndarray,
        left_out_n: np.ndarray,
        variance_n: np.ndarray,
        right_n: np.ndarray,
        alike_nn: np.ndarray,
        options: PlaneCorrectionOptions,
    ):
        self._options = options
        terms_n3 = _terms(at_n6)
        told_n = right_n > options.least_right
        planes_p3 = find_planes(
            terms_n3[told_n],
            np.exp(log_depth_n[told_n]),
            options.planes,
            np.random.default_rng(0),
            alike_nn[np.ix_(told_n, told_n)],
        )
        off_np = log_depth_n[:, None] + np.log(np.maximum(terms_n3 @ planes_p3.T, _FLATTEST))
        apart_np = np.abs(off_np)
        on_np = (apart_np < 1.5 * options.planes.tolerance) & told_n[:, None]
        if len(planes_p3):
            on_np &= apart_np == apart_np.min(axis=1, keepdims=True)
        self._planes_3p = planes_p3.T.astype(np.float32)
        self._on_np, self._off_np = on_np.astype(np.float32), (off_np * on_np).astype(np.float32)
        count_p = on_np.sum(axis=0)
        field_p, plane_p = ((of_np**2 * on_np).sum(axis=0) for of_np in (left_out_n[:, None], off_np))
        plane_p *= (count_p / np.maximum(count_p - 3, 1)) ** 2
        self._share_p = (options.share * field_p / np.maximum(field_p + plane_p, _LIKE)).astype(np.float32)
        self._variance_np = (variance_n[:, None] * on_np).astype(np.float32)

    def __len__(self) -> int:
        return self._planes_3p.shape[1]

    def applied(
        self, features_k6: np.ndarray, correction_k: np.ndarray, variance_k: np.ndarray, alike_kn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Correction and variance (K,) of the log depth at places with these features, given those of the field and how
        alike (0..1) each is to each point."""
        options = self._options
        weight_kn = np.maximum(alike_kn, _LIKE) ** _POWER
        weight_kn /= weight_kn.sum(axis=1, keepdims=True)
        on_kp = weight_kn @ self._on_np
        inverse_kp = _terms(features_k6) @ self._planes_3p
        # By how much the points on the plane are off it: next to them depth joins on.
        off_kp, known_kp = (weight_kn @ of_np / np.maximum(on_kp, _LIKE) for of_np in (self._off_np, self._variance_np))
        with np.errstate(invalid="ignore"):
            by_plane_kp = off_kp - np.log(np.maximum(inverse_kp, _FLATTEST)) - features_k6[:, 2:3]
            apart_kp = by_plane_kp - correction_k[:, None]
            counts_kp = self._share_p * on_kp * np.exp(-0.5 * (apart_kp / options.agreement) ** 2)
            counts_kp *= inverse_kp > _FLATTEST
        own_k = 1 - on_kp @ self._share_p
        counts_kp /= (own_k + counts_kp.sum(axis=1))[:, None]
        moved_k = (counts_kp * apart_kp).sum(axis=1)
        planes_k = counts_kp.sum(axis=1)
        # A mixture of the field and the planes: its mean, and its variance.
        spread_k = (counts_kp * apart_kp**2).sum(axis=1) - moved_k**2
        known_k = (counts_kp * known_kp).sum(axis=1)
        variance_k = (1 - planes_k) * variance_k + known_k + planes_k * np.float32(options.sigma**2) + spread_k
        return correction_k + moved_k, variance_k


def _terms(features_m6: np.ndarray) -> np.ndarray:
    """In what inverse depth is linear on a plane (M, 3): x, y, 1."""
    terms_m3 = np.ones((len(features_m6), 3), features_m6.dtype)
    terms_m3[:, :2] = features_m6[:, :2]
    return terms_m3
