"""Map points in the backbone's maps of an image: from a rough pose, those that must be in view are searched for around
their projections.

What is looked for is known, and nearly where: hundreds of points can be told apart that could never be told apart in
the whole image, and each takes a small window of the finest feature maps, which are there anyway.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name

from geo_perception.geometry import Camera
from geo_perception.localization.look import LEVELS, ImageLevels, PointMatches, SecondLook, SecondLookOptions
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.neighbourhood import Neighbourhood
from geo_perception.localization.pnp import PoseOptions, PoseSolution, refine_solution, solve_pose

# Said once by torch; what is used of it here is compared with products of matrices by a test.
warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
# Most matches are right, so few samples are enough.
_SEARCH = PoseOptions(ranked_iterations=50, min_iterations=100, max_iterations=1000)
_ANYWHERE = PoseOptions(ranked_iterations=200, min_iterations=500, max_iterations=5000)


class PointSearch:
    """Searches for the map points of a scene. `strides` are those of the backbone's maps."""

    def __init__(self, points: MapPoints, strides: Sequence[int], device: torch.device,
                 options: SecondLookOptions | None = None):  # fmt: skip
        self.points, self.options, self.device = points, options or SecondLookOptions(), device
        described = points.keypoints is not None and self.options.keypoints
        self._first_points = self.options.first_points_described if described else self.options.first_points
        self._max_points = self.options.max_points_described if described else self.options.max_points
        self._strides = [strides[index] for index in points.backbone_maps]
        self._stride = min(self._strides)
        self._descriptors_ad = torch.from_numpy(points.descriptors_ad.astype(np.float32) / 127).to(device)
        self._projection_dc = torch.from_numpy(points.projection_dc.astype(np.float32)).to(device)
        self._offset_d = torch.from_numpy(points.offset_d.astype(np.float32)).to(device)
        self._log_range_a2 = np.log(np.maximum(points.range_a2, 1e-9))
        # Where there are more than may be looked at, a fixed draw of them is; where few are looked at, it is drawn from
        # those of a part of the points.
        count = int(points.point_a.max(initial=-1)) + 1
        self._order_a = np.random.default_rng(0).permutation(count)[points.point_a]
        self._part_a = self._order_a < _PART * count
        self._neighbourhood = Neighbourhood(points)

    def look(self, T_map_camera: np.ndarray, image: ImageLevels, sigma_of: Callable[[np.ndarray], np.ndarray],
             seed: int = 0) -> SecondLook | None:  # fmt: skip
        """The pose near `T_map_camera` on which the points found around their projections agree; None where too few do.

        `sigma_of` gives the pixel error of matches by their similarity (in pixels of their own level).
        """
        options = self.options
        camera = image.camera(0)
        expected = self._expected(T_map_camera, image, self._first_points)
        found = self._search(T_map_camera, image, options.first_radius_px, expected)
        if len(found) < options.min_agreeing:
            return None
        sigma_px_m = sigma_of(found.similarity_m) * found.scale_m
        places_m3 = self.points.points_map_a3[found.index_m]
        solution = solve_pose(found.pixels_m2, places_m3, found.similarity_m, sigma_px_m, camera, _SEARCH, seed)
        if solution is None or solution.inlier_n.sum() < options.min_agreeing:
            return None
        expected, radius_px = self._expected(solution.T_map_camera, image, self._max_points), options.radius_px
        for _ in range(options.passes):
            found = self._search(solution.T_map_camera, image, radius_px, expected)
            if len(found) < options.min_agreeing:
                return None
            sigma_px_m = sigma_of(found.similarity_m) * found.scale_m
            places_m3 = self.points.points_map_a3[found.index_m]
            solution = refine_solution(solution.T_map_camera, found.pixels_m2, places_m3, sigma_px_m, camera)
            if solution is None or solution.inlier_n.sum() < options.min_agreeing:
                return None
            radius_px = max(options.radius_px / 2, 2.0 * self._stride)
        agreement = self.agreement(solution.T_map_camera, camera, expected[0], found.index_m[solution.inlier_n])
        return SecondLook(solution, found, sigma_px_m, *agreement, expected[0])

    def agreement(
        self, T_map_camera: np.ndarray, camera: Camera, expected_e: np.ndarray, agreeing_n: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the points expected and of those that agree: pixels (S, 2) of the S that are in view from a pose, which of
        them agree (S,), and which the map saw from nearly there (S,)."""
        point_a = self.points.point_a
        beside_n = agreeing_n[~np.isin(point_a[agreeing_n], point_a[expected_e])]
        searched = np.concatenate([expected_e, beside_n])
        offset_s3 = self.points.points_map_a3[searched] - T_map_camera[:3, 3]
        expected_s2 = camera.project(offset_s3 @ T_map_camera[:3, :3])
        # What was expected from a pose before need not be in view from this one.
        inside_s = camera.contains(expected_s2)
        agrees_s = np.isin(point_a[searched], point_a[agreeing_n])
        sure_s = np.isin(point_a[searched], point_a[self.visible(T_map_camera, camera, slack=_SURE_SLACK)[0]])
        return expected_s2[inside_s], agrees_s[inside_s], sure_s[inside_s]

    def expected(self, T_map_camera: np.ndarray, image: ImageLevels) -> np.ndarray:
        """Up to `max_points` of the points that should be seen from a pose."""
        return self._expected(T_map_camera, image, self._max_points)[0]

    def solve_anywhere(self, T_map_camera: np.ndarray, image: ImageLevels, seed: int = 0) -> PoseSolution | None:
        """The pose on which the points agree that `T_map_camera` shows, wherever in the image they are found."""
        found = self.anywhere(T_map_camera, image)
        if len(found) < self.options.min_agreeing:
            return None
        places_m3, sigma_px_m = self.points.points_map_a3[found.index_m], self._stride * found.scale_m
        return solve_pose(found.pixels_m2, places_m3, found.similarity_m, sigma_px_m, image.camera(0), _ANYWHERE, seed)

    def anywhere(self, T_map_camera: np.ndarray, image: ImageLevels) -> PointMatches:
        """The points that are seen from `T_map_camera`, looked for in the whole image: found are those whose best place
        stands out. Most matches are wrong ones; it is for `solve_pose` to tell."""
        index_m, level_m = self._expected(T_map_camera, image, self.options.anywhere_points)
        return PointMatches.joined(
            [self._anywhere(image, level, index_m[level_m == level]) for level in range(LEVELS) if level in level_m]
        )

    def _anywhere(self, image: ImageLevels, level: int, index_m: np.ndarray) -> PointMatches:
        fine_nd, (H, W) = self._fine_map_of(image, level)
        similarity_mn = self._descriptors_ad[torch.from_numpy(index_m).to(self.device)] @ fine_nd.T
        best_m, cell_m = similarity_mn.max(dim=1)
        row_m, column_m = cell_m // W, cell_m % W
        # What is beside the best place is no rival of it.
        steps = torch.arange(-_BESIDE, _BESIDE + 1, device=self.device)
        rows_mk = (row_m[:, None] + steps.repeat_interleave(len(steps))).clamp(0, H - 1)
        columns_mk = (column_m[:, None] + steps.repeat(len(steps))).clamp(0, W - 1)
        similarity_mn.scatter_(1, rows_mk * W + columns_mk, -1.0)
        margin_m = best_m - similarity_mn.amax(dim=1)
        good_m = margin_m >= self.options.min_margin
        found_m2 = (torch.stack([column_m, row_m], dim=1)[good_m].double() + 0.5) * self._stride - 0.5
        good = good_m.cpu().numpy()
        return self._matches(image, level, index_m[good], found_m2.cpu().numpy(), margin_m[good_m])

    def visible(
        self, T_map_camera: np.ndarray, camera: Camera, levels: int = LEVELS, among: np.ndarray | None = None,
        slack: tuple[float, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Appearances (M,) that should be seen from a pose, each of another point, and the level (M,) in which each
        looks most as it did in the map. With `among` (of each appearance whether) only of those. `slack` (radians
        and a factor) says how far outside its cone and its distances a point may be seen; else the options do."""
        options, points = self.options, self.points
        cone_slack_rad, range_slack = slack or (options.cone_slack_rad, options.range_slack)
        inside = self._neighbourhood.around(T_map_camera, camera, cone_slack_rad)
        if among is not None:
            inside = inside[among[inside]]
        ray_n3 = T_map_camera[:3, 3] - points.points_map_a3[inside]
        range_n = np.maximum(np.sqrt(np.einsum("nc,nc->n", ray_n3, ray_n3)), 1e-9)
        turn_n = np.arccos(np.clip(np.einsum("nc,nc->n", ray_n3, points.direction_a3[inside]) / range_n, -1, 1))
        turn_n = np.maximum(turn_n - points.cone_rad_a[inside], 0)
        # In half the pixels a point looks as if it were twice as far away.
        log_range_ln = np.log(range_n) + np.log(2.0) * np.arange(levels)[:, None]
        near_n, far_n = self._log_range_a2[inside].T
        off_ln = np.maximum(np.maximum(near_n - log_range_ln, log_range_ln - far_n), 0)
        level_n, off_n = off_ln.argmin(axis=0), off_ln.min(axis=0)
        fits = np.flatnonzero((turn_n <= cone_slack_rad) & (off_n <= np.log(range_slack)))
        fits = fits[camera.contains(camera.project(-ray_n3[fits] @ T_map_camera[:3, :3]))]
        # Of a point's appearances the one that was seen most like this.
        fits = fits[np.argsort(turn_n[fits] / cone_slack_rad + off_n[fits], kind="stable")]
        _, first = np.unique(points.point_a[inside[fits]], return_index=True)
        chosen = fits[first]
        return inside[chosen], level_n[chosen]

    def _expected(self, T_map_camera: np.ndarray, image: ImageLevels, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Up to `limit` of the points that should be seen from a pose, and the level in which to look for each."""
        for among in (self._part_a, None):
            index_m, level_m = self.visible(T_map_camera, image.camera(0), among=among)
            if len(index_m) >= limit:
                break
        wanted_m = np.bincount(level_m, minlength=LEVELS)[level_m] >= _MIN_SHARE * len(level_m)
        index_m, level_m = index_m[wanted_m], level_m[wanted_m]
        if len(index_m) > limit:
            few = np.argsort(self._order_a[index_m])[:limit]
            index_m, level_m = index_m[few], level_m[few]
        return index_m, level_m

    def _search(self, T_map_camera, image: ImageLevels, radius_px: float, expected) -> PointMatches:
        """What is found around the projections of the expected points."""
        index_m, level_m = expected
        return PointMatches.joined(
            [
                self._search_level(T_map_camera, image, level, index_m[level_m == level], radius_px)
                for level in range(LEVELS)
                if level in level_m
            ]
        )

    def _search_level(self, T_map_camera, image: ImageLevels, level: int, index_m: np.ndarray, radius_px: float):
        camera, (fine_nd, (H, W)) = image.camera(level), self._fine_map_of(image, level)
        offset_m3 = self.points.points_map_a3[index_m] - T_map_camera[:3, 3]
        pixels_m2 = camera.project(offset_m3 @ T_map_camera[:3, :3])
        near_m = camera.contains(pixels_m2)
        index_m, pixels_m2 = index_m[near_m], pixels_m2[near_m]
        centre_m2 = torch.from_numpy(np.rint((pixels_m2 + 0.5) / self._stride - 0.5).astype(np.int64)).to(self.device)
        reach = int(np.ceil(radius_px / self._stride))
        steps = torch.arange(-reach, reach + 1, device=self.device)
        side = len(steps)
        rows_mk = centre_m2[:, 1:] + steps.repeat_interleave(side)
        columns_mk = centre_m2[:, :1] + steps.repeat(side)
        inside_mk = (rows_mk >= 0) & (rows_mk < H) & (columns_mk >= 0) & (columns_mk < W)
        cells_mk = rows_mk.clamp(0, H - 1) * W + columns_mk.clamp(0, W - 1)
        wanted_md = self._descriptors_ad[torch.from_numpy(index_m).to(self.device)]
        similarity_mk = _products(wanted_md, fine_nd, cells_mk).masked_fill(~inside_mk, -1.0)
        best_m1 = similarity_mk.argmax(dim=1, keepdim=True)
        best_m = similarity_mk.gather(1, best_m1)[:, 0]
        row_k, column_k = steps.repeat_interleave(side), steps.repeat(side)
        away_mk = torch.maximum((row_k - row_k[best_m1]).abs(), (column_k - column_k[best_m1]).abs())
        margin_m = best_m - similarity_mk.masked_fill(away_mk <= 2, -1.0).amax(dim=1)
        edge_m = torch.maximum(row_k[best_m1].abs(), column_k[best_m1].abs())[:, 0] == reach
        weight_mk = (similarity_mk * _SHARPNESS).masked_fill((away_mk > 1) | ~inside_mk, -torch.inf).softmax(dim=1)
        cell_m2 = torch.stack([(weight_mk * columns_mk).sum(dim=1), (weight_mk * rows_mk).sum(dim=1)], dim=1)
        options = self.options
        good_m = (best_m >= options.min_similarity) & (margin_m >= options.min_margin) & ~edge_m
        good = good_m.cpu().numpy()
        found_m2 = ((cell_m2 + 0.5) * self._stride - 0.5).double().cpu().numpy()[good]
        return self._matches(image, level, index_m[good], found_m2, best_m[good_m])

    def _matches(self, image: ImageLevels, level: int, index_m, found_m2, score_m: torch.Tensor) -> PointMatches:
        """Matches of a level, `found_m2` in its pixels."""
        camera, level_camera = image.camera(0), image.camera(level)
        if level:
            found_m2 = camera.project(level_camera.bearings(found_m2))
        scale_m = np.full(len(index_m), camera.fx_px / level_camera.fx_px)
        return PointMatches(index_m, found_m2, score_m.double().cpu().numpy(), scale_m)

    def _fine_map_of(self, image: ImageLevels, level: int) -> tuple[torch.Tensor, tuple[int, int]]:
        if level not in image.fine_maps:
            image.fine_maps[level] = self._fine_map(image.view(level).maps)
        return image.fine_maps[level]

    def _fine_map(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Unit vectors (H * W, D) at the finest stride, and (H, W)."""
        chosen = [maps[index].float() for index in self.points.backbone_maps]
        H, W = chosen[self._strides.index(self._stride)].shape[-2:]
        # The channels of a cell lie together from the start: no map is turned around.
        fine_nd, start = self._offset_d.expand(H * W, -1), 0
        for map_bchw in chosen:
            _, C, rows, columns = map_bchw.shape
            part_nd = map_bchw[0].flatten(1).T @ self._projection_dc[:, start : start + C].T
            if (rows, columns) != (H, W):  # linear either way: at its own stride it is cheaper
                part_bdhw = part_nd.view(1, rows, columns, -1).permute(0, 3, 1, 2)
                part_bdhw = F.interpolate(part_bdhw, size=(H, W), mode="bilinear", align_corners=False)
                part_nd = part_bdhw[0].permute(1, 2, 0).reshape(H * W, -1)
            fine_nd, start = fine_nd + part_nd, start + C
        return F.normalize(fine_nd, dim=1), (int(H), int(W))


# As `cone_slack_rad` and `range_slack`, of points that should be seen, and not only may be.
_SURE_SLACK = 0.3, 1.5
_PART = 0.2  # of the points
_MIN_SHARE = 0.2  # of the points; for fewer a level's features are not worth their time
_SHARPNESS = 20.0  # of the expectation around the best cell
_BESIDE = 3  # cells


def _products(wanted_md: torch.Tensor, fine_nd: torch.Tensor, cells_mk: torch.Tensor) -> torch.Tensor:
    """Products (M, K) of each row of `wanted_md` with K rows of `fine_nd`."""
    if fine_nd.device.type != "cpu":
        return torch.bmm(fine_nd[cells_mk], wanted_md[:, :, None])[:, :, 0]
    M, K = cells_mk.shape
    if len(fine_nd) <= K:  # a window as large as the map
        return (wanted_md @ fine_nd.T).gather(1, cells_mk)
    # On a processor most of that would be the copying of rows: as entries of a sparse matrix they are read in place,
    # which takes a tenth of the time.
    start_m = torch.arange(0, (M + 1) * K, K)
    entries = torch.sparse_csr_tensor(
        start_m, cells_mk.flatten(), torch.zeros(M * K), (M, len(fine_nd)), check_invariants=False
    )
    return torch.sparse.sampled_addmm(entries, wanted_md, fine_nd.T, beta=0.0).values().view(M, K)
