"""What a network that gives metres knows of the scale itself: that it is about 1."""

from __future__ import annotations

import math

from geo_perception.depth.scale import Scale

SOURCE = "network"


def with_network_scale(scale: Scale | None, sigma: float, gate_sigma: float) -> Scale | None:
    """The scale that was measured, and the network's own: 1, within `sigma` of its logarithm (0: not used).

    A network is off by the same factor for as long as it sees one scene, so this is no measurement that gains by being
    made again: it is joined anew with what was measured, as independent of that. Where both contradict each other, by
    more than `gate_sigma` standard deviations of their difference, the measured one stands alone.
    """
    if sigma <= 0:
        return scale
    if scale is None:
        return Scale(1.0, sigma, SOURCE, 0.0)
    log_scale = math.log(scale.factor) if scale.factor > 0 else math.nan
    variance, own = scale.sigma**2, sigma**2
    if not abs(log_scale) <= gate_sigma * math.sqrt(variance + own):
        return scale
    total = variance + own
    joined = math.exp(log_scale * own / total)
    return Scale(joined, math.sqrt(variance * own / total), f"{scale.source}+{SOURCE}", scale.age_s)
