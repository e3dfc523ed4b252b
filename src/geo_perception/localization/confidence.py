"""How likely a pose is right, by what should be seen from it and is not.

A wrong pose that looks right has one of two faces. Where another place has some of the same furniture, the points of
that are all found and those around it are not: the agreeing points come in patches. Where a pose fits by chance, few
points agree, evenly, and less exactly than they should.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.localization.look import SecondLook

# Beyond the many, more agreeing points say no more: a piece of furniture has them wherever it stands.
_FEW_POINTS, _MANY_POINTS, _FEW_STRAYS = 10, 80, 10
_DOUBT = 60  # points of which half agree, beside those that are there: few points say little
_NEIGHBOURS = 15  # expected points around one that say whether its surroundings agree
_FEW, _MOST = 0.25, 0.8  # surroundings that agree less than a quarter as much as the best fifth contradict


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pose and against it.

    `share`: of the points that should be seen, those that are; a half where the map says of none whether it should.
    `patchiness`: how much more the shares of the points' surroundings differ than they would if points agreed
    independently (0), up to all or none of each (1). `contradicted`: the share of points whose surroundings hardly
    agree. Both are zero where the map says of no point. `noise_scale`: how much larger the residuals are than they
    should be. `landmarks`: of those detected, by their scores, the share that the pose explains. `agreeing`: how many
    points are where the pose has them. `strays`: how many keypoints stand out as those of points that are elsewhere by
    the pose; None where nobody asked, or the map describes no keypoints.
    """

    share: float
    patchiness: float
    contradicted: float
    noise_scale: float
    landmarks: float
    agreeing: int
    strays: int | None = None


# Each has a weight of its name and a term, in this order.
EVIDENCE = tuple(field.name for field in fields(Evidence))


def evidence_of(look: SecondLook, score_n: np.ndarray, agrees_n: np.ndarray) -> Evidence:
    """The evidence of a look; `score_n` of the landmarks that were seen, and which of them its pose explains."""
    # From where the map saw next to nothing, next to nothing needs to be seen: what is missing there tells nothing.
    told_s = look.sure_s | look.agrees_s
    agrees_t = look.agrees_s[told_s]
    patchiness, contradicted = _surroundings(look.expected_s2[told_s], agrees_t)
    share = float((agrees_t.sum() + _DOUBT / 2) / (len(agrees_t) + _DOUBT))
    believed = len(agrees_t) / (len(agrees_t) + _DOUBT)
    landmarks = float(score_n[agrees_n].sum() / max(score_n.sum(), 1e-9))
    noise_scale, agreeing = look.solution.noise_scale, look.agreeing
    return Evidence(share, believed * patchiness, believed * contradicted, noise_scale, landmarks, agreeing)


@dataclass(frozen=True)
class ConfidenceModel:
    """A logistic regression on the evidence.

    The weights are by the fit of the benchmark localization-confidence, of 600 right and 603 wrong poses in two
    rendered shops, four rendered rooms, a rendered house and a real office: of images of the mapped place, as they are
    and dimmed, of the same with things moved, of mirrored ones, of other places, and of the same furniture in another
    arrangement. The size of the residuals got no weight: they differ more between good images and dim ones than between
    right poses and wrong ones.
    """

    offset: float = 2.53
    share: float = 1.08  # of the logarithm of its odds
    patchiness: float = -3.11
    contradicted: float = -5.10
    noise_scale: float = 0.00  # of its logarithm
    landmarks: float = 3.61  # of its root
    agreeing: float = 3.58  # of its logarithm
    strays: float = -2.77  # of its logarithm

    def probability(self, evidence: Evidence) -> float:
        """That a pose with this evidence is right, where four of five are: a robot is mostly where its map is."""
        weights = np.array([getattr(self, name) for name in EVIDENCE])
        return float(1 / (1 + np.exp(-(self.offset + weights @ terms(evidence)))))


def terms(evidence: Evidence) -> np.ndarray:
    """What the weights of the model are multiplied with (7,)."""
    return np.array(
        [
            np.log((evidence.share + 0.02) / (1.02 - evidence.share)),
            evidence.patchiness,
            evidence.contradicted,
            np.log(max(evidence.noise_scale, 1e-3)),
            np.sqrt(evidence.landmarks),
            np.log((min(evidence.agreeing, _MANY_POINTS) + _FEW_POINTS) / (_MANY_POINTS + _FEW_POINTS)),
            np.log1p((evidence.strays or 0) / _FEW_STRAYS),
        ]
    )


def _surroundings(pixels_s2: np.ndarray, agrees_s: np.ndarray) -> tuple[float, float]:
    """Patchiness and the contradicted share of the points expected at `pixels_s2`."""
    share = float(agrees_s.mean()) if len(agrees_s) else 0.0
    count = min(_NEIGHBOURS, len(agrees_s) - 1)
    if count < 2 or share in (0.0, 1.0):
        return 0.0, 0.0
    _, near_sk = cKDTree(pixels_s2).query(pixels_s2, k=count + 1)
    around_s = agrees_s[near_sk[:, 1:]].mean(axis=1)
    spread = share * (1 - share)
    patchiness = float(np.clip((around_s.var() - spread / count) / spread, 0, 1))
    return patchiness, float((around_s < _FEW * np.quantile(around_s, _MOST)).mean())
