"""The second look: is what should be seen from a pose really there, and where exactly is the camera then?

Two kinds of evidence make one pose: points found in the backbone's maps (`point_search.py`), many and coarse, and
keypoints (`keypoints.py`, `keypoint_search.py`), fewer and exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from geo_perception.geometry import Camera, pose_error
from geo_perception.localization.keypoint_search import KeypointMatches, KeypointSearch, StandingOut
from geo_perception.localization.keypoints import KNOWN_SIGMA_PX, KeypointDetector, Keypoints, snap_to_keypoints
from geo_perception.localization.look import ImageLevels, PointMatches, Proposal, SecondLook, SecondLookOptions
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.pnp import PoseOptions, PoseSolution, refine_solution, reprojection_px
from geo_perception.localization.point_search import PointSearch

# As `cone_slack_rad` and `range_slack`, of keypoints, which look alike from farther around.
_KEYPOINT_SLACK = 0.9, 3.0
_ENOUGH = 40  # keypoints, with which none are looked for from the proposed pose, too
_PLENTY = 150  # keypoints that make a pose without what is coarser
_SAME_VIEW_RAD = 0.05  # by which what is seen from a pose shifts at most, to be taken for the same
_FEATURE_SIGMAS = 2.0  # by how much places in the maps count less beside keypoints: their errors go together

SigmaOf = Callable[[np.ndarray], np.ndarray]


class SecondLooker:
    """Takes second looks with the map points of a scene. `strides` are those of the backbone's maps."""

    def __init__(self, points: MapPoints, strides: Sequence[int], device: torch.device,
                 options: SecondLookOptions | None = None):  # fmt: skip
        self.options = options or SecondLookOptions()
        self.points = points
        self.search = PointSearch(points, strides, device, self.options)
        described = points.keypoints is not None and self.options.keypoints
        self._described = KeypointSearch(points, device) if described else None
        self._detector = KeypointDetector(described) if self.options.keypoints else None
        self._beside = ThreadPoolExecutor(1, "keypoints")

    def warm_up(self, image_hw3: np.ndarray) -> None:
        """Runs what the first image would pay for."""
        if self._detector is not None:
            self._compared(self._detector.detect(image_hw3))

    def begin_keypoints(self, image: ImageLevels) -> None:
        """Begins to find the image's keypoints beside all else, since that takes one core, and long."""
        if self._detector is not None and image.keypoints is None:
            image.keypoints = self._beside.submit(self._detected, image, image.view(0).image_hw3)

    def _detected(self, image: ImageLevels, image_hw3: np.ndarray) -> Keypoints:
        assert self._detector is not None
        described = self._described is not None
        if described not in image.detected:
            image.detected[described] = self._detector.detect(image_hw3)
        return self._compared(image.detected[described])

    def _compared(self, keypoints: Keypoints) -> Keypoints:
        """Keypoints as those of the map are described."""
        return keypoints if self._described is None else self._described.compared(keypoints)

    def propose_by_keypoints(self, image: ImageLevels, seed: int = 0) -> Proposal | None:
        """The pose on which keypoints of the image agree, among all those of the map; None where it has none."""
        if self._described is None:
            return None
        found = self._described.anywhere(self._standing_out_in(image), image.camera(0), seed)
        return found and Proposal(found.solution.T_map_camera, found.index_n[found.solution.inlier_n])

    def strays(self, look: SecondLook, image: ImageLevels) -> int | None:
        """How many keypoints stand out as those of points that are elsewhere by the look's pose; None where the map
        describes none."""
        if self._described is None:
            return None
        return self._described.strays(self._standing_out_in(image), look.solution.T_map_camera, image.camera(0))

    def look(self, proposal: Proposal, image: ImageLevels, sigma_of: SigmaOf, seed: int = 0) -> SecondLook | None:
        """The pose near the proposed one on which the points agree that should be seen from it, in the backbone's maps
        and, where the map describes them, among the keypoints; None where too few do.

        `sigma_of` gives the pixel error of matches in the maps by their similarity (in pixels of their own level).
        """
        T_map_camera = proposal.T_map_camera
        look = self.search.look(T_map_camera, image, sigma_of, seed)
        if self._described is None:
            return look
        starts = [T_map_camera] if look is None else [look.solution.T_map_camera, T_map_camera]
        best: KeypointMatches | None = None
        for T_start in starts:
            found = self._keypoints_around(replace(proposal, T_map_camera=T_start), image, seed)
            if found is not None and (best is None or len(found) > len(best)):
                best = found
            if best is not None and len(best) >= _ENOUGH:
                break
        if best is None:
            return look and replace(look, keypoints=0)
        return self._with_keypoints(look, best, image)

    def exact(self, look: SecondLook, image: ImageLevels) -> SecondLook:
        """The same look by the image's keypoints, where enough of the points have one and `keypoints` is set."""
        if self._detector is None or look.keypoints:
            return look
        camera, matches = image.camera(0), look.matches[look.solution.inlier_n]
        places_n3 = self.points.points_map_a3[matches.index_m]
        keypoints_k2 = self._keypoints_of(image).places_n2
        snapped = snap_to_keypoints(look.solution.T_map_camera, matches.pixels_m2, places_n3, keypoints_k2, camera)
        if snapped is None:
            return look
        solution, kept, exact_n2 = snapped
        exact = replace(PointMatches.exact(matches.index_m[kept], exact_n2), similarity_m=matches.similarity_m[kept])
        return replace(look, solution=solution, matches=exact, sigma_px_m=np.full(len(kept), KNOWN_SIGMA_PX))

    def _standing_out_in(self, image: ImageLevels) -> StandingOut:
        assert self._described is not None
        if image.standing_out is None:
            image.standing_out = self._described.standing_out(self._keypoints_of(image))
        return image.standing_out

    def _keypoints_of(self, image: ImageLevels) -> Keypoints:
        self.begin_keypoints(image)
        assert image.keypoints is not None
        return image.keypoints.result()

    def _keypoints_around(self, proposal: Proposal, image: ImageLevels, seed: int) -> KeypointMatches | None:
        """The pose by those points that may be seen from the proposed one, and by those that proposed it."""
        assert self._described is not None
        camera, point_a = image.camera(0), self.points.point_a
        index_m, _ = self.search.visible(proposal.T_map_camera, camera, slack=_KEYPOINT_SLACK)
        index_m = np.concatenate([index_m[~np.isin(point_a[index_m], point_a[proposal.index_m])], proposal.index_m])
        return self._described.around(proposal.T_map_camera, self._keypoints_of(image), camera, index_m, seed)

    def _with_keypoints(self, look: SecondLook | None, found: KeypointMatches, image: ImageLevels) -> SecondLook | None:
        """One look by keypoints and, where there is one, by what was found in the maps."""
        camera, count = image.camera(0), len(found)
        solution, matches = found.solution, PointMatches.exact(found.index_n, found.pixels_n2)
        if look is not None:
            solution, matches = self._snapped(look, found, image)
        sigma_px_m = np.full(len(matches), KNOWN_SIGMA_PX)
        agreeing = matches.index_m[solution.inlier_n]
        keypoints = int(solution.inlier_n[:count].sum())
        if look is not None:
            if solution.inlier_n.sum() < _PLENTY:
                point_a = self.points.point_a
                coarse_m = ~np.isin(point_a[look.matches.index_m], point_a[matches.index_m])
                matches = PointMatches.joined([matches, look.matches[coarse_m]])
                sigma_px_m = np.concatenate([sigma_px_m, _FEATURE_SIGMAS * look.sigma_px_m[coarse_m]])
                places_m3 = self.points.points_map_a3[matches.index_m]
                joint = refine_solution(solution.T_map_camera, matches.pixels_m2, places_m3, sigma_px_m, camera)
                if joint is None:
                    return look
                solution, agreeing = joint, matches.index_m[joint.inlier_n]
                keypoints = int(joint.inlier_n[:count].sum())
            agreeing = np.concatenate([agreeing, self._still_agreeing(look, solution, camera)])
            # How exact the maps' matches are is told by their own pose.
            solution = replace(solution, noise_scale=look.solution.noise_scale)
        expected_e = self._expected(look, solution, image)
        agreement = self.search.agreement(solution.T_map_camera, camera, expected_e, agreeing)
        return SecondLook(solution, matches, sigma_px_m, *agreement, expected_e, keypoints)

    def _expected(self, look: SecondLook | None, solution: PoseSolution, image: ImageLevels) -> np.ndarray:
        """The points that should be seen from a pose: those of the look, where it is nearly the same pose."""
        if look is not None:
            moved_m, turned_rad = pose_error(look.solution.T_map_camera, solution.T_map_camera)
            range_m = float(np.median(self.points.range_a2[look.expected_e, 0]))
            if turned_rad + moved_m / range_m < _SAME_VIEW_RAD:
                return look.expected_e
        return self.search.expected(solution.T_map_camera, image)

    def _snapped(
        self, look: SecondLook, found: KeypointMatches, image: ImageLevels
    ) -> tuple[PoseSolution, PointMatches]:
        """The pose by the keypoints found, and by those of points that were found in the maps: they have some, too,
        though it is only their places that say which."""
        points, camera = self.points, image.camera(0)
        others = look.matches[look.solution.inlier_n]
        others = others[~np.isin(points.point_a[others.index_m], points.point_a[found.index_n])]
        known = found.pixels_n2, points.points_map_a3[found.index_n]
        places_o3, keypoints_k2 = points.points_map_a3[others.index_m], self._keypoints_of(image).places_n2
        T_map_camera = found.solution.T_map_camera
        snapped = snap_to_keypoints(T_map_camera, others.pixels_m2, places_o3, keypoints_k2, camera, known)
        exact = PointMatches.exact(found.index_n, found.pixels_n2)
        if snapped is None:
            return found.solution, exact
        solution, kept, exact_o2 = snapped
        return solution, PointMatches.joined([exact, PointMatches.exact(others.index_m[kept], exact_o2)])

    def _still_agreeing(self, look: SecondLook, solution: PoseSolution, camera: Camera) -> np.ndarray:
        """Of the points found in the maps, those that are where another pose has them."""
        pose = PoseOptions()
        places_m3 = self.points.points_map_a3[look.matches.index_m]
        residual_px_m = reprojection_px(solution.T_map_camera, look.matches.pixels_m2, places_m3, camera)
        limit_px_m = np.clip(pose.max_error_sigmas * look.sigma_px_m, 1.0, pose.max_error_px)
        return look.matches.index_m[residual_px_m <= limit_px_m]
