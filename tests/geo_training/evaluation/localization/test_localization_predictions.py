"""Answers of a real scene: written once, and measured from the file again."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.evaluation.localization.evaluate import evaluate_dataset
from geo_training.evaluation.localization.report import render_report
from geo_training.evaluation.predictions import PredictionStore

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.estimator import Localizer
from geo_perception.localization.result import Localization, Verdict

run = partial(invoke, evaluate)


@pytest.fixture(scope="module")
def kept(tiny_scene, tmp_path_factory):
    """The predictions of the test frames, and the result of the run that wrote them."""
    folder = tmp_path_factory.mktemp("kept")
    result = run("localization", tiny_scene.scene_path, tiny_scene.dataset_root, "--device", "cpu", "--predictions",
                 folder / "p.jsonl", "--json", folder / "r.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "p.jsonl", json.loads((folder / "r.json").read_text())


def test_kept_predictions_give_the_same_result_with_the_times_of_the_first_run(tiny_scene, kept, tmp_path):
    path, first = kept
    result = run("localization", tiny_scene.scene_path, tiny_scene.dataset_root, "--from-predictions", path, "--json",
                 tmp_path / "r.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    again = json.loads((tmp_path / "r.json").read_text())
    assert again["metadata"].pop("predictions").startswith(f"{path}; times are of the run that wrote it (processor ")
    assert again == first  # the times, too, so no network ran


def test_the_page_is_the_same_with_its_charts_and_pictures(tiny_scene, tmp_path):
    localizer, dataset = Localizer.load(tiny_scene.scene_path, "cpu"), tiny_scene.dataset
    common = localizer, dataset, localizer.scene.landmarks_map_l3
    path, weights = tmp_path / "p.jsonl", [tiny_scene.scene_path]
    first = evaluate_dataset(*common, store=PredictionStore(weights, write_to=path))
    again = evaluate_dataset(*common, store=PredictionStore(weights, read_from=path))
    assert first.metadata | {"predictions": again.metadata["predictions"]} == again.metadata
    assert render_report(replace(again, metadata=first.metadata)) == render_report(first)


class Refusing:
    """Has no answer, and says so in words that JSON has to escape."""

    def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        return Localization(Verdict.NO_CONSENSUS, 'two\nlines, \u2028 and a "quote"', reprojection_px=float("nan"))


def test_what_has_no_pose_comes_back_as_it_was(tiny_scene, tmp_path):
    common = Refusing(), tiny_scene.dataset, np.zeros((0, 3))
    first = evaluate_dataset(*common, store=PredictionStore(write_to=tmp_path / "p.jsonl"))
    again = evaluate_dataset(*common, store=PredictionStore(read_from=tmp_path / "p.jsonl"))
    assert again.outcomes == first.outcomes
    assert again.metrics["frames_missed"] == again.metrics["frames"] > 0
    found, before = again.outcomes[0].localization, first.outcomes[0].localization
    assert (found.verdict, found.detail, found.T_map_camera) == (before.verdict, before.detail, None)
    assert found.detections.pixels_n2.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--seed", 1), 1, "was made with --seed 0, not 1"),
        (("--split", "all"), 1, "(split test); the frames given here are others"),
        (("--device", "cpu"), 2, "no network runs with --from-predictions"),
        (("--predictions", "p.jsonl"), 2, "the answers are kept already"),
    ],
)
def test_options_that_do_not_fit_kept_predictions_are_told(tiny_scene, kept, arguments, code, words):
    result = run("localization", tiny_scene.scene_path, tiny_scene.dataset_root, "--from-predictions", kept[0],
                 *arguments)  # fmt: skip
    assert result.exit_code == code
    assert words in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_what_was_written_stays_where_a_run_fails(tiny_scene, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("earlier")

    class Failing(Refusing):
        def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
            raise InputError("the camera burns; put it out")

    with pytest.raises(InputError, match="burns"):
        evaluate_dataset(Failing(), tiny_scene.dataset, np.zeros((0, 3)), store=PredictionStore(write_to=path))
    assert path.read_text() == "earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.jsonl"]
