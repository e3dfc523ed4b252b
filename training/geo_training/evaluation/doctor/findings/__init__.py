"""What is wrong with a graph that was looked at: each subject a file of pure functions on the snapshot."""

from __future__ import annotations

from geo_training.evaluation.doctor.finding import Finding, Severity
from geo_training.evaluation.doctor.findings.cameras import camera_findings
from geo_training.evaluation.doctor.findings.clocks import clock_findings
from geo_training.evaluation.doctor.findings.compute import compute_findings
from geo_training.evaluation.doctor.findings.frames import frame_findings
from geo_training.evaluation.doctor.findings.nodes import node_findings
from geo_training.evaluation.doctor.findings.qos import qos_findings
from geo_training.evaluation.doctor.findings.scenes import scene_findings
from geo_training.evaluation.doctor.snapshot import Snapshot

SUBJECTS = (
    node_findings, qos_findings, camera_findings, scene_findings, frame_findings, clock_findings, compute_findings,
)  # fmt: skip


def diagnose(snapshot: Snapshot) -> list[Finding]:
    """Every finding once, errors first."""
    found = dict.fromkeys(finding for subject in SUBJECTS for finding in subject(snapshot))
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)
