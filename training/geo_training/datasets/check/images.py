"""Images that cannot be read, are blurred, dark, washed out, or show nothing new."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from geo_training.console import track
from geo_training.datasets.check.findings import Finding, Severity, about_frames, by_sequence, named
from geo_training.datasets.orientation import UPRIGHT
from geo_training.datasets.pictures import NOT_DECODED, read_header
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.storage.fingerprints import file_digest
from geo_training.storage.images import read_grey

QUALITY_SIDE_PX = 480  # images are looked at in this size
THUMBNAIL_PX = 64, 48
# A frame is blurred when its blur is above this, or stands out of its recording by both of the two below.
BLUR_LIMIT = 0.65
BLUR_ABOVE_NEIGHBOURS = 0.12
BLUR_LEAST = 0.5
_BLUR_WINDOW = 15
DARK_BRIGHT_PERCENTILE = 40  # dark: even the brightest twentieth of the pixels is below this grey value
WHITE_LEVEL, WHITE_SHARE = 250, 0.4  # overexposed: this share of the pixels is (almost) white
MOTIONLESS_GREY = 1.0  # mean difference of two thumbnails, in grey values: that of sensor noise
FEW_SHARE = 0.1  # of the frames; more makes a warning
STILL_SHARE = 0.3


@dataclass(frozen=True)
class ImageQuality:
    """The quality of one image. `blur` is 0 (crisp) to 1 (nothing fine in it); `size_px` is that of the pixels as they
    are stored, which is how everything reads them, whatever orientation `mark` says."""

    size_px: tuple[int, int]
    mark: int
    blur: float
    bright_percentile: float
    white_share: float
    thumbnail: np.ndarray
    digest: str


def measure_quality(path) -> ImageQuality | None:
    """Reads one image as a training does. None when it is missing, no image, too large, or cut short."""
    try:
        header = read_header(path)
        with Image.open(path) as image:
            image.draft("L", tuple(max(1, min(side, QUALITY_SIDE_PX)) for side in header.stored_size))
            # Pillow would clip what has more than 8 bits; it only says whether the file is whole.
            grey = np.asarray(image.convert("L"))
        if header.deep:
            grey = read_grey(path)
        digest = file_digest(path)
    except NOT_DECODED:
        return None
    scale = QUALITY_SIDE_PX / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return ImageQuality(
        size_px=header.stored_size,
        mark=header.mark,
        blur=blur_of(grey),
        bright_percentile=float(np.percentile(grey, 95)),
        white_share=float((grey >= WHITE_LEVEL).mean()),
        thumbnail=cv2.resize(grey, THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.int16),
        digest=digest,
    )


def blur_of(grey: np.ndarray) -> float:
    """How little an image (H, W) uint8 loses when it is blurred again, 0 to 1: the measure of Crete et al. (2007),
    "The blur effect: perception and estimation with a new no-reference perceptual blur metric"; the worse direction
    counts, since motion blurs one."""
    image = grey.astype(np.float32)
    worst = 0.0
    for axis, size in ((0, (1, 9)), (1, (9, 1))):
        blurred = cv2.blur(image, size)
        before, after = np.abs(np.diff(image, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        worst = max(worst, 1.0 - lost / total if total > 0 else 1.0)
    return worst


def check_images(dataset: SceneDataset, frames: list[Frame]) -> tuple[list[Finding], dict[str, ImageQuality]]:
    """Findings about the images, and the quality of each readable one, by frame name."""
    qualities = {frame.name: measure_quality(dataset.image_path(frame)) for frame in track(frames, "looking at images")}
    unreadable = [frame for frame in frames if qualities[frame.name] is None]
    readable = {name: quality for name, quality in qualities.items() if quality is not None}
    findings = []
    if unreadable:
        message = f"{len(unreadable)} images are missing, broken or cut short"
        remedy = "copy them again, or make the dataset again without them"
        findings.append(Finding("unreadable", Severity.ERROR, message, remedy, named(unreadable)))
    frames = [frame for frame in frames if frame.name in readable]
    if not frames:
        return findings, readable
    findings += _marked(frames, readable)
    findings += _light(frames, readable) + _blurred(frames, readable) + _repeated(frames, readable)
    return findings, readable


def _marked(frames: list[Frame], qualities: dict[str, ImageQuality]) -> list[Finding]:
    marked = [frame for frame in frames if qualities[frame.name].mark != UPRIGHT]
    what = "images have an orientation mark, which nothing that trains applies"
    remedy = "import them with `geo-train dataset import`, which puts them upright with their K, depth and poses"
    return about_frames("orientation", marked, len(frames), 0.0, what, remedy)


def _light(frames: list[Frame], qualities: dict[str, ImageQuality]) -> list[Finding]:
    dark = [frame for frame in frames if qualities[frame.name].bright_percentile < DARK_BRIGHT_PERCENTILE]
    white = [frame for frame in frames if qualities[frame.name].white_share > WHITE_SHARE]
    what = f"images are dark (95 % of the pixels below {DARK_BRIGHT_PERCENTILE})"
    remedy = "record with more light or a longer exposure, or leave them out"
    findings = about_frames("dark", dark, len(frames), FEW_SHARE, what, remedy)
    what = f"images are overexposed (over {WHITE_SHARE:.0%} white)"
    remedy = "let the camera's exposure adapt, or leave them out"
    return findings + about_frames("overexposed", white, len(frames), FEW_SHARE, what, remedy)


def _blurred(frames: list[Frame], qualities: dict[str, ImageQuality]) -> list[Finding]:
    blurred = []
    for sequence_frames in by_sequence(frames).values():
        blur_n = np.array([qualities[frame.name].blur for frame in sequence_frames])
        for index, frame in enumerate(sequence_frames):
            around = blur_n[max(0, index - _BLUR_WINDOW) : index + _BLUR_WINDOW + 1]
            stands_out = blur_n[index] > np.median(around) + BLUR_ABOVE_NEIGHBOURS and blur_n[index] > BLUR_LEAST
            if blur_n[index] > BLUR_LIMIT or stands_out:
                blurred.append(frame)
    remedy = "move slower or with more light; `from-bag` and `from-video` keep the sharpest frame of each interval"
    return about_frames("blurred", blurred, len(frames), FEW_SHARE, "images are blurred", remedy)


def _repeated(frames: list[Frame], qualities: dict[str, ImageQuality]) -> list[Finding]:
    findings, alike = [], defaultdict(list)
    for frame in frames:
        alike[qualities[frame.name].digest].append(frame)
    copies = [frame for group in alike.values() for frame in group[1:]]
    leaks = [frame for group in alike.values() if {"train", "test"} <= {f.split for f in group} for frame in group]
    if leaks:
        message = f"{len(leaks)} identical images stand in train and in test"
        remedy = "split by sequence or by block: `geo-train dataset split`"
        findings.append(Finding("leak", Severity.ERROR, message, remedy, named(leaks)))
    what, remedy = "images are exact copies of another", "leave the copies out"
    findings += about_frames("duplicate", copies, len(frames), FEW_SHARE, what, remedy)
    copied, still = {frame.name for frame in copies}, []
    for sequence_frames in by_sequence(frames).values():
        anchor = None  # a slow drift counts as motion: compare with the last frame that moved
        for frame in sequence_frames:
            thumbnail = qualities[frame.name].thumbnail
            if anchor is not None and float(np.abs(thumbnail - anchor).mean()) < MOTIONLESS_GREY:
                still.append(frame)
            else:
                anchor = thumbnail
    still = [frame for frame in still if frame.name not in copied]
    what = "images show no motion since the one before"
    remedy = "cut the standstill out of the recording, or take fewer frames a second"
    return findings + about_frames("motionless", still, len(frames), STILL_SHARE, what, remedy)
