"""What is to be done about a scene: good, refresh or remap, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum

import numpy as np

from geo_training.evaluation.scene_health.judge import Judgement, State
from geo_training.evaluation.scene_health.observe import Observation

REFRESH_SHARE = 0.05  # of the landmarks that are known, gone
PLACE_SHARE, PLACE_LANDMARKS = 0.4, 10  # the same of one place's, where it shows so many
REMAP_SHARE = 0.6
LOST_REFRESH, LOST_REMAP = 0.2, 0.45  # of the frames of the newest recording
DIM = 0.7  # times the light of the recording in which most answer


class Verdict(str, Enum):
    """The words are those of the report and the JSON."""

    GOOD = "good"
    REFRESH = "refresh"
    REMAP = "remap"


@dataclass(frozen=True)
class RecordingHealth:
    """One recording: its frames, those in which the robot was lost or nothing is told, the share of asked landmarks
    that answer, of those that are still there, and the light (0 to 1) with its contrast."""

    name: str
    frames: int
    lost: int
    answer_rate: float
    living_answer_rate: float
    light: float
    contrast: float


@dataclass(frozen=True)
class SceneHealth:
    """The verdict with its reasons, and what they rest on. `unit` is m, or scene units."""

    verdict: Verdict
    reasons: list[str]
    judgement: Judgement
    recordings: list[RecordingHealth]
    landmarks_l3: np.ndarray
    metric: bool
    ground_23: np.ndarray  # right and forward, on which it is drawn

    @property
    def unit(self) -> str:
        return "m" if self.metric else "scene units"

    def of_state(self, *states: State) -> list[int]:
        return [one.landmark for one in self.judgement.landmarks if one.state in states]

    def as_json(self) -> dict:
        return {
            "verdict": self.verdict.value,
            "reasons": self.reasons,
            "figures": self.figures(),
            "rates": [
                {"alive": one.alive_g.tolist(), "gone": one.gone_g.tolist(), "gone_share": one.gone_share}
                for one in self.judgement.rates
            ],
            "recordings": [asdict(one) for one in self.recordings],
            "landmarks": [
                asdict(one) | {"state": one.state.value, "to_3": None if one.to_3 is None else one.to_3.tolist()}
                for one in self.judgement.landmarks
            ],
        }

    def figures(self) -> dict[str, float]:
        """How many landmarks there are of each state, and how often those that are there answer."""
        counts = {state.name.lower(): len(self.of_state(state)) for state in State}
        told = [one for one in self.judgement.landmarks if not one.state.gone and one.told]
        recall = float(np.mean([one.recall for one in told])) if told else float("nan")
        precision = [one.precision for one in told if np.isfinite(one.precision)]
        return counts | {
            "landmarks": len(self.judgement.landmarks),
            "living_recall": recall,
            "living_precision": float(np.mean(precision)) if precision else float("nan"),
            "frames": sum(one.frames for one in self.recordings),
            "lost_frames": sum(one.lost for one in self.recordings),
        }

    def write_report(self, path, command: str = ""):
        """Writes the page; `command` is the line that made it."""
        from geo_training.evaluation.scene_health.report import write_report  # charts are loaded where they are drawn

        return write_report(self, path, command)


def recording_health(names: Sequence[str], observations: Sequence[Observation], judgement: Judgement) -> list:
    """Each recording by the frames of it."""
    living_l = ~judgement.gone_l
    found = []
    for number, name in enumerate(names):
        own = [(one, told) for one, told in zip(observations, judgement.told_n, strict=True) if one.recording == number]
        told = [one for one, says in own if says]
        asked = sum(int(one.answers.told_l.sum()) for one in told)
        asked_living = sum(int((one.answers.told_l & living_l).sum()) for one in told)
        found.append(RecordingHealth(
            name, len(own), len(own) - len(told),
            sum(int(one.answers.hit_l.sum()) for one in told) / asked if asked else float("nan"),
            sum(int((one.answers.hit_l & living_l).sum()) for one in told) / asked_living if asked_living
            else float("nan"),
            float(np.mean([one.light for one, _ in own])) if own else float("nan"),
            float(np.mean([one.contrast for one, _ in own])) if own else float("nan"),
        ))  # fmt: skip
    return found


def verdict_of(
    judgement: Judgement,
    recordings: Sequence[RecordingHealth],
    visible_kl: np.ndarray | None = None,
    metric: bool = True,
) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons, the gravest first. `visible_kl`: which landmarks each place of the scene shows."""
    unit = "m" if metric else "scene units"
    newest = recordings[-1]
    known, gone = int(judgement.known_l.sum()), int(judgement.gone_l.sum())
    verdict, reasons = Verdict.GOOD, []
    lost_share = newest.lost / newest.frames if newest.frames else 1.0
    share = gone / known if known else 0.0
    if lost_share > LOST_REMAP:
        verdict = Verdict.REMAP
        reasons.append(f"the robot is lost in {newest.lost} of {newest.frames} frames of {newest.name}: too little of "
                       "the scene is left to place it by, or it was elsewhere")  # fmt: skip
    elif share > REMAP_SHARE:
        verdict = Verdict.REMAP
        reasons.append(f"{gone} of {known} landmarks are gone; what is left is no frame to put new ones into")
    elif lost_share > LOST_REFRESH and gone:
        verdict = Verdict.REFRESH
        reasons.append(f"the robot is lost in {newest.lost} of {newest.frames} frames of {newest.name}, and {gone} "
                       "landmarks are gone")  # fmt: skip
    if verdict is not Verdict.REMAP and share > REFRESH_SHARE:
        verdict = Verdict.REFRESH
        reasons.append(f"{gone} of {known} landmarks are gone ({share:.0%})")
    if verdict is Verdict.GOOD and visible_kl is not None and known:
        shown_k = (visible_kl & judgement.known_l).sum(axis=1)
        share_k = (visible_kl & judgement.gone_l).sum(axis=1) / np.maximum(shown_k, 1)
        bare_k = (shown_k >= PLACE_LANDMARKS) & (share_k > PLACE_SHARE)
        if bare_k.any():
            verdict = Verdict.REFRESH
            reasons.append(f"few landmarks are gone, but in {int(bare_k.sum())} places more than {PLACE_SHARE:.0%} of "
                           "those that should be seen")  # fmt: skip
    reasons += _what_happened(judgement, unit) + _light(recordings)
    if not known:
        reasons.insert(0, "no landmark was seen often enough to say anything of it")
    elif verdict is Verdict.GOOD:
        reasons.insert(0, f"{known - gone} of {known} landmarks that were seen often enough are where they were")
    return verdict, reasons


def _what_happened(judgement: Judgement, unit: str) -> list[str]:
    reasons = []
    moved = [one for one in judgement.landmarks if one.state is State.MOVED]
    drifted = [one for one in judgement.landmarks if one.state is State.DRIFTED]
    vanished = sum(one.state is State.VANISHED for one in judgement.landmarks)
    if moved:
        middle = float(np.median([one.moved for one in moved]))
        reasons.append(f"{len(moved)} landmarks are found elsewhere, {middle:.2g} {unit} away in the median")
    if drifted:
        middle = float(np.median([one.moved for one in drifted]))
        reasons.append(f"{len(drifted)} landmarks are a little off, {middle:.2g} {unit} in the median")
    if vanished:
        reasons.append(f"{vanished} landmarks are not found any more")
    return reasons


def _light(recordings: Sequence[RecordingHealth]) -> list[str]:
    told = [one for one in recordings if np.isfinite(one.living_answer_rate)]
    if len(told) < 2:
        return []
    best = max(told, key=lambda one: one.living_answer_rate)
    return [
        f"{one.name} is darker than {best.name} ({one.light:.2f} for {best.light:.2f} of white): landmarks that are "
        f"there answer in {one.living_answer_rate:.0%} instead of {best.living_answer_rate:.0%} of their frames"
        for one in told
        if one.light < DIM * best.light and one.living_answer_rate < best.living_answer_rate
    ]
