"""The one loss of depth training: named terms, of which a config weighs those that count.

photometric   a source, warped to the target through depth and motion, looks like it
smoothness    disparity is smooth, but at the image's edges
mask          the explainability mask is 1
consistency   two views agree how far things are
boundary      disparity changes where objects end
keypoint      SIFT descriptors match after warping
descriptor    learned descriptors match after warping, and others do not
depth         depth is the true one, where it is known
gradient      and so are its differences
confidence    the network knows how far its depth is off
teacher       depth is what another network says, up to what that cannot know
teacher_gradient  and its edges lie where that network's do
choice        the candidate that a pixel takes for its depth is the right one, where depth is known
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_training.depth.batch import ClipBatch
from geo_training.depth.config import LossConfig
from geo_training.depth.losses.boundary_loss import boundary_loss
from geo_training.depth.losses.descriptor_loss import descriptor_loss
from geo_training.depth.losses.keypoint_loss import described_similarity, sampled_similarity
from geo_training.depth.losses.photometric import minimum_reprojection_loss, photometric_error, summed_reprojection_loss
from geo_training.depth.losses.regularizers import (
    edge_aware_smoothness,
    inconsistency,
    laplace_likelihood,
    mask_regularization,
    normalized_disparity,
    second_order_smoothness,
)
from geo_training.depth.losses.supervision import centred, choice_loss, depth_loss, gradient_loss, log_error
from geo_training.depth.losses.teacher_loss import teacher_gradient_loss, teacher_loss
from geo_training.depth.losses.warp import Correspondences, reproject, sample, scaled_intrinsics
from geo_training.depth.networks.dense_sift import DenseSift
from geo_training.depth.networks.keypoint_detector import KeypointDetector
from geo_training.depth.networks.model import Prediction

_TIE_BREAK = 1e-5  # where nothing moves, the identity reprojection must win


class DepthLosses:
    """`losses(prediction, batch)` gives every term that the config weighs, each a mean, so that weights hold for any
    size and number of images."""

    def __init__(self, config: LossConfig):
        self.config = config
        self._sift = self._detector = None
        if config.weighs("keypoint") or config.weighs("descriptor"):
            self._sift = DenseSift() if config.weighs("keypoint") else None
            self._detector = KeypointDetector(radius_px=config.keypoint_radius_px)

    def __call__(self, prediction: Prediction, batch: ClipBatch) -> dict[str, torch.Tensor]:
        config, terms = self.config, {}
        scales = len(prediction.disparity) if config.scales == "multi" else 1
        matches: Correspondences | None = None
        agree = None
        if config.weighs("photometric") or prediction.source_depth_b1hw is not None:
            matches = reproject(prediction.depth[0], batch, prediction.T_source_target_bs44)
        if prediction.source_depth_b1hw is not None:
            agree = self._agreement(prediction, matches)
        if config.weighs("photometric"):
            terms["photometric"] = self._photometric(prediction, batch, scales, matches, agree)
        if config.weighs("smoothness"):
            terms["smoothness"] = self._smoothness(prediction, batch, scales)
        if config.weighs("mask") and prediction.explained is not None:
            terms["mask"] = sum(mask_regularization(mask) for mask in prediction.explained[:scales])
        if config.weighs("consistency"):
            apart_b1hw, _, inside_b1hw = agree
            terms["consistency"] = _mean_where(apart_b1hw, inside_b1hw)
        if config.weighs("boundary"):
            terms["boundary"] = self._boundary(prediction, batch, scales)
        if config.weighs("keypoint"):
            terms["keypoint"] = self._keypoint(prediction, batch)
        if config.weighs("descriptor"):
            terms["descriptor"] = self._descriptor(prediction, batch)
        if config.weighs("depth"):
            terms["depth"] = sum(
                depth_loss(_depth_to_size(depth, batch), batch.depth_b1hw) / 2**s
                for s, depth in enumerate(prediction.depth[:scales])
            )
        if config.weighs("gradient"):
            terms["gradient"] = gradient_loss(prediction.depth[0], batch.depth_b1hw)
        if config.weighs("choice"):
            terms["choice"] = choice_loss(prediction.choice, prediction.depth[0], batch.depth_b1hw)
        if config.weighs("confidence") and prediction.log_sigma_b1hw is not None:
            terms["confidence"] = self._confidence(prediction, batch, agree)
        if config.weighs("teacher"):
            terms["teacher"] = sum(
                teacher_loss(_depth_to_size(depth, batch), batch.teacher_b1hw, batch.teacher_kind, config.shift_share)
                / 2**s
                for s, depth in enumerate(prediction.depth[:scales])
            )
        if config.weighs("teacher_gradient"):
            terms["teacher_gradient"] = teacher_gradient_loss(
                prediction.depth[0], batch.teacher_b1hw, batch.teacher_kind
            )
        return terms

    def _photometric(self, prediction, batch, scales, matches, agree) -> torch.Tensor:
        """Summed over the scales as in SfMLearner, or the mean over them."""
        config, total = self.config, 0.0
        auto_mask = config.reduction == "minimum" and config.auto_mask
        identity = self._identity_reprojection(batch) if auto_mask else None
        for scale in range(scales):
            depth_b1hw = prediction.depth[scale]
            explained = prediction.explained[scale] if prediction.explained is not None else None
            if config.full_resolution:
                at = batch
                if scale:
                    matches = reproject(_depth_to_size(depth_b1hw, batch), batch, prediction.T_source_target_bs44)
                explained = explained if explained is None else _to_size(explained, batch)
            else:
                at = batch if scale == 0 else resized_batch(batch, depth_b1hw.shape[-2:])
                matches = reproject(depth_b1hw, at, prediction.T_source_target_bs44)
                identity = self._identity_reprojection(at) if auto_mask and scale else identity
            warped_bs3hw, inside_bshw = self._warped(at, matches)
            errors_bshw = torch.cat(
                [
                    photometric_error(warped_bs3hw[:, s], at.target_b3hw, config.difference)
                    for s in range(batch.sources)
                ],
                1,
            )
            if config.outside == "zeros":
                inside_bshw = torch.ones_like(inside_bshw)
            if config.reduction == "sum":
                total = total + summed_reprojection_loss(errors_bshw, inside_bshw, explained)
                continue
            weighted = errors_bshw if explained is None else errors_bshw * explained
            # What two views disagree about is hidden in one, or moves: it counts less (Bian et al. 2019).
            weight = None if agree is None else _to_size(torch.where(agree[2], 1 - agree[0].detach(), 1.0), at)
            total = total + minimum_reprojection_loss(weighted, inside_bshw, identity, weight)[0] / scales
        return total

    def _warped(self, batch: ClipBatch, matches: Correspondences) -> tuple[torch.Tensor, torch.Tensor]:
        """Sources as the target would see them (B, S, 3, H, W), and where they show it (bool, B, S, H, W)."""
        warped, inside = sample(batch.sources_bs3hw.flatten(0, 1), matches.pixels_bs2hw.flatten(0, 1))
        inside = inside.unflatten(0, (-1, batch.sources)) & (matches.z_bs1hw > 0)
        warped = warped.unflatten(0, (-1, batch.sources))
        if self.config.outside == "zeros":
            warped = torch.where(inside, warped, torch.zeros_like(warped))
        return warped, inside[:, :, 0]

    def _identity_reprojection(self, batch: ClipBatch) -> torch.Tensor:
        """The errors (B, S, H, W) of the sources as they are, not warped."""
        kind = self.config.difference
        errors = [photometric_error(batch.sources_bs3hw[:, s], batch.target_b3hw, kind) for s in range(batch.sources)]
        return torch.cat(errors, 1) - _TIE_BREAK

    def _smoothness(self, prediction: Prediction, batch: ClipBatch, scales: int) -> torch.Tensor:
        total = 0.0
        for scale, disparity in enumerate(prediction.disparity[:scales]):
            if self.config.smoothness == "second_order":
                term = second_order_smoothness(disparity)
            else:
                image = batch.target_b3hw
                if scale:
                    image = F.interpolate(image, size=disparity.shape[-2:], mode="area")
                term = edge_aware_smoothness(disparity, image)
            total = total + term / 2**scale
        return total

    def _boundary(self, prediction: Prediction, batch: ClipBatch, scales: int) -> torch.Tensor:
        order, has_b = self.config.boundary_order, batch.has_boundary_b
        disparities = prediction.disparity[:scales]
        if self.config.boundary_normalized:
            disparities = [normalized_disparity(disparity) for disparity in disparities]
        terms = [boundary_loss(disparity, batch.boundary_b1hw, order, has_b) for disparity in disparities]
        return sum(terms) / scales

    def _keypoint(self, prediction: Prediction, batch: ClipBatch) -> torch.Tensor:
        """Over the sources and, where all scales count, over the scales; descriptors are those of full resolution."""
        config, total = self.config, 0.0
        with torch.no_grad(), _exact(batch):
            chosen = self._detector(batch.target_b3hw) if config.keypoint_detector else None
            # At keypoints alone, descriptors are made where they are looked at.
            seen = self._sift if chosen is None else self._sift.histograms
            target = seen(batch.target_b3hw)
            sources = [seen(batch.sources_bs3hw[:, s]) for s in range(batch.sources)]
        scales = len(prediction.depth) if config.scales == "multi" else 1
        for scale in range(scales):
            depth_b1hw = _depth_to_size(prediction.depth[scale], batch)
            matches = reproject(depth_b1hw, batch, prediction.T_source_target_bs44)
            explained = prediction.explained
            weights = None if explained is None else _to_size(explained[scale], batch)
            for s in range(batch.sources):
                pixels_b2hw = matches.pixels_bs2hw[:, s]
                weight = None if weights is None else weights[:, s : s + 1]
                if chosen is None:
                    total = total + sampled_similarity(target, sources[s], pixels_b2hw, None, weight)
                else:
                    described = (partial(self._sift.at, seen_bahw) for seen_bahw in (target, sources[s]))
                    total = total + described_similarity(*described, pixels_b2hw, chosen, weight)
        return total / scales

    def _descriptor(self, prediction: Prediction, batch: ClipBatch) -> torch.Tensor:
        target, sources = prediction.descriptors
        matches = reproject(prediction.depth[0], batch, prediction.T_source_target_bs44)
        inside = _inside(matches.pixels_bs2hw) & (matches.z_bs1hw > 0)
        with torch.no_grad(), _exact(batch):
            chosen = self._detector(batch.target_b3hw)
        return sum(
            descriptor_loss(target, sources[:, s], matches.pixels_bs2hw[:, s], inside[:, s], chosen)
            for s in range(batch.sources)
        )

    def _agreement(self, prediction: Prediction, matches: Correspondences):
        """How far two views disagree (0 to 1), the difference of their log depths, and where both see: (B, 1, H, W)."""
        z_b1hw = matches.z_bs1hw[:, prediction.source]
        seen_b1hw, inside = sample(prediction.source_depth_b1hw, matches.pixels_bs2hw[:, prediction.source])
        inside = inside & (z_b1hw > 0)
        log_b1hw = torch.log(z_b1hw.clamp(min=1e-6)) - torch.log(seen_b1hw.clamp(min=1e-6))
        return inconsistency(z_b1hw.clamp(min=1e-6), seen_b1hw), log_b1hw, inside

    def _confidence(self, prediction: Prediction, batch: ClipBatch, agree) -> torch.Tensor:
        """Against the true depth where it is known; else against what another view says."""
        with torch.no_grad():
            error, counted = log_error(prediction.depth[0], batch.depth_b1hw)
            error, _ = centred(error, counted)
            if agree is not None:
                other = agree[2] & ~counted.flatten(1).any(1)[:, None, None, None]
                error, counted = torch.where(other, agree[1], error), counted | other
        return laplace_likelihood(error, prediction.log_sigma_b1hw, counted)


def resized_batch(batch: ClipBatch, size_hw: tuple[int, int]) -> ClipBatch:
    """The batch with its images and cameras at another size; maps of depth and boundaries stay as they are."""
    height, width = batch.target_b3hw.shape[-2:]
    target = F.interpolate(batch.target_b3hw, size=size_hw, mode="area")
    sources = F.interpolate(batch.sources_bs3hw.flatten(0, 1), size=size_hw, mode="area")
    K_b33 = scaled_intrinsics(batch.K_b33, size_hw[1] / width, size_hw[0] / height)
    sources = sources.unflatten(0, (-1, batch.sources))
    return replace(batch, target_b3hw=target, sources_bs3hw=sources, K_b33=K_b33)


def _to_size(maps_bchw: torch.Tensor, batch: ClipBatch) -> torch.Tensor:
    """Maps brought to the size of the images."""
    size = batch.target_b3hw.shape[-2:]
    if maps_bchw.shape[-2:] == size:
        return maps_bchw
    return F.interpolate(maps_bchw, size=size, mode="bilinear", align_corners=False)


def _depth_to_size(depth_b1hw: torch.Tensor, batch: ClipBatch) -> torch.Tensor:
    """Depth brought to the size of the images as disparity, which is what is linear on planes."""
    return depth_b1hw if depth_b1hw.shape[-2:] == batch.target_b3hw.shape[-2:] else 1 / _to_size(1 / depth_b1hw, batch)


def _inside(pixels_bs2hw: torch.Tensor) -> torch.Tensor:
    height, width = pixels_bs2hw.shape[-2:]
    x, y = pixels_bs2hw[:, :, :1], pixels_bs2hw[:, :, 1:]
    return (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def _mean_where(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return torch.where(counted, values, torch.zeros_like(values)).sum() / counted.sum().clamp(min=1)


def _exact(batch: ClipBatch):
    return torch.autocast(batch.target_b3hw.device.type, enabled=False)
