"""Three ways to complete depth: the paper's regressor, one factor, and ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from geo_perception.errors import InputError
from geo_training.mapping.fusion.surfaces import TooLittleDepthError, complete_by_surfaces

FACTOR, MLP, SURFACES = "factor", "mlp", "surfaces"
# "Faster training of the Scene Landmark Detection", section 3.2.1.
_HIDDEN_LAYERS, _RANDOM_STATE, _ITERATIONS, _TEST_SHARE = (100, 50), 42, 1000, 0.2
# When scikit-learn's own `fit` ends.
_TOLERANCE, _PATIENCE = 1e-4, 10
_LEAST_PIXELS = 20


@dataclass(frozen=True)
class Completion:
    """Completed depth (H, W) in the unit of what was given, NaN where it could not be; the standard deviation (H, W) of
    its logarithm, None where the method does not tell; how long it took, and the losses of each iteration on the
    pixels it learned from and on the others, where it learned."""

    depth_hw: np.ndarray
    sigma_hw: np.ndarray | None
    seconds: float
    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)


Method = Callable[[np.ndarray, np.ndarray, np.ndarray], Completion]


def by_factor(known_hw: np.ndarray, relative_hw: np.ndarray, image_hw3: np.ndarray) -> Completion:
    """One factor for the whole image: the median of known over relative depth."""
    started_s = time.perf_counter()
    known, both_hw = _depths(known_hw, relative_hw)
    factor = float(np.median(known[both_hw] / relative_hw[both_hw]))
    depth_hw = np.where(known > 0, known, factor * relative_hw).astype(np.float32)
    return Completion(depth_hw, None, time.perf_counter() - started_s)


def by_surfaces(known_hw: np.ndarray, relative_hw: np.ndarray, image_hw3: np.ndarray) -> Completion:
    """Ours (surfaces.py)."""
    started_s = time.perf_counter()
    found = complete_by_surfaces(known_hw, relative_hw, image_hw3)
    return Completion(found.depth_hw, found.sigma_hw, time.perf_counter() - started_s)


def by_mlp(known_hw: np.ndarray, relative_hw: np.ndarray, image_hw3: np.ndarray) -> Completion:
    """The paper's: a multilayer perceptron from relative depth, colour and place to depth, made anew for each image
    ("Faster training of the Scene Landmark Detection", section 3.2.1): two hidden layers of 100 and 50, features
    brought to mean 0 and deviation 1, four fifths of the pixels to learn from, at most 1000 iterations.

    `seconds` leaves out the losses on the other fifth. Raises InputError where scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import train_test_split
        from sklearn.neural_network import MLPRegressor
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise InputError("the method mlp needs scikit-learn; pip install scikit-learn") from None
    started_s, beside_s = time.perf_counter(), 0.0
    known, both_hw = _depths(known_hw, relative_hw)
    y_hw, x_hw = np.indices(known.shape)
    features_hw6 = np.dstack([relative_hw, image_hw3, x_hw, y_hw]).astype(np.float64)
    scaler = StandardScaler().fit(features_hw6[both_hw])
    train_n6, test_n6, train_n, test_n = train_test_split(
        scaler.transform(features_hw6[both_hw]), known[both_hw], test_size=_TEST_SHARE, random_state=_RANDOM_STATE
    )
    # One iteration at a time, for the losses on the other pixels; a random state of its own, since a number would
    # shuffle each iteration alike.
    regressor = MLPRegressor(hidden_layer_sizes=_HIDDEN_LAYERS, random_state=np.random.RandomState(_RANDOM_STATE))
    losses: list[float] = []
    test_losses: list[float] = []
    since_best = 0
    while len(losses) < _ITERATIONS and since_best <= _PATIENCE:
        regressor.partial_fit(train_n6, train_n)
        best = min(losses, default=np.inf)
        losses.append(float(regressor.loss_))
        since_best = since_best + 1 if losses[-1] > best - _TOLERANCE else 0
        looked_s = time.perf_counter()
        test_losses.append(float(0.5 * np.mean((regressor.predict(test_n6) - test_n) ** 2)))
        beside_s += time.perf_counter() - looked_s
    missing_hw = ~(known > 0) & np.isfinite(relative_hw)
    depth_hw = np.where(known > 0, known, np.nan).astype(np.float32)
    if missing_hw.any():
        depth_hw[missing_hw] = regressor.predict(scaler.transform(features_hw6[missing_hw]))
    # A regressor knows nothing of depth; what it puts behind the camera is no answer, but the nearest that is known.
    depth_hw[missing_hw] = np.maximum(depth_hw[missing_hw], known[both_hw].min())
    return Completion(depth_hw, None, time.perf_counter() - started_s - beside_s, losses, test_losses)


METHODS: dict[str, Method] = {SURFACES: by_surfaces, FACTOR: by_factor, MLP: by_mlp}


def find_method(name: str) -> Method:
    """The method of that name. Raises InputError where there is none."""
    if name not in METHODS:
        raise InputError(f"there is no way '{name}' to complete depth; choose {', '.join(METHODS)}")
    return METHODS[name]


def _depths(known_hw: np.ndarray, relative_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Known depth, 0 where it is not; and where both are known (H, W) bool. Raises TooLittleDepthError where that is
    hardly anywhere."""
    known = np.where(np.isfinite(known_hw) & (known_hw > 0), known_hw, 0.0)
    both_hw = (known > 0) & np.isfinite(relative_hw) & (relative_hw > 0)
    if both_hw.sum() < _LEAST_PIXELS:
        raise TooLittleDepthError(f"only {both_hw.sum()} pixels have both depths; {_LEAST_PIXELS} are needed")
    return known, both_hw
