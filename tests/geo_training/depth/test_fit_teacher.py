"""Learning from another network: by it alone and beside other terms, once asked, never twice."""

import json
from functools import partial

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import train
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.clip_data import ClipStream
from geo_training.depth.data.teacher import Teacher
from geo_training.depth.fit import fit_depth
from tiny_onnx import write_network
from tiny_panoramas import TINY_BACKBONE
from tiny_walk import make_walk

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.errors import InputError

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
CARD = "name: Tiny\nlicence: CC-BY-NC-4.0\noutput: {output}\nsize_px: [64, 64]\n"
run = partial(invoke, train, "depth", "fit")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Images alone: neither depth nor poses."""
    return make_walk(tmp_path_factory.mktemp("walk") / "data", depth=False, poses=False, held_out=2).root


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_walk(tmp_path_factory.mktemp("walk") / "data", held_out=2).root


def teacher_at(folder, output="depth"):
    folder.mkdir(exist_ok=True)
    return write_network(folder, CARD.format(output=output))


def config_of(root, teacher, **changes) -> DepthTrainingConfig:
    options = {"size_px": (64, 64), "steps": 2, "batch": 1, "evaluations": 2, "pretrained": False, "device": "cpu",
               "frozen_stages": -1, "datasets": [root], "half": False, "backbone": TINY_BACKBONE, "motion": "known",
               "teacher": teacher, "losses": {"weights": {"teacher": 1.0, "teacher_gradient": 1.0}}}  # fmt: skip
    return DepthTrainingConfig.load(None, **(options | changes))


@pytest.mark.parametrize("output", ["depth", "disparity"])
def test_images_alone_are_learned_from_and_depth_comes_nearer_to_the_teacher(bare, tmp_path, output):
    quick = {"steps": 24, "batch": 2, "evaluations": 4, "learning_rate": 3e-3, "warm_up": 0, "ema": 0,
             "schedule": "constant", "augmentation": {"light": None, "zoom": 1}}  # fmt: skip
    config = config_of(bare, teacher_at(tmp_path / "a", output), validation=[bare], **quick)
    result = fit_depth(config, tmp_path / "taught.safetensors")
    first, last = result.history[0], result.history[-1]
    assert {"teacher", "teacher_gradient", "val_teacher_abs_rel"} <= set(first)
    assert last["teacher"] < 0.8 * first["teacher"]
    assert last["val_teacher_abs_rel"] < 0.8 * first["val_teacher_abs_rel"]
    assert "val_abs_rel" not in result.metrics  # nobody knows the truth
    assert result.beside == ()


def test_the_header_names_whose_depth_it_learned(bare, tmp_path):
    teacher = teacher_at(tmp_path / "a")
    result = fit_depth(config_of(bare, teacher), tmp_path / "taught.safetensors")
    header = DepthEstimator.load(result.path, "cpu").header
    assert header["teacher"] == {"name": "Tiny", "licence": "CC-BY-NC-4.0", "output": "depth"}
    assert "of its teacher Tiny: CC-BY-NC-4.0" in header["licence"]
    assert str(tmp_path) not in json.dumps(header)


def test_it_goes_with_true_depth_and_other_views(walk, tmp_path):
    weights = {"photometric": 1.0, "depth": 1.0, "teacher": 0.5}
    result = fit_depth(
        config_of(walk, teacher_at(tmp_path / "a"), losses={"weights": weights}), tmp_path / "w.safetensors"
    )
    assert set(result.history[0]) == {"step", "seconds", "skipped_steps", "loss", *weights}
    for record in result.history:
        assert record["loss"] == pytest.approx(sum(w * record[term] for term, w in weights.items()), rel=1e-4)


class TestInterruption:
    def test_an_interrupted_training_goes_on_without_asking_again(self, bare, tmp_path, monkeypatch):
        config, out = config_of(bare, teacher_at(tmp_path / "a")), tmp_path / "w.safetensors"
        whole = fit_depth(config, tmp_path / "whole.safetensors")
        made, asked, ask = ClipStream.batch, [], Teacher._asked

        def stops(stream, number):
            if number >= 1:
                raise KeyboardInterrupt
            return made(stream, number)

        monkeypatch.setattr(Teacher, "_asked", lambda *arguments: asked.append(1) or ask(*arguments))
        with monkeypatch.context() as patch:
            patch.setattr(ClipStream, "batch", stops)
            with pytest.raises(KeyboardInterrupt):
                fit_depth(config, out)
        assert len(asked) == 6
        resumed = fit_depth(config, out)
        assert len(asked) == 6
        assert resumed.history[-1]["teacher"] == pytest.approx(whole.history[-1]["teacher"], rel=1e-4)
        fit_depth(config, out, overwrite=True)
        assert len(asked) == 6

    def test_one_that_is_interrupted_while_it_asks_asks_for_the_rest(self, bare, tmp_path, monkeypatch):
        config, out = config_of(bare, teacher_at(tmp_path / "a")), tmp_path / "w.safetensors"
        asked, ask = [], Teacher._asked

        def asks(*arguments):
            if len(asked) == 4:
                raise KeyboardInterrupt
            asked.append(1)
            return ask(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Teacher, "_asked", asks)
            with pytest.raises(KeyboardInterrupt):
                fit_depth(config, out)
        kept = list((tmp_path / "w.safetensors.run" / "teacher").rglob("*"))
        assert len([path for path in kept if path.is_file()]) == 4
        monkeypatch.setattr(Teacher, "_asked", lambda *arguments: asked.append(1) or ask(*arguments))
        fit_depth(config, out)
        assert len(asked) == 6

    def test_a_checkpoint_of_another_teacher_is_refused(self, bare, tmp_path, monkeypatch):
        out, made = tmp_path / "w.safetensors", ClipStream.batch

        def stops(stream, number):
            if number >= 1:
                raise KeyboardInterrupt
            return made(stream, number)

        with monkeypatch.context() as patch:
            patch.setattr(ClipStream, "batch", stops)
            with pytest.raises(KeyboardInterrupt):
                fit_depth(config_of(bare, teacher_at(tmp_path / "a")), out)
        with pytest.raises(InputError, match="is of an interrupted training with another config"):
            fit_depth(config_of(bare, teacher_at(tmp_path / "b", "inverse_depth")), out)
        assert not out.exists()


class TestCommand:
    TEXT = f"size_px: [64, 64]\nbatch: 1\nevaluations: 1\npretrained: false\nbackbone: {TINY_BACKBONE}\nhalf: false\n"

    def write(self, tmp_path, more=""):
        path = tmp_path / "config.yaml"
        path.write_text(self.TEXT + more)
        return path

    def test_a_config_without_its_terms_gets_them_with_the_option(self, walk, tmp_path):
        told, out = tmp_path / "told.json", tmp_path / "w.safetensors"
        result = run(self.write(tmp_path), "--out", out, "--dataset", walk, "--validation", walk, "--steps", 1,
                     "--device", "cpu", "--teacher", teacher_at(tmp_path / "a"), "--json", told)  # fmt: skip
        assert result.exit_code == 0, result.output
        content = json.loads(told.read_text())
        expected = {"photometric": 1.0, "smoothness": 1e-3, "consistency": 0.5, "confidence": 0.05}
        assert content["config"]["losses"]["weights"] == expected | {"teacher": 1.0, "teacher_gradient": 4.0}
        difference = content["figures"]["val_teacher_abs_rel"]
        assert f"absolute relative difference from the teacher {difference:.3f}" in " ".join(result.stderr.split())

    def test_a_config_with_one_of_them_keeps_its_weights(self, bare, tmp_path):
        told = tmp_path / "told.json"
        config = self.write(tmp_path, "motion: known\nlosses: {weights: {teacher: 0.3}}\n")
        result = run(config, "--out", tmp_path / "w.safetensors", "--dataset", bare, "--steps", 1, "--device", "cpu",
                     "--teacher", teacher_at(tmp_path / "a"), "--json", told)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert json.loads(told.read_text())["config"]["losses"]["weights"] == {"teacher": 0.3}

    @pytest.mark.parametrize(
        ("more", "options", "words"),
        [
            ("losses: {weights: {teacher: 1}}\n", (), "need a teacher; give --teacher MODEL"),
            ("losses: {weights: {teacher: 0, depth: 1}}\n", ("--teacher", "x.onnx"), "no term looks at the teacher"),
            ("losses: {weights: [1]}\n", ("--teacher", "x.onnx"), "config key 'losses.weights'"),
            ("", ("--teacher", "x.onnx"), "x.onnx is not there; check the path"),
            ("", ("--teacher", "x.safetensors"), "x.safetensors does not exist"),
        ],
    )
    def test_what_cannot_be_is_answered_in_one_line(self, walk, tmp_path, more, options, words):
        out = tmp_path / "made" / "w.safetensors"
        result = run(self.write(tmp_path, more), "--out", out, "--dataset", walk, "--device", "cpu", *options)
        assert result.exit_code == 1
        assert words in " ".join(result.stderr.split())
        assert "Traceback" not in result.output
        assert not out.parent.exists()

    def test_the_packaged_config_needs_a_teacher(self, bare, tmp_path):
        result = run("distill", "--out", tmp_path / "w.safetensors", "--dataset", bare)
        assert result.exit_code == 1
        assert "need a teacher; give --teacher MODEL" in " ".join(result.stderr.split())


def test_a_validation_without_held_out_frames_is_refused(bare, tmp_path):
    config = config_of(bare, teacher_at(tmp_path / "a"), validation=[make_walk(tmp_path / "all", depth=False).root])
    with pytest.raises(InputError, match="has no frame of the split val or test; leave out validation"):
        fit_depth(config, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors.run").exists()


def test_agreement_of_one_and_the_same_depth_is_perfect(bare, tmp_path):
    """A training that begins with its teacher's weights agrees with it, but for what float16 rounds."""
    first = fit_depth(config_of(bare, teacher_at(tmp_path / "a")), tmp_path / "first.safetensors")
    options = {"steps": 1, "evaluations": 1, "learning_rate": 1e-12, "weight_decay": 0, "validation": [bare]}
    again = fit_depth(config_of(bare, first.path, start_from=first.path, **options), tmp_path / "again.safetensors")
    assert again.metrics["val_teacher_abs_rel"] < 2e-3
    assert np.isfinite(again.metrics["val_teacher_abs_rel"])
