"""What frozen backbones find in scenes that they never saw, as a page: tables and a chart a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geo_training.report.charts import ACCENT, BAD, GOOD, THIRD, axis, line, make_chart
from geo_training.report.numbers import number, percent
from geo_training.report.page import tables_page, write_page
from geo_training.report.tables import Table, TableSection

LABELS = {
    "imagenet": "EfficientNet-Lite0, ImageNet",
    "xfeat": "XFeat",
    "sum": "XFeat + EfficientNet-Lite0",
    "agnostic": "EfficientNet-Lite0, scene-agnostic (trained here)",
}
_COLORS = dict(zip(LABELS, (ACCENT, THIRD, GOOD, BAD), strict=True))


@dataclass(frozen=True)
class Measured:
    """One backbone with one number of landmarks in one scene. `recall` and `median` are of the landmarks alone; `unit`
    is that of the median (cm or pct of the scene's depth); `found` the share of landmarks that are detected where they
    are; `head_s` the seconds from landmarks to scene file."""

    scene: str
    backbone: str
    landmarks: int
    trained: bool
    queries: int
    recall_key: str
    recall: float
    unit: str
    median: float
    found: float
    head_s: float

    @property
    def metrics(self) -> dict[str, float]:
        name = f"{self.scene}_{self.backbone}_{self.landmarks}" + "_trained" * self.trained
        return {
            f"{name}_{self.recall_key}": self.recall,
            f"{name}_median_{self.unit}": self.median,
            f"{name}_found_8px": self.found,
            f"{name}_head_s": self.head_s,
        }


@dataclass(frozen=True)
class BackboneReport:
    """The page of the benchmark; `sentences` say how the backbone was trained."""

    measured: tuple[Measured, ...]
    sentences: tuple[str, ...]
    config: dict

    def write_report(self, path: str | Path, command: str = "") -> Path:
        """Writes the page."""
        sections = [
            TableSection(f"{scene}{', heads trained' * trained}", _note(own), scene_table(own), scene_chart(own))
            for scene in dict.fromkeys(found.scene for found in self.measured)
            for trained in (False, True)
            if (own := [found for found in self.measured if (found.scene, found.trained) == (scene, trained)])
        ]
        config = self.config | ({"command": command} if command else {})
        return write_page(path, tables_page("Frozen backbones on unseen scenes", self.sentences, sections, config))


def scene_table(measured: list[Measured]) -> Table:
    """Backbones down, numbers of landmarks across: recall, median error and the seconds that the head took."""
    counts = list(dict.fromkeys(found.landmarks for found in measured))
    lines = []
    for backbone in dict.fromkeys(found.backbone for found in measured):
        own = {found.landmarks: found for found in measured if found.backbone == backbone}
        cells = [
            f"{percent(own[n].recall)}; found {percent(own[n].found)}; median {number(own[n].median, 2)}; "
            f"{number(own[n].head_s, 0)} s"
            for n in counts
        ]
        lines.append([LABELS[backbone], *cells])
    return ["backbone", *(f"{count} landmarks" for count in counts)], lines


def scene_chart(measured: list[Measured]):
    """Recall over the number of landmarks, a line a backbone."""
    lines = []
    for backbone in dict.fromkeys(found.backbone for found in measured):
        own = [found for found in measured if found.backbone == backbone]
        x, y = [found.landmarks for found in own], [100 * found.recall for found in own]
        hover = "%{x} landmarks: %{y:.0f} %"
        lines.append(line(x, y, LABELS[backbone], _COLORS[backbone], hover, mode="lines+markers"))
    recall = axis("recall (%)", range=[0, 102])
    return make_chart(
        lines, xaxis=axis("landmarks", type="log", tickvals=sorted({f.landmarks for f in measured})), yaxis=recall
    )


def _note(measured: list[Measured]) -> str:
    first = measured[0]
    within = {"cm": "5 cm and 5°", "pct": "2 % of the scene's depth and 5°"}[first.unit]
    unit = {"cm": "cm", "pct": "percent of the scene's depth"}[first.unit]
    return (
        f"Share of {first.queries} queries within {within}, by the landmarks alone; share of the landmarks inside "
        f"the image that are detected within 8 px; median error in {unit}; seconds from landmarks to scene file."
    )
