"""The scale of a depth map from a few points whose true depth is known.

Every point gives log(true depth / relative depth). Up to four in ten of them may be wrong. The scale is the one that
makes all points the likeliest: normal around it, with their own standard deviations times one factor that belongs to
the search, or anywhere. What is wrong then does not widen what counts as agreement. A majority must agree, and no other
scale may have nearly as many points for itself.

Its standard error is not spread / sqrt(n). A network is wrong about whole surfaces, not about pixels: neighbouring
points repeat one error. The errors of two points are taken to be alike by exp(-distance / L), with L a share
(CORRELATION_SHARE) of the map's width; a thousand points all over a map then count as about five. And since a handful
of points that are close together says nothing of how wrong the map is elsewhere, the spread that was expected counts
as PRIOR_POINTS further points. The points that do not agree count as being just beyond: where many are wrong, it is
less sure that the others are right.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geo_perception.depth.metric_points import MetricPoints
from geo_perception.depth.result import RelativeDepth
from geo_perception.depth.scale import ScaleMeasurement
from geo_perception.errors import InputError
from geo_perception.geometry import Camera

EDGE_RATIO = 1.15  # neighbouring pixels whose depths differ by more lie on different things
CORRELATION_SHARE = 0.2  # of the map's width
PRIOR_POINTS = 2.0
USUAL_SIGMA = 0.1  # of the log of a network's depth, where it gives none
LEAST_SIGMA = 0.02  # of the same; a map is not better than this, whatever it says
GATE_SIGMA = 3.0
MAX_DEVIATION = float(np.log(2.0))  # a point further off agrees with nothing
MIN_AGREEING = 0.5  # more than this share of the usable points
ALTERNATIVE_SHARE = 0.7  # points for another scale, for each that agrees with the best: then neither is taken
MAX_SPREAD = 0.15  # of the log ratios of points that agree, where their own standard deviations are not larger
MAX_POINTS = 800  # more would tell hardly more; the cost of their correlations is the square of their number
_MAP_SIGMA = 0.1  # beside the points' own deviations, when errors in common are averaged
_NEAR_LOG = 0.01  # points this close agree, however well the others do
ANYWHERE = 4.0  # the range of a wrong point's log ratio
_CENTRES, _SPREADS, _SEARCHED = 48, 8, 160  # that are tried, and points that they are tried on


def pixels_to_map(pixels_n2: np.ndarray, image_camera: Camera, depth: RelativeDepth) -> np.ndarray:
    """Pixels (N, 2) of the original image, with its lens, as pixels (N, 2) of the depth map.

    They may lie outside the map; NaN where the lens has no answer. Raises InputError when the map has no camera.
    """
    if depth.camera is None:
        raise InputError("the depth map has no camera, so its pixels cannot be found; estimate depth with a camera")
    camera = depth.camera
    xy_n2 = image_camera.normalize(pixels_n2)
    return xy_n2 * [camera.fx_px, camera.fy_px] + [camera.cx_px, camera.cy_px]


def scale_from_points(
    depth: RelativeDepth, pixels_n2: np.ndarray, depth_m_n: np.ndarray, sigma_n: np.ndarray | float, source: str,
    min_points: int = 6,
) -> ScaleMeasurement | None:  # fmt: skip
    """The scale from points at `pixels_n2` of the depth map whose depth along z is `depth_m_n` (metres).

    `sigma_n` is the standard deviation of the logarithm of each true depth (0.05 is 5 %), one number or (N,), as far as
    the points err independently; what they err in common the caller adds. Points that are outside the map, at its
    edges and holes, or no numbers count for nothing. None without a map, or when fewer than `min_points`, or no
    majority of those that could be used, agree.

    Raises InputError when the arrays do not fit each other.
    """
    pixels_n2, depth_m_n, sigma_n = checked_points(pixels_n2, depth_m_n, sigma_n)
    if not depth.estimated or depth.depth_hw is None or len(depth_m_n) == 0:
        return None
    relative_n, map_sigma_n = sample_map(depth, pixels_n2)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_n = np.log(np.where(depth_m_n > 0, depth_m_n, np.nan) / relative_n)
        variance_n = sigma_n**2 + map_sigma_n**2
        usable_n = np.isfinite(log_n) & np.isfinite(variance_n) & (sigma_n >= 0)
    chosen = np.flatnonzero(usable_n)
    chosen = chosen[:: max(-(-len(chosen) // MAX_POINTS), 1)]
    if len(chosen) < max(min_points, 1):
        return None
    log_n, sigma_n = log_n[chosen], np.sqrt(variance_n[chosen])
    centre, reach_n = consensus(log_n, sigma_n)
    agrees_n = np.abs(log_n - centre) <= reach_n
    support = int(agrees_n.sum())
    if support < min_points or support <= MIN_AGREEING * len(chosen) or _has_alternative(log_n, sigma_n, agrees_n):
        return None
    length_px = CORRELATION_SHARE * depth.depth_hw.shape[1]
    deviation = float(np.mean((np.minimum(np.abs(log_n - centre), reach_n) / sigma_n) ** 2))
    sigma = _standard_error(deviation, sigma_n[agrees_n], pixels_n2[chosen][agrees_n], length_px)
    return ScaleMeasurement(float(centre), sigma, source, support)


def measure_scale(depth: RelativeDepth, points: MetricPoints, min_points: int = 6) -> ScaleMeasurement | None:
    """The scale from measured points, with what they err in common, and with the points. None as `scale_from_points`.

    An error that moves the points by b_k moves their mean by the mean of b_k.
    """
    found = scale_from_points(
        depth, points.pixels_n2, points.depth_m_n, points.sigma_n, points.source, min_points
    )  # fmt: skip
    if found is None:
        return None
    common_k = np.average(points.shared_nk, axis=0, weights=1 / (points.sigma_n**2 + _MAP_SIGMA**2))
    return replace(found, sigma=float(np.sqrt(found.sigma**2 + (common_k**2).sum())), points=points)


def checked_points(
    pixels_n2: np.ndarray, depth_m_n: np.ndarray, sigma_n: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N, 2), depths (N,) and deviations (N,) as numbers. Raises InputError when they do not fit each other."""
    pixels_n2, depth_m_n = np.asarray(pixels_n2, np.float64), np.asarray(depth_m_n, np.float64).reshape(-1)
    if pixels_n2.size != 2 * len(depth_m_n) or np.size(sigma_n) not in (1, len(depth_m_n)):
        raise InputError(
            f"{pixels_n2.size // 2} pixels, {len(depth_m_n)} depths and {np.size(sigma_n)} deviations; "
            "give one of each for every point"
        )
    sigma_n = np.broadcast_to(np.asarray(sigma_n, np.float64).reshape(-1), depth_m_n.shape)
    return pixels_n2.reshape(-1, 2), depth_m_n, sigma_n


def sample_map(depth: RelativeDepth, pixels_n2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative depth (N,) at pixels (N, 2) of the map, and the standard deviation (N,) of its logarithm.

    Between pixels 1 / depth is interpolated, which is exact on a plane. NaN outside the map, and where the four pixels
    around are not all depths of one surface.
    """
    depth_hw = np.asarray(depth.depth_hw, np.float64)
    height, width = depth_hw.shape
    depth_n, sigma_n = np.full(len(pixels_n2), np.nan), np.full(len(pixels_n2), np.nan)
    with np.errstate(invalid="ignore"):
        inside_n = ((pixels_n2 >= -0.5) & (pixels_n2 <= np.array([width, height]) - 0.5)).all(axis=1)
    if height < 2 or width < 2 or not inside_n.any():
        return depth_n, sigma_n
    xy_m2 = np.clip(pixels_n2[inside_n], 0, [width - 1, height - 1])
    x0, y0 = np.minimum(xy_m2.astype(np.int64), [width - 2, height - 2]).T
    across, down = xy_m2[:, 0] - x0, xy_m2[:, 1] - y0
    shares_4m = np.stack([(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down])
    rows, columns = np.stack([y0, y0, y0 + 1, y0 + 1]), np.stack([x0, x0 + 1, x0, x0 + 1])
    near_4m = depth_hw[rows, columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        whole_m = (np.isfinite(near_4m) & (near_4m > 0)).all(axis=0)
        whole_m &= near_4m.max(axis=0) <= EDGE_RATIO * near_4m.min(axis=0)
        depth_n[inside_n] = np.where(whole_m, 1 / (shares_4m / near_4m).sum(axis=0), np.nan)
    if depth.sigma_hw is None:
        sigma_n[inside_n] = USUAL_SIGMA
    else:  # a Laplace distribution of scale b has the variance 2 b^2
        told_m = np.sqrt(2.0) * (shares_4m * np.asarray(depth.sigma_hw, np.float64)[rows, columns]).sum(axis=0)
        sigma_n[inside_n] = np.where(told_m >= 0, np.hypot(told_m, LEAST_SIGMA), np.nan)
    return depth_n, sigma_n


def consensus(log_n: np.ndarray, sigma_n: np.ndarray) -> tuple[float, np.ndarray]:
    """The likeliest log ratio, and how far (N,) each point may be from it to agree."""
    order = np.argsort(log_n)
    centres_c = log_n[order[np.linspace(0, len(order) - 1, min(len(order), _CENTRES)).round().astype(int)]]
    widest = max(MAX_SPREAD / float(np.median(sigma_n)), 1.25)
    few = slice(None, None, -(-len(log_n) // _SEARCHED))  # enough to find where to begin
    factors = widest * np.geomspace(0.05, 1, _SPREADS)
    _, centre, factor = max(
        (_likeliest(centres_c, log_n[few], sigma_n[few], factor) for factor in factors), key=lambda found: found[0]
    )
    best = _likeliest(np.array([centre]), log_n, sigma_n, factor)
    for _ in range(20):
        gain, centre, factor = best
        agrees_n = np.abs(log_n - centre) <= _reach(sigma_n, factor)[1]
        centre = float(np.average(log_n[agrees_n], weights=1 / sigma_n[agrees_n] ** 2))
        factors = np.clip(factor * np.array([0.8, 1.0, 1.25]), 0.05 * widest, widest)
        best = max((_likeliest(np.array([centre]), log_n, sigma_n, f) for f in factors), key=lambda found: found[0])
        if not best[0] > gain + 1e-9:
            best = max(best, (gain, centre, factor), key=lambda found: found[0])
            break
    return best[1], _reach(sigma_n, best[2])[1]


def _likeliest(centres_c: np.ndarray, log_n: np.ndarray, sigma_n: np.ndarray, factor: float):
    """(gain, centre, factor) of the best of the centres; gain is how much likelier all points are than anywhere."""
    spread_n, reach_n = _reach(sigma_n, factor)
    deviation_cn = np.abs(log_n - centres_c[:, None])
    gain_cn = np.log(ANYWHERE / (np.sqrt(2 * np.pi) * spread_n)) - 0.5 * (deviation_cn / spread_n) ** 2
    gain_c = np.where(deviation_cn <= reach_n, gain_cn, 0.0).sum(axis=1)
    best = int(np.argmax(gain_c))
    return float(gain_c[best]), float(centres_c[best]), float(factor)


def _reach(sigma_n: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (N,) of the points' log ratios, and how far (N,) they may be off: as long as that is likelier
    than anywhere."""
    spread_n = np.maximum(factor * sigma_n, _NEAR_LOG / GATE_SIGMA)
    likely_n = np.log(ANYWHERE / (np.sqrt(2 * np.pi) * spread_n))
    gate_n = np.minimum(GATE_SIGMA, np.sqrt(2 * np.maximum(likely_n, 0.0)))
    return spread_n, np.minimum(gate_n * spread_n, MAX_DEVIATION)


def _has_alternative(log_n: np.ndarray, sigma_n: np.ndarray, agrees_n: np.ndarray) -> bool:
    """Whether nearly as many points that do not agree with the best agree on another scale."""
    others = np.flatnonzero(~agrees_n)
    if len(others) < ALTERNATIVE_SHARE * agrees_n.sum():
        return False
    centre, reach_n = consensus(log_n[others], sigma_n[others])
    return bool((np.abs(log_n[others] - centre) <= reach_n).sum() >= ALTERNATIVE_SHARE * agrees_n.sum())


def _standard_error(deviation: float, sigma_n: np.ndarray, pixels_n2: np.ndarray, length_px: float) -> float:
    """Of a mean with weights 1 / sigma^2, of points whose errors are alike by exp(-distance / length).

    `deviation` is the mean square of how far points were off, in units of their sigma."""
    weight_n = 1 / sigma_n**2
    weight_n = weight_n / weight_n.sum()
    distance_nn = np.linalg.norm(pixels_n2[:, None] - pixels_n2[None], axis=2)
    alike_nn = np.exp(-distance_nn / length_px)
    scaled_n = weight_n * sigma_n
    expected = float(scaled_n @ alike_nn @ scaled_n)  # the variance, if every sigma is right
    count = max(float(scaled_n.sum()) ** 2 / expected, 1.0)  # of points that would not be alike
    # Points that are alike vary less about their own mean than about the truth.
    own = deviation / max(1 - 1 / count, 0.05)
    inflation = (PRIOR_POINTS + (count - 1) * own) / (PRIOR_POINTS + count - 1)
    return float(np.sqrt(expected * inflation))
