"""The terms of depth training put together: sums over scales and sources and masks, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from geo_training import depth as depth_room
from geo_training.depth.config import DepthTrainingConfig, LossConfig
from geo_training.depth.losses.losses import DepthLosses, resized_batch
from tiny_clips import DOUBLE, clips, constant, flat, losses, seen, shifted, still

from geo_perception.geometry import Camera


class TestSfmLearner:
    """Equation 2 of the paper: over four scales, with one mask for each source."""

    def test_the_terms_add_up_as_computed_by_hand(self, sfmlearner_losses):
        batch = clips(constant(0.5, 32, 32), constant(0.2, 32, 32), constant(0.6, 32, 32), fx_px=16.0)
        sizes = [32 >> s for s in range(4)]
        # Columns of 1 and 2 by turns: second differences of 2 in x, none in y. Depths of 1 and 1/2 are exact, so that
        # without motion every pixel lands on itself to the last digit.
        disparity = [(1 + torch.arange(n, dtype=DOUBLE) % 2).expand(1, 1, n, n) for n in sizes]
        explained = [torch.tensor([0.8, 0.5], dtype=DOUBLE)[None, :, None, None].expand(1, 2, n, n) for n in sizes]
        terms = DepthLosses(sfmlearner_losses)(seen(disparity, still(2), explained), batch)
        assert set(terms) == {"photometric", "smoothness", "mask"}
        assert terms["photometric"].item() == pytest.approx(4 * (0.8 * 0.3 + 0.5 * 0.1))
        assert terms["smoothness"].item() == pytest.approx(2 * (1 + 1 / 2 + 1 / 4 + 1 / 8))
        assert terms["mask"].item() == pytest.approx(-4 * (math.log(0.8) + math.log(0.5)))
        weights = sfmlearner_losses.weights
        total = sum(weights[name] * term.item() for name, term in terms.items())
        assert total == pytest.approx(2 * 1.16 + 0.5 * 3.75 - 0.2 * 4 * math.log(0.4))

    def test_what_no_source_shows_is_compared_with_black(self, sfmlearner_losses):
        batch = clips(constant(0.5), constant(0.5))
        config = sfmlearner_losses.model_copy(update={"scales": "single", "explainability": False})
        far_away = shifted(1000.0)
        term = DepthLosses(config)(seen(flat(1.0), far_away), batch)["photometric"]
        assert term.item() == pytest.approx(0.5)
        ignoring = DepthLosses(config.model_copy(update={"outside": "ignore"}))
        assert ignoring(seen(flat(1.0), far_away), batch)["photometric"].item() == 0

    def test_the_camera_is_scaled_with_the_image(self, sfmlearner_losses):
        """On a ramp of 0.01 a pixel, a shift of 2 pixels is an error of 0.02, at every scale, where it stays inside."""
        ramp = (0.01 * torch.arange(32, dtype=DOUBLE)).expand(3, 32, 32)
        config = sfmlearner_losses.model_copy(update={"outside": "ignore"})
        disparity = flat(4.0, size=32)
        term = DepthLosses(config)(seen(disparity, shifted(0.4)), clips(ramp, ramp, fx_px=20.0))["photometric"]
        inside = sum(((32 >> s) - math.ceil(2 / 2**s)) / (32 >> s) for s in range(4))
        assert term.item() == pytest.approx(0.02 * inside, rel=1e-6)

    def test_a_resized_clip_has_the_camera_of_the_resized_image(self):
        batch = clips(constant(0.5, 16, 24), constant(0.5, 16, 24))
        camera = Camera.from_K(batch.K_b33[0].numpy(), 24, 16)
        small = resized_batch(batch, (4, 12))
        np.testing.assert_allclose(small.K_b33[0].numpy(), camera.resized(12, 4).K)
        assert small.target_b3hw.shape == (1, 3, 4, 12)
        assert small.sources_bs3hw.shape == (1, 1, 3, 4, 12)


@pytest.fixture(scope="module")
def sfmlearner_losses() -> LossConfig:
    return DepthTrainingConfig.load(Path(depth_room.__file__).parent / "configs" / "sfmlearner.yaml").losses


class TestDefault:
    """Minimum over sources, auto-masking, full resolution, one scale for two views."""

    def photometric(self, batch, prediction, **options):
        options = {"weights": {"photometric": 1.0}, "difference": "l1"} | options
        return losses(**options)(prediction, batch)["photometric"]

    def test_each_pixel_takes_its_best_source(self):
        target = constant(0.5, 2, 2)
        left, right = constant(0.6, 2, 2), constant(0.9, 2, 2)
        left[:, :, 1], right[:, :, 1] = 0.8, 0.7  # the best are 0.1 and 0.2 apart
        batch = clips(target, left, right)
        term = self.photometric(batch, seen(flat(1.0, 1, 2), still(2)), auto_mask=False)
        assert term.item() == pytest.approx(0.15)

    def test_a_stationary_scene_contributes_nothing_whatever_depth_and_motion(self):
        torch.manual_seed(0)
        image = torch.rand(3, 16, 16, dtype=DOUBLE)
        disparity = [d.requires_grad_() for d in flat(2.0)]
        for kind in ("l1", "ssim"):
            for motion in (still(2), shifted(0.3).expand(1, 2, 4, 4)):
                term = self.photometric(clips(image, image, image), seen(disparity, motion), difference=kind)
                gradients = torch.autograd.grad(term, disparity, allow_unused=True)
                assert term.item() == 0
                assert all(g is None or not g.any() for g in gradients)

    def test_only_pixels_that_moving_explains_better_count(self):
        """The right half moved by two pixels; the left is the same in both images, as something that drives along."""
        torch.manual_seed(0)
        source = torch.rand(3, 8, 16, dtype=DOUBLE)
        target = source.clone()
        target[..., 8:] = torch.roll(source, 2, dims=2)[..., 8:] + 0.01
        disparity = [torch.ones(1, 1, 8, 16, dtype=DOUBLE)]
        term = self.photometric(clips(target, source), seen(disparity, shifted(-0.1)))
        assert term.item() == pytest.approx(0.01)
        everything = self.photometric(clips(target, source), seen(disparity, shifted(-0.1)), auto_mask=False)
        assert everything.item() > 0.1

    def test_every_scale_is_compared_at_full_resolution_and_the_mean_is_taken(self):
        torch.manual_seed(0)
        batch = clips(*torch.rand(2, 3, 16, 16, dtype=DOUBLE))
        right, wrong = flat(2.0), [*flat(2.0)[:3], flat(5.0)[3]]
        single = self.photometric(batch, seen(right, shifted(0.3)), scales="single", auto_mask=False)
        same = self.photometric(batch, seen(right, shifted(0.3)), auto_mask=False)
        assert same.item() == pytest.approx(single.item())
        other = self.photometric(batch, seen(flat(5.0), shifted(0.3)), scales="single", auto_mask=False)
        mixed = self.photometric(batch, seen(wrong, shifted(0.3)), auto_mask=False)
        assert mixed.item() == pytest.approx((3 * single.item() + other.item()) / 4)

    def test_scales_may_be_compared_at_their_own_resolution(self):
        """Auto-mask and agreement are then of that resolution, too."""
        torch.manual_seed(0)
        batch = clips(*torch.rand(2, 3, 16, 16, dtype=DOUBLE))
        prediction = seen(flat(2.0), shifted(0.3), source_depth_b1hw=torch.full((1, 1, 16, 16), 2.0, dtype=DOUBLE))
        term = self.photometric(batch, prediction, full_resolution=False)
        assert 0 < term.item() < 1
        image = batch.target_b3hw[0]
        assert self.photometric(clips(image, image), prediction, full_resolution=False).item() == 0

    def test_two_views_that_disagree_count_less_and_cost_their_disagreement(self):
        batch = clips(constant(0.5), constant(0.3))
        prediction = seen(flat(1.0), still(), source_depth_b1hw=torch.full((1, 1, 16, 16), 3.0, dtype=DOUBLE))
        terms = losses(weights={"photometric": 1.0, "consistency": 1.0}, difference="l1", auto_mask=False)(
            prediction, batch
        )
        assert terms["consistency"].item() == pytest.approx(0.5)  # |1 - 3| / (1 + 3)
        assert terms["photometric"].item() == pytest.approx(0.5 * 0.2)

    def test_the_other_views_depth_is_compared_with_the_depth_there(self):
        """A step forward of 1: what is 3 away should be 2 away in the source."""
        motion = still().clone()
        motion[..., 2, 3] = -1.0
        prediction = seen(flat(3.0), motion, source_depth_b1hw=torch.full((1, 1, 16, 16), 2.0, dtype=DOUBLE))
        terms = losses(weights={"consistency": 1.0})(prediction, clips(constant(0.5), constant(0.5)))
        assert terms["consistency"].item() == pytest.approx(0, abs=1e-12)


class TestConfidence:
    """Judged by the true depth, or else by the other view."""

    def term(self, batch, **more):
        log_sigma = torch.full((1, 1, 16, 16), math.log(0.5), dtype=DOUBLE)
        disparity = flat(2.0, 1)
        disparity[0][..., :8] *= math.e  # half of the image is nearer by e
        prediction = seen(disparity, still(), log_sigma=log_sigma, **more)
        weights = {"confidence": 1.0} | ({} if more else {"depth": 1.0})
        return losses(weights=weights)(prediction, batch)["confidence"].item()

    def test_by_the_true_depth_without_the_common_scale(self):
        truth = torch.full((1, 1, 16, 16), 40.0, dtype=DOUBLE)
        batch = clips(constant(0.5), constant(0.5), depth=truth)
        assert self.term(batch) == pytest.approx(0.5 / 0.5 + math.log(0.5))

    def test_by_the_other_view_where_no_depth_is_known(self):
        batch = clips(constant(0.5), constant(0.5))
        other = torch.full((1, 1, 16, 16), 2.0, dtype=DOUBLE)
        assert self.term(batch, source_depth_b1hw=other) == pytest.approx((1.0 / 0.5 + 0) / 2 + math.log(0.5))

    def test_a_network_that_does_not_tell_has_no_such_term(self):
        truth = torch.full((1, 1, 16, 16), 40.0, dtype=DOUBLE)
        terms = losses(weights={"depth": 1.0, "confidence": 1.0})(
            seen(flat(2.0), still()), clips(constant(0.5), constant(0.5), depth=truth)
        )
        assert set(terms) == {"depth"}


def test_a_term_without_weight_is_not_computed():
    terms = losses(weights={"smoothness": 1.0, "photometric": 0.0})(
        seen(flat(2.0), still()), clips(constant(0.5), constant(0.5))
    )
    assert set(terms) == {"smoothness"}
