"""What the keypoint table found, beside what its paper found: sentences and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geo_training.depth.config import DepthTrainingConfig
from geo_training.experiments.depth_papers.experiment_report import (
    DEPTH_COLUMNS,
    TableReport,
    WrittenTable,
    find_result,
    write_table,
)
from geo_training.experiments.depth_papers.experiment_table import RowResult
from geo_training.experiments.depth_papers.keypoint_table import (
    CONTROL,
    DET,
    DET_EXPL,
    KNOWN,
    LEARNED,
    METRICS,
    MULTI,
    NO_DET,
    NO_DET_EXPL,
    SFMLEARNER,
)
from geo_training.report.numbers import signed

TITLE = "Keypoint guidance: the table"
_HOW = (
    "det: the keypoint term counts at SIFT keypoints only; no det: at every pixel. expl: with the explainability mask.",
    "(ours): rows that the paper does not have. Its last row (0.181) was trained on more data and is left out.",
)


@dataclass(frozen=True)
class Claim:
    """That one row is better than another, in words; `paper` is whether the paper found so, None where it is silent."""

    name: str
    better: str
    worse: str
    label: str
    paper: bool | None


CLAIMS = (
    Claim("detector", DET, NO_DET, "Choosing keypoints helps (det against no det, without the mask)", True),
    Claim("detector_expl", DET_EXPL, NO_DET_EXPL, "Choosing keypoints helps (det against no det, with the mask)", True),
    Claim("mask_off", DET, DET_EXPL, "Doing without the mask helps (with the detector)", True),
    Claim("sfmlearner", DET, SFMLEARNER, "The best keypoint row is better than SfMLearner", True),
    Claim("keypoints", DET, CONTROL, "Keypoints help (against the same without them)", None),
    Claim("multi", MULTI, DET, "Several scales help with keypoints", False),
    Claim("learned", LEARNED, KNOWN, "Learned descriptors are better than SIFT (with true motion)", None),
)
_PAPER_LABELS = {True: " In the paper: yes.", False: " In the paper: no.", None: ""}


def keypoint_findings(results: Sequence[RowResult]) -> dict[str, float | bool]:
    """Of each claim that the rows so far can tell: the change in abs_rel (below 0: it holds), whether it holds, and
    with several seeds, whether the change is larger than the deviation over them (`clear`)."""
    findings: dict[str, float | bool] = {}
    for claim in CLAIMS:
        better, worse = find_result(results, claim.better), find_result(results, claim.worse)
        if better is None or worse is None:
            continue
        change = better.mean("abs_rel") - worse.mean("abs_rel")
        if not math.isfinite(change):
            continue
        findings |= {f"{claim.name}_abs_rel": change, f"{claim.name}_holds": change < 0}
        spread = math.hypot(better.deviation("abs_rel"), worse.deviation("abs_rel"))
        if math.isfinite(spread):
            findings[f"{claim.name}_clear"] = abs(change) > spread
    return findings


def finding_sentences(results: Sequence[RowResult]) -> list[str]:
    """The findings in words."""
    findings, sentences = keypoint_findings(results), []
    for claim in CLAIMS:
        if f"{claim.name}_holds" not in findings:
            continue
        answer = "yes" if findings[f"{claim.name}_holds"] else "no"
        if findings.get(f"{claim.name}_clear") is False:
            answer += ", but within the deviation over seeds"
        change = signed(findings[f"{claim.name}_abs_rel"], 4)
        sentences.append(f"{claim.label}: {answer} (Abs Rel {change}).{_PAPER_LABELS[claim.paper]}")
    return sentences


def write_keypoint_report(results: Sequence[RowResult], base: DepthTrainingConfig, out: str | Path) -> WrittenTable:
    """Writes table.md, table.json and table.html into `out`, with the paper's metrics beside ours."""
    columns = [DEPTH_COLUMNS[name] for name in METRICS]
    sentences = (*_HOW, *finding_sentences(results))
    return write_table(results, TableReport(TITLE, sentences, columns, SFMLEARNER), base, out)
