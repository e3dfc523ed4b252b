"""What is wrong with a dataset, before anyone trains on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geo_training.datasets.check.findings import Finding, Severity
from geo_training.datasets.check.images import check_images
from geo_training.datasets.check.lens import check_lens
from geo_training.datasets.check.poses import check_poses
from geo_training.datasets.check.recording import check_cameras, check_stamps
from geo_training.datasets.scene import SceneDataset

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True)
class CheckReport:
    """Findings, the gravest first; `values` are what was measured on the way."""

    frames: int
    findings: list[Finding]
    values: dict

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def usable(self) -> bool:
        return self.count(Severity.ERROR) == 0

    def to_dict(self) -> dict:
        counts = {f"{severity.value}s": self.count(severity) for severity in Severity}
        findings = [finding.to_dict() for finding in self.findings]
        return {"frames": self.frames, "usable": self.usable, **counts, "findings": findings, "values": self.values}


def check_dataset(root: str | Path) -> CheckReport:
    """Checks images, cameras, clocks and poses of a dataset. Raises InputError when `root` is no dataset."""
    dataset = SceneDataset(root)
    findings, qualities = check_images(dataset, dataset.frames)
    findings += check_cameras(dataset, dataset.frames, qualities)
    findings += check_stamps(dataset.frames)
    readable = [frame for frame in dataset.frames if frame.name in qualities]
    findings += check_lens(dataset, readable)
    pose_findings, values = check_poses(dataset, readable)
    findings += pose_findings
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return CheckReport(len(dataset), findings, values)
