"""One focal length from many images of one camera, whose errors are partly the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHARED_ERROR = 0.2  # part of the error variance that all images of one place have in common
_FREEDOM = 4.0  # of Student's t distribution, by which an image that is far off counts little
_STEPS = 30


def pooled_log_focal(
    log_focal_n: Sequence[float], sigma_n: Sequence[float], shared_error: float = SHARED_ERROR
) -> tuple[float, float]:
    """The logarithm of the focal length of N images' camera, and its standard deviation, by what each image says.

    The most likely value under Student's t errors. Where images scatter more than they state, it is less certain by as
    much; and it never gets more certain than the part of an image's error that all of them share. Raises ValueError
    where there is no image.
    """
    values_n, sigma_n = np.asarray(log_focal_n, np.float64), np.asarray(sigma_n, np.float64)
    if len(values_n) == 0:
        raise ValueError("no image says anything of the focal length")
    information_n = sigma_n**-2.0
    mean = _weighted_median(values_n, information_n)
    for _ in range(_STEPS):
        weight_n = information_n * (_FREEDOM + 1) / (_FREEDOM + ((values_n - mean) / sigma_n) ** 2)
        before, mean = mean, float(weight_n @ values_n / weight_n.sum())
        if abs(mean - before) < 1e-9:
            break
    believed_n = np.minimum(weight_n / information_n, 1.0)
    count = believed_n.sum()
    one = float(count / (believed_n @ information_n))  # variance of a usual image
    scatter = float(believed_n @ ((values_n - mean) / sigma_n) ** 2 / count)
    own = one * max(scatter, 1.0) / count
    return mean, float(np.sqrt(shared_error * one + (1 - shared_error) * own))


def combined(opinions: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(value, standard deviation) of several that err independently."""
    values_n, sigma_n = np.transpose(np.asarray(opinions, np.float64))
    information_n = sigma_n**-2.0
    return float(information_n @ values_n / information_n.sum()), float(information_n.sum() ** -0.5)


def _weighted_median(values_n: np.ndarray, weight_n: np.ndarray) -> float:
    order = np.argsort(values_n, kind="stable")
    passed_n = np.cumsum(weight_n[order])
    return float(values_n[order][np.searchsorted(passed_n, passed_n[-1] / 2)])
