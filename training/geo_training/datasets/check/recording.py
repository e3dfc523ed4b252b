"""Cameras that do not fit their images, and clocks that do not run evenly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from geo_perception.geometry import Camera
from geo_training.datasets.check.findings import Finding, Severity, by_sequence, by_share, named
from geo_training.datasets.check.images import ImageQuality
from geo_training.datasets.recordings.bags import LAST_STAMP_NS
from geo_training.datasets.scene import Frame, SceneDataset, camera_is_known
from geo_training.storage.names import natural_key

CENTRE_SHARE = 0.12  # the principal point may lie off the centre by this share of the side (crops move it)
MIN_VIEW_DEG, MAX_VIEW_DEG = 15.0, 130.0
PIXEL_ASPECT = 0.05
# Against the median interval of the sequence: a frame was dropped; the recording has a hole; the clock jumped.
DROPPED, HOLE, JUMP = 1.7, 5.0, 50.0
JUMP_LEAST_S = 30.0
DROPPED_SHARE = 0.1


def check_cameras(dataset: SceneDataset, frames: list[Frame], qualities: dict[str, ImageQuality]) -> list[Finding]:
    """K against the size of the images and against what lenses can be."""
    findings = []
    for camera_id in sorted({frame.camera_id for frame in frames}):
        camera = dataset.cameras[camera_id]
        of_camera = [frame for frame in frames if frame.camera_id == camera_id]
        findings += _check_size(camera_id, camera, of_camera, qualities)
        findings += _check_K(camera_id, camera)
        if not camera_is_known(dataset.root, camera_id):
            message = f"the focal length of {camera_id} is a guess ({camera.fx_px:.0f} px)"
            remedy = "calibrate the camera and give its K, or map with --poses none, which refines it"
            findings.append(Finding("guessed focal", Severity.NOTE, message, remedy))
    return findings


def _check_size(
    camera_id: str, camera: Camera, frames: list[Frame], qualities: dict[str, ImageQuality]
) -> list[Finding]:
    size_px = camera.width_px, camera.height_px
    wrong = [frame for frame in frames if frame.name in qualities and qualities[frame.name].size_px != size_px]
    if not wrong:
        return []
    found = qualities[wrong[0].name].size_px
    message = f"{len(wrong)} images of {camera_id} are {found[0]}x{found[1]}, its K is for {size_px[0]}x{size_px[1]}"
    remedy = f"scale K by {found[0] / size_px[0]:.4g}, or give the images in the size K was made for"
    return [Finding("image size", Severity.ERROR, message, remedy, named(wrong))]


def _check_K(camera_id: str, camera: Camera) -> list[Finding]:
    findings = []
    sides = np.array([camera.width_px, camera.height_px])
    centre = np.array([camera.cx_px, camera.cy_px]) + 0.5
    off = np.abs(centre / sides - 0.5)
    view_deg = 2 * np.rad2deg(np.arctan(sides / 2 / [camera.fx_px, camera.fy_px]))
    if off.max() > CENTRE_SHARE:
        outside = off.max() > 0.5
        factor = centre / (sides / 2)
        message = f"{camera_id}: the principal point ({camera.cx_px:.0f}, {camera.cy_px:.0f}) is far off the centre"
        remedy = "check that K belongs to these images"
        if abs(factor[0] / factor[1] - 1) < 0.1:
            # Both coordinates are off by one factor: this K was made for another size.
            size = np.rint(sides * factor.mean()).astype(int)
            remedy = f"K fits images of about {size[0]}x{size[1]}: scale it by {1 / factor.mean():.3g}"
        values = {"off_centre_share": float(off.max())}
        severity = Severity.ERROR if outside else Severity.WARNING
        findings.append(Finding("principal point", severity, message, remedy, values=values))
    if view_deg.max() > MAX_VIEW_DEG or view_deg.max() < MIN_VIEW_DEG:
        message = f"{camera_id}: a field of view of {view_deg[0]:.0f} x {view_deg[1]:.0f} degrees is not plausible"
        remedy = "check the focal length: it is in pixels of the stored images"
        values = {"view_deg": view_deg.tolist()}
        findings.append(Finding("focal length", Severity.ERROR, message, remedy, values=values))
    if abs(camera.fx_px / camera.fy_px - 1) > PIXEL_ASPECT:
        message = f"{camera_id}: fx {camera.fx_px:.0f} and fy {camera.fy_px:.0f} differ by more than {PIXEL_ASPECT:.0%}"
        remedy = "check that the images were not stretched; K must be stretched with them"
        findings.append(Finding("pixel aspect", Severity.WARNING, message, remedy))
    return findings


def check_stamps(frames: list[Frame]) -> list[Finding]:
    """Gaps, doubles and jumps of the clock, sequence by sequence."""
    findings = []
    for sequence, sequence_frames in by_sequence(frames).items():
        findings += _check_clock(sequence, sequence_frames)
    return findings


def _check_clock(sequence: str, frames: list[Frame]) -> list[Finding]:
    findings = []
    by_name = sorted(frames, key=lambda frame: natural_key(frame.name))
    back = [b for a, b in pairwise(by_name) if b.stamp_ns < a.stamp_ns]
    if back:
        message = f"{sequence}: the clock runs back {len(back)} times against the order of the file names"
        remedy = "check the clock of the recording; frames are ordered by stamp"
        findings.append(Finding("clock runs back", Severity.WARNING, message, remedy, named(back)))
    late = [frame for frame in frames if frame.stamp_ns > LAST_STAMP_NS]
    if late:
        message = f"{sequence}: stamps reach {late[-1].stamp_ns / 1e9:.3g} s, which is after January 2038"
        remedy = "check their unit (nanoseconds taken as seconds?) and import again; no bag can hold them"
        findings.append(Finding("late stamps", Severity.WARNING, message, remedy, named(late)))
    if len(frames) < 3:
        return findings
    interval_s = np.diff([frame.stamp_ns for frame in frames]) * 1e-9
    same = [frames[index + 1] for index in np.flatnonzero(interval_s == 0)]
    if same:
        message = f"{sequence}: {len(same)} frames have the stamp of the frame before"
        findings.append(Finding("same stamp", Severity.WARNING, message, "give each image its own stamp", named(same)))
    moving_s = interval_s[interval_s > 0]
    if len(moving_s) == 0:
        return findings
    usual_s = float(np.median(moving_s))
    jump_n = interval_s > max(JUMP * usual_s, JUMP_LEAST_S)
    hole_n = (interval_s > HOLE * usual_s) & ~jump_n
    dropped_n = (interval_s > DROPPED * usual_s) & ~jump_n & ~hole_n
    values = {"median_interval_s": usual_s, "longest_interval_s": float(interval_s.max())}
    if jump_n.any():
        where = [frames[index + 1] for index in np.flatnonzero(jump_n)]
        message = f"{sequence}: the clock jumps {jump_n.sum()} times, by up to {interval_s.max():.0f} s"
        remedy = "mend the clock, or split the recording there into sequences"
        findings.append(Finding("clock jump", Severity.WARNING, message, remedy, named(where), values))
    if hole_n.any():
        where = [frames[index + 1] for index in np.flatnonzero(hole_n)]
        message = f"{sequence}: {hole_n.sum()} gaps of up to {interval_s[hole_n].max():.2f} s (usual: {usual_s:.3f} s)"
        remedy = "check whether messages were lost; poses are not interpolated over gaps"
        findings.append(Finding("gap", Severity.NOTE, message, remedy, named(where), values))
    if dropped_n.any():
        where = [frames[index + 1] for index in np.flatnonzero(dropped_n)]
        message = f"{sequence}: {dropped_n.sum()} of {len(interval_s)} intervals lack frames"
        remedy = "record with more bandwidth or a lower rate, so that frames come evenly"
        severity = by_share(int(dropped_n.sum()), len(interval_s), DROPPED_SHARE)
        findings.append(Finding("rolling gaps", severity, message, remedy, named(where), values))
    return findings
