"""Many images, one camera: what is fused, what is left out, what starts anew, and how certain it all is."""

from dataclasses import replace

import numpy as np
import pytest

from geo_perception.calibration.fusion import CalibrationFusion, FusionOptions, FusionState
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationMeasurement
from geo_perception.geometry import wrap_rad

STILL = FusionOptions(focal_walk=0.0, attitude_walk_rad=0.0, min_frames=1, image_focal_sigma=0.0)
COVERED = Calibration(CalibrationVerdict.NO_STRUCTURE, "dark", 640, 480)


def seen(
    focal_px=500.0, pitch_rad=0.1, roll_rad=-0.05, focal_sigma=0.1, angle_sigma_rad=0.04, **changes
) -> Calibration:
    covariance_33 = np.diag([(focal_sigma * focal_px) ** 2, angle_sigma_rad**2, angle_sigma_rad**2])
    values = {"verdict": CalibrationVerdict.CALIBRATED, "detail": "", "width_px": 640, "height_px": 480}
    values |= {"focal_px": focal_px, "pitch_rad": pitch_rad, "roll_rad": roll_rad, "covariance_33": covariance_33}
    return Calibration(**(values | changes))


def fuse(fusion: CalibrationFusion, calibrations, start_s=0.0, period_s=0.1, ncc=0.0) -> list:
    return [fusion.update(one, start_s + i * period_s, ncc) for i, one in enumerate(calibrations)]


def relative_variance(fused) -> float:
    return (fused.sigma_focal_px / fused.focal_px) ** 2


def pitch_variance(fused) -> float:
    """As a share of one image's."""
    return fused.covariance_33[1, 1] / 0.04**2


class TestHowCertain:
    def test_one_image_is_taken_as_it_says(self):
        one = seen(covariance_33=np.array([[2500.0, 0.5, 0.1], [0.5, 1.6e-3, 0.0], [0.1, 0.0, 9e-4]]))
        fused = CalibrationFusion(STILL).update(one, 7.0)
        assert (fused.focal_px, fused.pitch_rad, fused.roll_rad) == pytest.approx((500.0, 0.1, -0.05))
        np.testing.assert_allclose(fused.covariance_33, one.covariance_33, rtol=1e-12, atol=1e-15)
        assert (fused.frames, fused.used, fused.stamp_s) == (1, True, 7.0)

    def test_independent_images_count_in_full_and_focal_lengths_meet_in_the_middle_of_their_logarithms(self):
        fusion = CalibrationFusion(replace(STILL, shared_error=0.0, place_error=0.0))
        fused = fuse(fusion, [seen(490.0), seen(360000 / 490.0 / 1.44)])[-1]
        assert fused.focal_px == pytest.approx(500.0)  # the geometric mean
        assert relative_variance(fused) == pytest.approx(0.01 / 2)
        assert pitch_variance(fused) == pytest.approx(1 / 2)

    def test_a_focal_length_is_never_more_certain_than_what_all_views_of_a_place_share(self):
        fused = fuse(CalibrationFusion(replace(STILL, place_error=0.3)), [seen()] * 40)[-1]
        assert relative_variance(fused) == pytest.approx(0.01 * (0.3 + 0.7 / 40))

    def test_images_of_one_view_tell_no_more_of_the_focal_length_than_the_best_of_them(self):
        fused = fuse(CalibrationFusion(STILL), [seen(focal_sigma=s) for s in (0.2, 0.1, 0.15)] * 20, ncc=1.0)[-1]
        assert relative_variance(fused) == pytest.approx(0.01)

    def test_an_image_is_believed_no_more_exactly_than_allowed_unless_its_focal_length_was_known(self):
        options = replace(STILL, image_focal_sigma=0.08)
        sure = CalibrationFusion(options).update(seen(focal_sigma=0.01), 0.0)
        assert relative_variance(sure) == pytest.approx(0.08**2)
        known = CalibrationFusion(options).update(seen(focal_sigma=0.01, focal_known=True), 0.0)
        assert relative_variance(known) == pytest.approx(0.01**2)

    @pytest.mark.parametrize(("images", "share"), [(1, 1.0), (2, 0.9), (4, 0.85), (1000, 0.8002)])
    def test_a_view_that_stands_still_never_gets_more_certain_than_its_shared_error(self, images, share):
        # n errors with a correlation of 0.8 average to R (1 + (n - 1) 0.8) / n.
        fusion = CalibrationFusion(replace(STILL, shared_error=0.8))
        fused = fuse(fusion, [seen()] * images, ncc=1.0)[-1]
        assert pitch_variance(fused) == pytest.approx(share)

    def test_images_apart_by_the_time_that_halves_the_correlation(self):
        # rho = exp(-dt / tau) = 1/2, so two errors correlate by 0.8 / 2 = 0.4 and average to R (1 + 0.4) / 2.
        fusion = CalibrationFusion(replace(STILL, shared_error=0.8, correlation_s=2.0))
        fused = fuse(fusion, [seen()] * 2, period_s=2.0 * np.log(2.0))[-1]
        assert pitch_variance(fused) == pytest.approx(0.7)

    def test_mean_and_variance_are_those_of_generalized_least_squares(self):
        images, shared, rho = 7, 0.9, np.exp(-0.1 / 0.5)
        pitch_n = 0.1 + 0.02 * np.sin(3.0 * np.arange(images))
        lag_nn = np.abs(np.subtract.outer(np.arange(images), np.arange(images)))
        C_nn = 0.04**2 * (shared * rho**lag_nn + (1 - shared) * np.eye(images))
        weights_n = np.linalg.solve(C_nn, np.ones(images))
        fusion = CalibrationFusion(replace(STILL, shared_error=shared, correlation_s=0.5, gate_sigma=100.0))
        fused = fuse(fusion, [seen(pitch_rad=value) for value in pitch_n])[-1]
        assert fused.covariance_33[1, 1] == pytest.approx(1 / weights_n.sum())
        assert fused.pitch_rad == pytest.approx(float(weights_n @ pitch_n / weights_n.sum()))

    def test_what_is_stated_holds_when_errors_are_alike_from_image_to_image(self):
        rng, held, tight = np.random.default_rng(3), 0, []
        for _ in range(150):
            fusion, error = CalibrationFusion(replace(STILL, shared_error=0.9, correlation_s=1.0)), rng.normal()
            for index in range(40):  # four seconds at 10 Hz, the error forgetting itself within one
                error = np.exp(-0.1) * error + np.sqrt(1 - np.exp(-0.2)) * rng.normal()
                wrong_rad = 0.04 * (np.sqrt(0.9) * error + np.sqrt(0.1) * rng.normal())
                fused = fusion.update(seen(pitch_rad=0.1 + wrong_rad), 0.1 * index)
            held += abs(fused.pitch_rad - 0.1) < 1.645 * fused.sigma_pitch_rad
            tight.append(fused.sigma_pitch_rad)
        assert 0.84 < held / 150 < 0.96
        assert 0.04 / np.sqrt(40) * 2.5 < np.mean(tight) < 0.04 * 0.7  # far from 1/sqrt(n), yet better than one image

    def test_a_known_focal_length_sharpens_a_pitch_that_errs_with_it(self):
        # Errors of pitch and focal length correlate by 0.9: known f leaves 1 - 0.81 of the pitch's variance.
        tied = np.array([[2500.0, 0.9 * 50 * 0.04, 0], [0.9 * 50 * 0.04, 0.04**2, 0], [0, 0, 0.04**2]])
        fusion = CalibrationFusion(replace(STILL, shared_error=0.0, place_error=0.0))
        fusion.update(seen(focal_sigma=1e-4, angle_sigma_rad=3.0), 0.0)
        fused = fusion.update(seen(covariance_33=tied), 0.1)
        assert fused.sigma_pitch_rad == pytest.approx(0.04 * np.sqrt(0.19), rel=1e-3)

    def test_an_attitude_that_wanders_is_never_known_better_than_the_error_its_images_share(self):
        fusion = CalibrationFusion(FusionOptions(shared_error=0.8))
        fused = fuse(fusion, [seen()] * 300, ncc=1.0)[-1]
        assert 0.04 * np.sqrt(0.8) * 0.99 < fused.sigma_pitch_rad < 0.04


class TestImagesThatCannotBeUsed:
    def test_uncertainty_grows_and_nothing_jumps(self):
        fusion = CalibrationFusion(replace(STILL, focal_walk=0.008, attitude_walk_rad=0.003))
        before = fusion.update(seen(focal_sigma=0.06), 0.0)
        after = fusion.update(COVERED, 100.0)
        assert (after.focal_px, after.pitch_rad, after.roll_rad) == (before.focal_px, before.pitch_rad, before.roll_rad)
        assert after.sigma_focal_px == pytest.approx(500 * 0.1)  # sqrt(0.06^2 + 0.008^2 * 100)
        assert after.sigma_pitch_rad == pytest.approx(0.05)  # sqrt(0.04^2 + 0.003^2 * 100)
        assert (after.state, after.used, after.frames) == (FusionState.STALE, False, 1)
        assert after.detail.startswith("no usable image for 100.0 s; focal length 500 px within 10.0 %")

    @pytest.mark.parametrize(
        "useless",
        [
            COVERED,
            seen(900.0, verdict=CalibrationVerdict.TOO_UNCERTAIN),
            seen(float("nan")),
            seen(pitch_rad=float("nan")),
            seen(-500.0),
            seen(covariance_33=None),
            seen(covariance_33=np.zeros((3, 3))),
            seen(covariance_33=np.diag([2500.0, -1e-3, 1e-3])),
            seen(covariance_33=np.full((3, 3), np.nan)),
        ],
    )
    def test_what_is_not_trusted_or_not_a_number_changes_nothing(self, useless):
        fusion = CalibrationFusion(STILL)
        assert fusion.update(useless, 0.0).state is FusionState.NOTHING
        fusion.update(seen(), 0.1)
        fused = fusion.update(useless, 0.2)
        assert (fused.focal_px, fused.frames, fused.used) == (pytest.approx(500.0), 1, False)

    def test_a_covered_lens_does_not_make_the_same_view_news(self):
        options = replace(STILL, shared_error=0.8)
        straight, covered = CalibrationFusion(options), CalibrationFusion(options)
        fuse(straight, [seen()] * 2, ncc=1.0)
        covered.update(seen(), 0.0)
        covered.update(COVERED, 50.0, ncc=0.0)
        again = covered.update(seen(), 100.0, ncc=1.0)
        assert pitch_variance(again) == pytest.approx(0.9)
        assert relative_variance(again) == pytest.approx(0.01)

    def test_before_any_image_there_is_no_answer(self):
        fused = CalibrationFusion().update(COVERED, 1.0)
        assert np.isnan(fused.focal_px)
        assert fused.covariance_33 is None
        assert (fused.state, fused.detail) == (FusionState.NOTHING, "no usable image yet")
        assert not fused.focal_settled
        assert not fused.attitude_good


class TestOutliers:
    def test_one_wild_image_is_left_out(self):
        fusion = CalibrationFusion()
        before = fuse(fusion, [seen()] * 20)[-1]
        wild = fusion.update(seen(1500.0), 2.0)
        assert not wild.used
        assert wild.focal_px == pytest.approx(before.focal_px)
        assert wild.focal_settled  # one image is no doubt yet
        assert fusion.update(seen(), 2.1).used

    def test_a_zoom_is_accepted_after_five_images_that_agree_and_said(self):
        fusion = CalibrationFusion()
        fuse(fusion, [seen()] * 20)
        zoomed = fuse(fusion, [seen(1000.0)] * 6, start_s=2.0)
        assert [one.used for one in zoomed] == [False] * 4 + [True] * 2
        assert [one.focal_settled for one in zoomed[:4]] == [True, False, False, False]
        assert zoomed[3].state is FusionState.CONTRADICTED
        assert zoomed[3].detail.startswith("the last 4 images contradict the estimate")
        assert zoomed[3].focal_px == pytest.approx(500.0)
        assert zoomed[4].event == "the focal length changed from 500 to 1000 px"
        assert zoomed[4].focal_px == pytest.approx(1000.0)
        assert (zoomed[4].frames, zoomed[5].frames) == (5, 6)
        assert zoomed[5].event == ""
        # As certain as five images are, not as the twenty of another focal length.
        fresh = fuse(CalibrationFusion(), [seen(1000.0)] * 6)[-1]
        assert relative_variance(zoomed[5]) == pytest.approx(relative_variance(fresh))

    @pytest.mark.parametrize(("ncc", "images"), [(1.0, 25), (0.95, 25), (0.6, 5)])
    def test_images_of_one_view_contradict_it_alike_so_it_takes_more_of_them(self, ncc, images):
        """Lines that mislead in one image do so in the next; the third view is another opinion."""
        fusion = CalibrationFusion()
        fuse(fusion, [seen()] * 20)
        zoomed = fuse(fusion, [seen(1000.0)] * (images - 1), start_s=2.0, ncc=ncc)
        assert not any(one.event for one in zoomed)
        last = fusion.update(seen(1000.0), 2.0 + 0.1 * (images - 1), ncc)
        assert last.event == "the focal length changed from 500 to 1000 px"

    def test_a_few_misled_views_among_many_pull_little(self):
        fusion = CalibrationFusion()
        fuse(fusion, [seen()] * 20)
        pulled = fuse(fusion, [seen(620.0)] * 4, start_s=2.0)[-1]
        assert pulled.used
        assert pulled.focal_px == pytest.approx(500, rel=0.03)

    def test_wild_images_that_contradict_each_other_never_start_anew(self):
        fusion = CalibrationFusion()
        fuse(fusion, [seen()] * 20)
        wild = fuse(fusion, [seen(focal) for focal in (1500.0, 150.0) * 10], start_s=2.0)
        assert not any(one.used or one.event for one in wild)
        assert wild[-1].state is FusionState.CONTRADICTED

    def test_an_attitude_that_jumps_is_followed_after_three_images_and_the_focal_length_kept(self):
        fusion = CalibrationFusion()
        before = fuse(fusion, [seen()] * 20)[-1]
        tilted = fuse(fusion, [seen(pitch_rad=0.7)] * 3, start_s=2.0)
        assert [one.used for one in tilted] == [False, False, True]
        assert tilted[2].event == "the attitude jumped and is followed"
        assert tilted[2].pitch_rad == pytest.approx(0.7, abs=0.02)
        assert tilted[2].roll_rad == pytest.approx(-0.05, abs=0.02)
        assert tilted[2].frames == before.frames + 1
        assert relative_variance(tilted[2]) <= relative_variance(before) * 1.01
        assert tilted[2].focal_settled
        assert tilted[2].sigma_pitch_rad == pytest.approx(0.04, rel=0.05)

    @pytest.mark.parametrize("rate_rad_s", [0.5, -1.0])
    def test_a_turn_is_followed_without_leaving_an_image_out(self, rate_rad_s):
        fusion = CalibrationFusion()
        turn = [seen(pitch_rad=rate_rad_s * 0.1 * i) for i in range(12)]
        fused = fuse(fusion, [seen(pitch_rad=0.0)] * 20 + turn)[20:]
        assert all(one.used for one in fused)
        assert fused[-1].pitch_rad == pytest.approx(rate_rad_s * 1.1, abs=0.15)

    def test_a_camera_that_goes_on_spinning_is_followed_too(self):
        fusion = CalibrationFusion()
        spin = [seen(pitch_rad=0.35 * i) for i in range(4)]
        fused = fuse(fusion, [seen(pitch_rad=0.0)] * 20 + spin)
        assert fused[-1].used
        assert fused[-1].pitch_rad == pytest.approx(1.05, abs=0.05)

    def test_roll_goes_around(self):
        fusion = CalibrationFusion(replace(STILL, shared_error=0.0))
        fused = fuse(fusion, [seen(roll_rad=np.radians(179.0)), seen(roll_rad=np.radians(-177.0))])
        assert fused[-1].used
        assert np.degrees(wrap_rad(fused[-1].roll_rad - np.pi)) == pytest.approx(1.0)


class TestStartingAnew:
    def test_another_image_size(self):
        fusion = CalibrationFusion(STILL)
        fuse(fusion, [seen()] * 3)
        small = fusion.update(seen(250.0, width_px=320, height_px=240), 1.0)
        assert small.event == "the image size changed from 640 x 480 to 320 x 240"
        assert (small.frames, small.focal_px) == (1, pytest.approx(250.0))
        assert (small.camera.width_px, small.camera.cx_px, small.camera.cy_px) == (320, 159.5, 119.5)

    def test_a_clock_that_jumps_back_and_an_image_that_is_late(self):
        fusion = CalibrationFusion(STILL)
        fuse(fusion, [seen()] * 3, start_s=100.0)
        late = fusion.update(seen(900.0), 99.5)
        assert (late.used, late.frames, late.event) == (False, 3, "")
        back = fusion.update(seen(900.0), 50.2)
        assert back.event == "the stamps went back by 50.0 s"
        assert (back.frames, back.focal_px) == (1, pytest.approx(900.0))

    def test_on_request(self):
        fusion = CalibrationFusion(STILL)
        fuse(fusion, [seen()] * 3)
        fusion.reset()
        fused = fusion.update(seen(900.0, width_px=100, height_px=100), 0.0)
        assert (fused.event, fused.frames, fused.focal_px) == ("", 1, pytest.approx(900.0))


class TestSettling:
    def test_enough_images_and_certain_enough(self):
        fusion = CalibrationFusion(FusionOptions(min_frames=4, max_focal_sigma=0.1))
        fused = fuse(fusion, [seen(focal_sigma=0.1)] * 5)
        assert [one.focal_settled for one in fused] == [False, False, False, True, True]
        assert [one.state for one in fused[2:4]] == [FusionState.SETTLING, FusionState.SETTLED]
        assert fused[3].verdict is CalibrationVerdict.CALIBRATED
        assert fused[2].verdict is CalibrationVerdict.TOO_UNCERTAIN

    def test_uncertain_images_of_one_view_do_not_settle_and_many_views_do(self):
        options = FusionOptions(correlation_s=1.0)
        one_view = fuse(CalibrationFusion(options), [seen(focal_sigma=0.2)] * 200, ncc=1.0)[-1]
        many_views = fuse(CalibrationFusion(options), [seen(focal_sigma=0.2)] * 200, ncc=0.0)[-1]
        assert one_view.state is FusionState.SETTLING
        assert not one_view.focal_settled
        assert many_views.focal_settled

    def test_the_attitude_is_good_by_its_own_uncertainty_alone(self):
        fused = CalibrationFusion(FusionOptions(max_attitude_sigma_rad=0.05)).update(seen(angle_sigma_rad=0.04), 0.0)
        assert fused.attitude_good
        assert not fused.focal_settled
        assert not CalibrationFusion(FusionOptions(max_attitude_sigma_rad=0.03)).update(seen(), 0.0).attitude_good


class TestNoNumbers:
    """An answer that claims to be good and is no number: it is never fused, and never told as one."""

    USELESS = (
        {"focal_px": np.nan}, {"focal_px": np.inf}, {"pitch_rad": np.nan}, {"roll_rad": np.inf},
        {"covariance_33": np.full((3, 3), np.nan)}, {"covariance_33": np.diag([np.inf, 1.0, 1.0])},
        {"covariance_33": np.diag([1.0, -1.0, 1.0])},
    )  # fmt: skip

    @pytest.mark.parametrize("changes", USELESS)
    def test_as_the_first_image_it_is_not_passed_on_as_calibrated(self, changes):
        fusion = CalibrationFusion(STILL)
        fused = fusion.update(seen(**changes), 0.0)
        assert fused.verdict is CalibrationVerdict.TOO_UNCERTAIN
        assert not fused.trusted
        assert not fused.focal_settled
        assert (fused.used, fused.attitude_good, fused.state) == (False, False, FusionState.NOTHING)
        assert fusion.update(seen(), 0.1).focal_px == pytest.approx(500.0)

    @pytest.mark.parametrize("changes", USELESS)
    def test_as_a_later_image_it_changes_nothing(self, changes):
        fusion = CalibrationFusion(STILL)
        before = fusion.update(seen(), 0.0)
        after = fusion.update(seen(**changes), 0.1)
        assert (after.focal_px, after.pitch_rad, after.roll_rad) == (before.focal_px, before.pitch_rad, before.roll_rad)
        np.testing.assert_allclose(after.covariance_33, before.covariance_33)
        assert (after.used, after.frames) == (False, 1)

    def test_a_stamp_that_is_no_number_leaves_the_estimate_as_it_is(self):
        fusion = CalibrationFusion(STILL)
        fusion.update(seen(), 0.0)
        assert not fusion.update(seen(), float("nan")).used
        after = fusion.update(seen(), 0.1)
        assert (after.used, after.frames) == (True, 2)
        assert np.isfinite(after.covariance_33).all()

    @pytest.mark.parametrize("measured", [(np.nan, 0.02), (500.0, np.nan), (np.inf, 0.02), (-1.0, 0.02)])
    def test_a_turn_that_measured_no_number_is_not_fused(self, measured):
        fusion = CalibrationFusion(STILL)
        turn = RotationMeasurement(*measured, turn_rad=0.3)
        assert fusion.update(COVERED, 0.0, turn=turn).state is FusionState.NOTHING
        fusion.update(seen(), 0.1)
        assert fusion.update(seen(), 0.2, turn=turn).focal_px == pytest.approx(500.0)
