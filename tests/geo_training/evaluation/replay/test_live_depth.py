"""What a live depth node published, against true depth that is known by hand."""

import cv2
import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.importers import import_dataset
from geo_training.evaluation.replay.live_depth import DepthRun, DepthTruth, depth_metrics
from image_files import write_image

from geo_perception.errors import InputError

SIZE_PX = (60, 40)
SHIFT_NS = 10**9
TRUE_M = 2.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three frames at 0, 0.1 and 0.2 s before a wall two metres away; the right third of the last one is unknown."""
    folder, out = tmp_path_factory.mktemp("frames"), tmp_path_factory.mktemp("made") / "dataset"
    (folder / "depth").mkdir()
    for index in range(3):
        write_image(folder / "rgb" / f"{index:05d}.jpg", 40 * index, SIZE_PX)
        depth_mm_hw = np.full(SIZE_PX[::-1], round(1e3 * TRUE_M), np.uint16)
        if index == 2:
            depth_mm_hw[:, 40:] = 0
        cv2.imwrite(str(folder / "depth" / f"{index:05d}.png"), depth_mm_hw)
    np.savetxt(folder / "K.txt", np.array([[50.0, 0, 29.5], [0, 50.0, 19.5], [0, 0, 1]]))
    import_dataset(folder, out, "images")
    return out


STAMPS_NS = [SHIFT_NS + k * 10**8 for k in range(3)]


def metrics_of(dataset, run: DepthRun) -> dict[str, float]:
    return depth_metrics(run, DepthTruth(dataset, STAMPS_NS), dict.fromkeys(STAMPS_NS, 7.0))


def flat(metres: float) -> np.ndarray:
    return np.full((20, 30), metres, np.float32)


def test_errors_are_shares_of_the_truth_and_frames_count_alike(dataset):
    run = DepthRun({STAMPS_NS[0]: flat(2.2), STAMPS_NS[2]: flat(1.4)})
    metrics = metrics_of(dataset, run)
    assert (metrics["depth_frames"], metrics["depth_frames_share"]) == (2, pytest.approx(2 / 3))
    assert metrics["depth_error_median"] == pytest.approx((0.1 + 0.3) / 2, rel=1e-5)
    assert metrics["depth_abs_rel"] == pytest.approx(0.2, rel=1e-5)
    assert metrics["depth_within_25"] == pytest.approx(0.5)
    assert np.isnan(metrics["depth_coverage_90"])
    assert np.isnan(metrics["depth_error_landmarks_median"])


def test_a_stated_interval_of_90_percent_reaches_1_645_deviations(dataset):
    """log(2.2 / 2) is 0.0953: inside with a deviation of 0.06, outside with 0.055."""
    sigma_hw = np.where(np.arange(30) < 10, np.float32(0.06), np.float32(0.055)) * np.ones((20, 1), np.float32)
    run = DepthRun({STAMPS_NS[0]: flat(2.2)}, {STAMPS_NS[0]: sigma_hw}, {STAMPS_NS[0]: np.full((20, 30), 0.7, "f4")})
    metrics = metrics_of(dataset, run)
    assert metrics["depth_coverage_90"] == pytest.approx(1 / 3)
    assert metrics["depth_confidence"] == pytest.approx(0.7)


def test_latency_is_from_publishing_to_receiving(dataset):
    run = DepthRun({STAMPS_NS[0]: flat(2.0)}, received_s={STAMPS_NS[0]: 7.25, STAMPS_NS[1]: 7.25})
    assert metrics_of(dataset, run)["depth_latency_p50_ms"] == pytest.approx(250)


def test_near_landmarks_is_near_them_in_the_map(dataset):
    """One at the middle of the map, where depth is right; a tenth off elsewhere."""
    depth_m_hw = flat(2.2)
    depth_m_hw[8:13, 12:18] = 2.0
    shares_n2 = np.array([[0.5, 0.5]])
    run = DepthRun(dict.fromkeys(STAMPS_NS[:2], depth_m_hw), landmarks={STAMPS_NS[0]: shares_n2})
    metrics = metrics_of(dataset, run)
    assert metrics["depth_error_landmarks_median"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["depth_error_localized_median"] == pytest.approx(0.1, rel=1e-5)
    assert metrics["depth_localized_frames"] == 1


def test_unknown_truth_and_depth_that_was_withheld_count_for_nothing(dataset):
    depth_m_hw = flat(2.0)
    depth_m_hw[:, 20:] = 9.0  # where the last frame's truth is unknown
    depth_m_hw[:10] = np.nan
    metrics = metrics_of(dataset, DepthRun({STAMPS_NS[2]: depth_m_hw}))
    assert metrics["depth_error_median"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["depth_share"] == pytest.approx(0.5)
    empty = metrics_of(dataset, DepthRun({STAMPS_NS[2]: flat(np.nan), 5: flat(2.0)}))
    assert (empty["depth_frames"], np.isnan(empty["depth_error_median"])) == (0, True)


def test_stamps_may_be_moved_all_by_one_time_and_no_other(dataset):
    assert DepthTruth(dataset, [0, 10**8]).at(0, (30, 20))[0, 0] == pytest.approx(TRUE_M)
    with pytest.raises(InputError, match="give the dataset that it was made from"):
        DepthTruth(dataset, [SHIFT_NS, SHIFT_NS + 7])


def test_depth_is_measured_live_only():
    result = invoke(evaluate, "replay", "nowhere", "--scene", "nowhere.safetensors", "--depth", "nowhere")
    assert result.exit_code == 1
    assert "--depth measures the live depth node; give --live with it" in result.output
