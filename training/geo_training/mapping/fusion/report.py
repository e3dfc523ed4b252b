"""The page of `geo-train fuse`: errors at hidden depth, how true stated deviations are, losses, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup

from geo_perception.depth.overlay import draw_depth
from geo_training.mapping.fusion.hide import HOLES
from geo_training.mapping.fusion.measure import HiddenTest, fusion_metrics
from geo_training.mapping.fusion.methods import FACTOR, MLP, SURFACES
from geo_training.metrics.completion import AWAY_PX, away_key
from geo_training.report import page as parts
from geo_training.report.charts import ACCENT, BAD, MUTED, axis, line, make_chart, reliability_plot
from geo_training.report.numbers import number
from geo_training.report.pictures import as_data_url

METHOD_TITLES = {SURFACES: "ours", FACTOR: "one factor", MLP: "the paper's regressor"}
KIND_TITLES = {"random": "pixels at random", HOLES: "holes"}
_COLORS = {SURFACES: ACCENT, FACTOR: MUTED, MLP: BAD}
_MOST_POINTS = 100_000
_PICTURES, _PICTURE_PX = 4, 280
_TEXTS = {
    "away": ("How far a hole is filled", "Mean absolute error by the distance to the nearest given depth, in holes."),
    "sigma": ("Stated deviations", "On the line, stated intervals hold as often as they say; above it, more often."),
    "loss": (
        "Losses of the regressor",
        "Half the squared error at the pixels of an image that it learned from, and at others.",
    ),
}


@dataclass(frozen=True)
class FusionReport:
    """What was measured on hidden depth, as a page."""

    title: str
    tests: Sequence[HiddenTest]
    unit: str
    metadata: dict[str, str]
    config: dict

    def write_report(self, path: str | Path, command: str = "") -> Path:
        """Writes the page to `path`."""
        metrics, charts = fusion_metrics(self.tests), self._charts()
        frames = len({test.frame.name for test in self.tests})
        lead = f"Depth of {frames} images was hidden and completed again; distances are in {self.unit}."
        sections = [parts.header(self.title, [lead])]
        for kind, by_method in metrics.items():
            rows = [[METHOD_TITLES[name], *_cells(found)] for name, found in by_method.items()]
            heads = ["", "MAE", "MSE", "abs_rel", "inside the stated 90 %", "seconds an image"]
            sections.append(parts.section(f"Hidden: {KIND_TITLES[kind]}", "", parts.table(heads, rows)))
        sections += [parts.chart_section(charts, name, _TEXTS) for name in _TEXTS]
        sections.append(self._pictures())
        sections.append(parts.provenance(self.metadata, self.config, command))
        return parts.write_page(path, parts.page(self.title, sections, charts))

    def _charts(self) -> dict:
        charts = {}
        by_method = fusion_metrics(self.tests).get(HOLES, {})
        middles = [(low + high) / 2 for low, high in zip(AWAY_PX, (*AWAY_PX[1:], 2 * AWAY_PX[-1]), strict=True)]
        lines = [
            line(middles, [found[away_key(px)] for px in AWAY_PX], METHOD_TITLES[name], _COLORS[name])
            for name, found in by_method.items()
        ]
        if lines:
            away, error = axis("pixels to the nearest given depth"), axis(f"mean absolute error ({self.unit})")
            charts["away"] = make_chart(lines, xaxis=away, yaxis=error)
        stated = {KIND_TITLES[kind]: (_squared_errors(self.tests, kind), 1) for kind in KIND_TITLES}
        stated = {kind: found for kind, found in stated.items() if len(found[0])}
        if stated:
            charts["sigma"] = reliability_plot(stated, "pixels inside (%)")
        learned = next((test.completion for test in self.tests if test.completion.train_loss), None)
        if learned is not None:
            steps = np.arange(1, len(learned.train_loss) + 1)
            lines = [
                line(steps, learned.train_loss, "learned from", BAD),
                line(steps, learned.test_loss, "others", MUTED),
            ]
            charts["loss"] = make_chart(lines, xaxis=axis("iteration"), yaxis=axis("loss", type="log"))
        return charts

    def _pictures(self) -> Markup:
        shown = {}
        for test in self.tests:
            if test.kind == HOLES:
                shown.setdefault(test.frame.name, []).append(test)
        figures = [draw_tests(tests) for tests in list(shown.values())[:_PICTURES]]
        if not figures:
            return Markup()
        titles = ["the image", "what was given", *(METHOD_TITLES[test.method] for test in next(iter(shown.values())))]
        note = f"From left to right: {', '.join([*titles, 'all that is known'])}. Near is bright, grey is unknown."
        rows = [
            parts.picture(name, as_data_url(figure), name) for name, figure in zip(list(shown), figures, strict=False)
        ]
        return parts.section("Before and after", note, parts.pictures(rows, "panels"))


def draw_tests(tests: Sequence[HiddenTest]) -> np.ndarray:
    """The image, its depth with holes, what each method made of it, and all known depth, RGB beside one another in the
    same colours."""
    frame = tests[0].frame
    given_hw = np.where(tests[0].hidden_hw, 0, frame.known_hw)
    maps = [given_hw, *(np.nan_to_num(test.completion.depth_hw) for test in tests), frame.known_hw]
    height, width = frame.known_hw.shape
    size_px = _PICTURE_PX, max(1, round(_PICTURE_PX * height / width))
    small = [cv2.resize(one.astype(np.float32), size_px, interpolation=cv2.INTER_NEAREST) for one in maps]
    low, high = np.percentile(frame.known_hw[frame.known_hw > 0], (1, 99))
    drawn_hw3 = draw_depth(np.concatenate([np.where(one > 0, np.clip(one, low, high), 0) for one in small], axis=1))
    return np.concatenate([cv2.resize(frame.image_hw3, size_px, interpolation=cv2.INTER_AREA), drawn_hw3], axis=1)


def _cells(found: dict[str, float]) -> list[str]:
    inside = "" if not np.isfinite(found["interval_90"]) else f"{100 * found['interval_90']:.0f} %"
    return [*(number(found[key], 3) for key in ("mae", "mse", "abs_rel")), inside, number(found["s"], 2)]


def _squared_errors(tests: Sequence[HiddenTest], kind: str) -> np.ndarray:
    """Squared errors of the logarithm over their stated variance, of our completions of that kind."""
    found = []
    for test in tests:
        sigma_hw = test.completion.sigma_hw
        if test.kind != kind or sigma_hw is None:
            continue
        asked_hw = test.hidden_hw & np.isfinite(test.completion.depth_hw)
        error_n = np.log(test.completion.depth_hw[asked_hw] / test.frame.known_hw[asked_hw])
        found.append((error_n / sigma_hw[asked_hw]) ** 2)
    errors_n = np.concatenate(found) if found else np.zeros(0)
    return errors_n[:: max(1, len(errors_n) // _MOST_POINTS)]
