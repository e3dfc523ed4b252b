"""Pairs of frames of one recording, so far apart that features moved, and the matches between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geo_training.console import track
from geo_training.datasets.check.findings import by_sequence
from geo_training.datasets.matching import Features, Matches, features_of
from geo_training.datasets.scene import Frame, SceneDataset


class FrameMatcher:
    """Matches frames of one dataset by a function of `datasets.matching`, with each frame's features kept."""

    def __init__(self, dataset: SceneDataset, match: Callable[[str, Features, str, Features], Matches]):
        self._dataset, self._match = dataset, match
        self._features: dict[str, Features] = {}

    def __call__(self, a: Frame, b: Frame) -> Matches:
        for frame in (a, b):
            if frame.name not in self._features:
                self._features[frame.name] = features_of(self._dataset.image(frame))
        return self._match(a.name, self._features[a.name], b.name, self._features[b.name])


@dataclass(frozen=True)
class PairOptions:
    """At most `count` pairs, of frames one of `offsets` apart: the least at which features move by `moved_share` of the
    width, or the largest that leaves `matches_least` matches."""

    count: int
    offsets: tuple[int, ...]
    moved_share: float
    matches_least: int


def moving_pairs(
    frames: list[Frame], dataset: SceneDataset, matcher: FrameMatcher, options: PairOptions, title: str
) -> list[tuple[Frame, Frame, Matches]]:
    """Pairs spread over all sequences. `title` stands beside the progress."""
    places = [(sequence, index) for sequence in by_sequence(frames).values() for index in range(len(sequence) - 1)]
    chosen = np.unique(np.linspace(0, len(places) - 1, options.count).astype(int)) if places else []
    pairs = []
    for sequence, start in track([places[index] for index in chosen], title):
        best = None
        for offset in options.offsets:
            other = start + offset if start + offset < len(sequence) else start - offset
            if other < 0:
                break
            a, b = sequence[start], sequence[other]
            matches = matcher(a, b)
            if len(matches) < options.matches_least:
                break
            best = a, b, matches
            if matches.displacement_px > options.moved_share * dataset.camera(a).width_px:
                break
        if best is not None:
            pairs.append(best)
    return pairs
