"""A plain way to refine a camera by the lines of its image, to compare the calibrator's with.

What a day's work gives: each segment belongs to the direction that it points towards within a few degrees of the first
guess, for good, and robust least squares moves focal length, pitch, roll and the turn of the walls until segments point
at their vanishing points, held by the guess and its covariance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np
from scipy.optimize import least_squares

from geo_perception.calibration.result import Calibration
from geo_perception.geometry import up_from_attitude

MIN_LENGTH = 0.03  # of the image's diagonal
MOST = 250  # the longest
NEAR_DEG = 5.0  # a segment that points so near a vanishing point is of its direction
_YAW_STEP_DEG, _YAW_SIGMA_DEG = 1.0, 2.0
_FEWEST = 4


class Guesser(Protocol):
    def estimate(self, image_hw3: np.ndarray) -> Calibration: ...


class PlainLines:
    """Refines what another says of an image."""

    def __init__(self, guesser: Guesser):
        self._guesser, self._detector = guesser, cv2.createLineSegmentDetector()

    def estimate(self, image_hw3: np.ndarray) -> Calibration:
        """The guess with another focal length, pitch and roll; as it was where there are hardly any segments."""
        guess = self._guesser.estimate(image_hw3)
        if guess.covariance_33 is None:
            return guess
        ends_s22 = self._segments(image_hw3)
        return guess if len(ends_s22) < _FEWEST else _refined(guess, ends_s22)

    def _segments(self, image_hw3: np.ndarray) -> np.ndarray:
        """Both ends of each (S, 2, 2), pixels from the image's centre."""
        height_px, width_px = image_hw3.shape[:2]
        found = self._detector.detect(cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY))[0]
        if found is None:
            return np.zeros((0, 2, 2))
        ends_s22 = found.reshape(-1, 2, 2).astype(float) - [(width_px - 1) / 2, (height_px - 1) / 2]
        length_s = np.linalg.norm(ends_s22[:, 1] - ends_s22[:, 0], axis=1)
        longest = np.argsort(-length_s, kind="stable")[:MOST]
        return ends_s22[longest[length_s[longest] > MIN_LENGTH * np.hypot(height_px, width_px)]]


def _refined(guess: Calibration, ends_s22: np.ndarray) -> Calibration:
    guess_3 = np.array([np.log(guess.focal_px), guess.pitch_rad, guess.roll_rad])
    up_3, *_ = _directions(*guess_3[1:], 0.0)
    of_up_s = _off_deg(guess.focal_px, up_3, ends_s22) < NEAR_DEG
    rest_r22 = ends_s22[~of_up_s]
    yaws_rad = np.radians(np.arange(0.0, 90.0, _YAW_STEP_DEG))
    off_yr2 = np.array(
        [
            [_off_deg(guess.focal_px, direction_3, rest_r22) for direction_3 in _directions(*guess_3[1:], yaw_rad)[1:]]
            for yaw_rad in yaws_rad
        ]
    )
    votes_y = np.exp(-0.5 * (off_yr2.min(axis=1) / _YAW_SIGMA_DEG) ** 2).sum(axis=1)
    best = int(votes_y.argmax())
    first_r, second_r = off_yr2[best]
    groups = [
        ends_s22[of_up_s],
        rest_r22[(first_r <= second_r) & (first_r < NEAR_DEG)],
        rest_r22[(second_r < first_r) & (second_r < NEAR_DEG)],
    ]
    to_log_3 = np.array([1 / guess.focal_px, 1, 1])
    information_33 = np.linalg.inv(guess.covariance_33 * np.outer(to_log_3, to_log_3))
    whitened_33 = np.linalg.cholesky(information_33).T

    def residuals(unknown_4: np.ndarray) -> np.ndarray:
        directions = zip(_directions(*unknown_4[1:]), groups, strict=True)
        off_px = np.concatenate(
            [_off_px(np.exp(unknown_4[0]), direction_3, group) for direction_3, group in directions]
        )
        # Squared it is a pseudo-Huber cost with a width of a pixel.
        robust = np.sign(off_px) * np.sqrt(2 * (np.sqrt(1 + off_px**2) - 1))
        return np.concatenate([robust, whitened_33 @ (unknown_4[:3] - guess_3)])

    log_focal, pitch_rad, roll_rad, _ = least_squares(residuals, [*guess_3, yaws_rad[best]]).x
    return replace(guess, focal_px=float(np.exp(log_focal)), pitch_rad=float(pitch_rad), roll_rad=float(roll_rad))


def _directions(pitch_rad: float, roll_rad: float, yaw_rad: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up, and two level directions at a right angle, in the camera's frame."""
    up_3 = up_from_attitude(pitch_rad, roll_rad)
    ahead_3 = np.array([0.0, 0.0, 1.0]) - up_3 * up_3[2]
    ahead_3 /= max(float(np.linalg.norm(ahead_3)), 1e-9)
    aside_3 = np.cross(up_3, ahead_3)
    sine, cosine = np.sin(yaw_rad), np.cos(yaw_rad)
    return up_3, cosine * ahead_3 + sine * aside_3, cosine * aside_3 - sine * ahead_3


def _off_px(focal_px: float, direction_3: np.ndarray, ends_s22: np.ndarray) -> np.ndarray:
    """How far one end of each segment is off the line through its middle and the direction's vanishing point."""
    middle_s3 = np.column_stack([ends_s22.mean(axis=1), np.ones(len(ends_s22))])
    line_s3 = np.cross(middle_s3, direction_3 * [focal_px, focal_px, 1.0])
    line_s3 /= np.maximum(np.linalg.norm(line_s3[:, :2], axis=1, keepdims=True), 1e-9)
    return (line_s3[:, :2] * ends_s22[:, 0]).sum(axis=1) + line_s3[:, 2]


def _off_deg(focal_px: float, direction_3: np.ndarray, ends_s22: np.ndarray) -> np.ndarray:
    half_px_s = np.linalg.norm(ends_s22[:, 1] - ends_s22[:, 0], axis=1) / 2
    return np.degrees(np.arcsin(np.clip(np.abs(_off_px(focal_px, direction_3, ends_s22)) / half_px_s, 0, 1)))
