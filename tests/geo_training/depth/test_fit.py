"""Training from a dataset to weights files, for a few steps on a tiny walk."""

import json
import shutil

import pytest
import torch
import yaml
from command_line import invoke
from geo_training.depth import commands, fit
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.clip_data import ClipStream, clip_sources
from geo_training.depth.fit import DepthTask, fit_depth, start_from
from geo_training.depth.networks.model import DepthAndMotion
from geo_training.depth.networks.pose_network import PoseEstimator
from geo_training.depth.validation import NEW_PLACES_MARGIN, checked_sigma_scale
from geo_training.engine import curves
from geo_training.engine.checkpoint import load_state
from tiny_walk import CAMERA, make_walk, walk_view

from geo_perception.depth import dispnet
from geo_perception.depth.estimator import DepthEstimator
from geo_perception.errors import InputError

TERMS = {"photometric", "smoothness", "consistency", "confidence"}


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_walk(tmp_path_factory.mktemp("walk") / "data", held_out=2).root


def config_of(walk, **changes) -> DepthTrainingConfig:
    options = {"size_px": (64, 64), "steps": 2, "batch": 1, "evaluations": 2, "pretrained": False, "device": "cpu",
               "frozen_stages": -1, "datasets": [walk], "validation": [walk], "half": False}  # fmt: skip
    return DepthTrainingConfig.load(None, **(options | changes))


@pytest.fixture(scope="module")
def first(walk, tmp_path_factory):
    """The default losses for two steps."""
    return fit_depth(config_of(walk), tmp_path_factory.mktemp("first") / "depth.safetensors")


class SmallDispNet:
    """SfMLearner's network with an eighth of its channels, so that a test can afford it."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(dispnet, "ENCODER", tuple((max(c // 8, 4), k) for c, k in dispnet.ENCODER))
        monkeypatch.setattr(dispnet, "DECODER", tuple(max(c // 8, 4) for c in dispnet.DECODER))


class TestDefault:
    def test_it_writes_depth_and_motion_that_can_be_used(self, first):
        (pose_path,) = first.beside
        assert pose_path == first.path.with_name("depth.pose.safetensors")
        estimator, motion = DepthEstimator.load(first.path, "cpu"), PoseEstimator.load(pose_path, "cpu")
        result = estimator.estimate(walk_view(0)[0], CAMERA)
        assert result.estimated
        assert result.depth_hw.shape == (64, 64)
        assert motion.motion([walk_view(0)[0], walk_view(1)[0]])[0].shape == (4, 4)

    def test_the_history_has_every_term_and_what_held_out_frames_say(self, first):
        assert [record["step"] for record in first.history] == [1, 2]
        metrics = {"val_abs_rel", "val_d1", "sigma_ratio", "sigma_rank"}
        assert all(
            set(record) == {"step", "seconds", "skipped_steps", "loss"} | TERMS | metrics for record in first.history
        )
        weights = DepthTrainingConfig().losses.weights
        for record in first.history:
            assert record["loss"] == pytest.approx(sum(w * record[term] for term, w in weights.items()), rel=1e-4)

    def test_the_folder_of_the_run_says_how_it_was_made(self, first, walk):
        kept = yaml.safe_load((first.run_dir / "config.yaml").read_text())
        assert DepthTrainingConfig.model_validate(kept) == config_of(walk)
        lines = (first.run_dir / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2]
        assert (first.run_dir / "curves.html").stat().st_size > 1000
        assert not (first.run_dir / "checkpoint.safetensors").exists()

    def test_the_header_names_the_sources_but_no_folder(self, first, walk):
        header = DepthEstimator.load(first.path, "cpu").header
        assert header["trained_on"] == [["a patterned wall"]]
        assert header["clips"] == [4]
        assert header["figures"]["steps"] == 2
        assert str(walk) not in json.dumps(header)

    def test_errors_are_stated_only_where_held_out_frames_showed_that_they_rank(self, first):
        metrics = first.metrics
        assert DepthEstimator.load(first.path, "cpu").sigma_scale == pytest.approx(checked_sigma_scale(metrics))
        assert checked_sigma_scale({"sigma_ratio": 2.0, "sigma_rank": 0.3}) == 2.0 * NEW_PLACES_MARGIN
        assert checked_sigma_scale({"sigma_ratio": 2.0, "sigma_rank": -0.3}) is None
        assert checked_sigma_scale({}) is None


class TestInterruption:
    def test_an_interrupted_training_ends_with_the_same_weights(self, first, walk, tmp_path, monkeypatch):
        made = ClipStream.batch

        def stops(stream, number):
            if number >= 1:
                raise KeyboardInterrupt
            return made(stream, number)

        out = tmp_path / "depth.safetensors"
        with monkeypatch.context() as patch:
            patch.setattr(ClipStream, "batch", stops)
            with pytest.raises(KeyboardInterrupt):
                fit_depth(config_of(walk), out)
        assert (tmp_path / "depth.safetensors.run" / "checkpoint.safetensors").is_file()
        steps, losses = [], DepthTask.losses
        monkeypatch.setattr(DepthTask, "losses", lambda task, *args: steps.append(1) or losses(task, *args))
        resumed = fit_depth(config_of(walk), out)
        assert len(steps) == 1  # the second
        whole, again = (load_state(result.run_dir / fit.FINAL_NAME)[0] for result in (first, resumed))
        for name, value in whole.items():
            torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-6, msg=name)


class TestGoingOn:
    """From a finished run, with what its optimizer remembers or without."""

    def config(self, walk, first, **changes):
        return config_of(walk, start_from=first.path, **changes)

    @pytest.mark.parametrize("keep_momentum", [False, True])
    def test_weights_are_taken_over_and_moments_when_they_are_wanted(self, walk, first, keep_momentum):
        config = self.config(walk, first, keep_momentum=keep_momentum)
        network = DepthAndMotion(config)
        moments = start_from(network, config)
        weights, kept = load_state(first.run_dir / fit.FINAL_NAME)
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
        assert (moments is not None) == keep_momentum
        assert set(kept) == {name for name, _ in network.named_parameters()}
        assert not keep_momentum or set(moments) == set(kept)

    def test_a_training_with_moments_counts_its_steps_on(self, walk, first, tmp_path):
        config = self.config(walk, first, keep_momentum=True, steps=1, evaluations=1, validation=[])
        result = fit_depth(config, tmp_path / "more.safetensors")
        _, moments = load_state(result.run_dir / fit.FINAL_NAME)
        assert {float(state["step"]) for state in moments.values()} == {3.0}
        assert result.metrics["steps"] == 1

    def test_what_the_first_run_did_not_have_begins_as_it_was_drawn(self, walk, first):
        losses = {"weights": {"photometric": 1.0, "mask": 0.2}, "explainability": True}
        config = self.config(walk, first, losses=losses)
        network = DepthAndMotion(config)
        drawn = network.motion.masks[1].weight.detach().clone()
        start_from(network, config)
        weights, _ = load_state(first.run_dir / fit.FINAL_NAME)
        assert torch.equal(network.motion.masks[1].weight, drawn)
        assert torch.equal(network.motion.encoder[0][0].weight, weights["motion.encoder.0.0.weight"])

    def test_a_run_that_is_not_there_is_refused(self, walk, first, tmp_path):
        for wrong in (tmp_path / "none.safetensors", first.run_dir / "curves.html"):
            with pytest.raises(InputError, match="is not there or damaged"):
                fit_depth(config_of(walk, start_from=wrong), tmp_path / "out.safetensors")

    def test_a_weights_file_without_its_run_gives_depth_and_no_momentum(self, walk, first, tmp_path):
        alone = tmp_path / "alone.safetensors"
        alone.write_bytes(first.path.read_bytes())
        config = config_of(walk, start_from=alone)
        network = DepthAndMotion(config)
        drawn = network.motion.encoder[0][0].weight.detach().clone()
        assert start_from(network, config) is None
        kept = DepthEstimator.load(alone, "cpu").network.state_dict()
        assert all(torch.equal(value, network.depth.state_dict()[name]) for name, value in kept.items())
        assert torch.equal(network.motion.encoder[0][0].weight, drawn)
        with pytest.raises(InputError, match="so there is no momentum; leave out keep_momentum"):
            start_from(network, config_of(walk, start_from=alone, keep_momentum=True))

    def test_a_run_of_another_motion_network_is_refused(self, walk, first):
        config = self.config(walk, first, motion_views="stacked")
        with pytest.raises(InputError, match="other networks"):
            start_from(DepthAndMotion(config), config)


SHARPENING = {"depth": 1.0, "gradient": 2.0, "choice": 0.2}


class TestSharpener:
    """Only what sharpens the edges learns; what it sharpens stays as it was."""

    def config(self, walk, first, **changes):
        options = {"learn": "sharpener", "sharpener_width": 8, "motion": "known", "losses": {"weights": SHARPENING}}
        return config_of(walk, **(options | {"start_from": first.path} | changes))

    def test_it_is_trained_into_weights_that_keep_all_else(self, walk, first, tmp_path):
        result = fit_depth(self.config(walk, first), tmp_path / "sharp.safetensors")
        assert result.beside == ()
        history = [json.loads(line) for line in (result.run_dir / "history.jsonl").read_text().splitlines()]
        assert SHARPENING.keys() <= history[-1].keys()
        before, after = (DepthEstimator.load(path, "cpu").network for path in (first.path, result.path))
        assert after.config.sharpener_width == 8
        drawn = DepthAndMotion(self.config(walk, first)).depth.sharpener.state_dict()
        learned = after.sharpener.state_dict()
        assert any(not torch.equal(learned[name], value.half().float()) for name, value in drawn.items())
        for name, value in before.state_dict().items():
            assert torch.equal(after.state_dict()[name], value), name

    def test_weights_with_a_sharpener_are_gone_on_from_with_it(self, walk, first, tmp_path):
        sharp = fit_depth(self.config(walk, first, steps=1, evaluations=1), tmp_path / "sharp.safetensors")
        config = self.config(walk, first, start_from=sharp.path)
        network = DepthAndMotion(config)
        start_from(network, config)
        kept, _ = load_state(sharp.run_dir / fit.FINAL_NAME)
        assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
        without = config_of(walk, start_from=sharp.path, motion="known", losses={"weights": {"depth": 1.0}})
        with pytest.raises(InputError, match=r"other networks \(depth.sharpener"):
            start_from(DepthAndMotion(without), without)


class TestSfmLearner(SmallDispNet):
    def config(self, walk, **changes):
        losses = {"weights": {"photometric": 2.0, "smoothness": 0.5, "mask": 0.2}, "difference": "l1",
                  "reduction": "sum", "auto_mask": False, "explainability": True, "outside": "zeros",
                  "full_resolution": False, "smoothness": "second_order"}  # fmt: skip
        options = {"architecture": "dispnet", "motion_views": "stacked", "losses": losses, "ema": 0, "warm_up": 0,
                   "schedule": "constant", "weight_decay": 0, "validation": []}  # fmt: skip
        return config_of(walk, **(options | changes))

    def test_the_baseline_trains_and_its_motion_network_takes_three_views(self, walk, tmp_path):
        result = fit_depth(self.config(walk), tmp_path / "baseline.safetensors")
        assert set(result.history[0]) == {
            "step",
            "seconds",
            "skipped_steps",
            "loss",
            "photometric",
            "smoothness",
            "mask",
        }
        assert PoseEstimator.load(result.beside[0], "cpu").views == 3
        assert DepthEstimator.load(result.path, "cpu").estimate(walk_view(0)[0], CAMERA).sigma_hw is None

    def test_the_mask_branch_can_be_left_behind(self, walk, tmp_path):
        """As the boundary paper goes on from the baseline."""
        first = fit_depth(self.config(walk, steps=1, evaluations=1), tmp_path / "baseline.safetensors")
        config = self.config(walk, start_from=first.path, losses={"weights": {"photometric": 1.0}})
        network = DepthAndMotion(config)
        start_from(network, config)
        weights, _ = load_state(first.run_dir / fit.FINAL_NAME)
        assert torch.equal(network.depth.predict[-1].weight, weights["depth.predict.6.weight"])
        assert not network.motion.masks

    def test_depth_of_another_architecture_is_not_left_at_random(self, walk, first):
        config = self.config(walk, start_from=first.path, motion_views="pairs")
        with pytest.raises(InputError, match=r"other networks \(depth\."):
            start_from(DepthAndMotion(config), config)

    def test_a_term_that_it_cannot_have_is_left_out(self, walk):
        config = self.config(walk, losses={"weights": {"photometric": 1.0, "confidence": 0.1}})
        assert DepthTask(clip_sources(config), config, torch.device("cpu")).loss_weights == {"photometric": 1.0}
        alone = self.config(walk, losses={"weights": {"confidence": 0.1}})
        with pytest.raises(InputError, match="does not tell its confidence"):
            DepthTask(clip_sources(alone), alone, torch.device("cpu"))


def test_known_motion_trains_without_a_motion_network(walk, tmp_path):
    """A weight of 0 switches a term off."""
    losses = {"weights": {"photometric": 1.0, "depth": 0.1, "gradient": 0.1, "smoothness": 0.0}}
    result = fit_depth(config_of(walk, motion="known", losses=losses, validation=[]), tmp_path / "known.safetensors")
    assert result.beside == ()
    assert not (tmp_path / "known.pose.safetensors").exists()
    assert set(result.history[0]) == {"step", "seconds", "skipped_steps", "loss", "photometric", "depth", "gradient"}


def test_true_depth_of_single_frames_is_learned(walk, tmp_path):
    losses = {"weights": {"depth": 1.0, "confidence": 0.1}}
    options = {"steps": 10, "learning_rate": 5e-4, "warm_up": 0, "ema": 0, "schedule": "constant", "validation": []}
    result = fit_depth(config_of(walk, losses=losses, **options), tmp_path / "true.safetensors")
    assert result.history[-1]["depth"] < result.history[0]["depth"]


def test_a_pretrained_backbone_learns_more_slowly(walk):
    config = config_of(walk, pretrained=True, frozen_stages=1, backbone_rate=0.25)
    task = DepthTask(clip_sources(config), config, torch.device("cpu"))
    (slow, slow_rate), (fresh, fresh_rate) = task.parameter_groups(task.network)
    assert (slow_rate, fresh_rate) == (0.25, 1.0)
    learning = [p for p in task.network.parameters() if p.requires_grad]
    assert len(slow) + len(fresh) == len(learning)
    assert {id(p) for p in slow} == {id(p) for p in task.network.depth.backbone.parameters() if p.requires_grad}


def test_the_motion_network_may_learn_faster(walk):
    config = config_of(walk, pretrained=True, frozen_stages=1, backbone_rate=0.25, motion_rate=8)
    task = DepthTask(clip_sources(config), config, torch.device("cpu"))
    groups = task.parameter_groups(task.network)
    assert [rate for _, rate in groups] == [0.25, 1.0, 8]
    assert {id(p) for p in groups[2][0]} == {id(p) for p in task.network.motion.parameters()}
    grouped = [id(p) for parameters, _ in groups for p in parameters]
    assert sorted(grouped) == sorted(id(p) for p in task.network.parameters() if p.requires_grad)


def test_training_without_what_it_needs_is_refused(walk, tmp_path):
    with pytest.raises(InputError, match="no datasets are given"):
        fit_depth(config_of(walk, datasets=[]), tmp_path / "out.safetensors")
    boundary = {"weights": {"photometric": 1.0, "boundary": 2.5}}
    with pytest.raises(InputError, match=r"needs boundary maps .* `geo-train depth boundaries`"):
        fit_depth(config_of(walk, losses=boundary), tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_is_found_wrong_before_the_first_step_leaves_nothing_behind(walk, tmp_path):
    bare = make_walk(tmp_path / "bare", held_out=2).root
    shutil.rmtree(bare / "depth")
    confidence = {"weights": {"confidence": 1.0}}
    cases = (
        ({"validation": [bare]}, "bare has no frame with depth of the split val or test; leave out validation"),
        ({"validation": [tmp_path / "nowhere"]}, "nowhere is not a dataset"),
        ({"backbone": "resnet1234"}, "the backbone 'resnet1234' is not known; name a network of timm"),
        ({"architecture": "dispnet", "losses": confidence}, "a dispnet does not tell its confidence"),
        ({"start_from": tmp_path / "no.safetensors"}, "is not there or damaged; give as start_from"),
    )
    for changes, message in cases:
        with pytest.raises(InputError, match=message):
            fit_depth(config_of(walk, **changes), tmp_path / "out" / "depth.safetensors")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["depth.safetensors", "depth.pose.safetensors"])
def test_weights_that_are_there_are_kept_without_overwrite(tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    config = config_of(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"{name} exists; pass --overwrite"):
        fit_depth(config, tmp_path / "depth.safetensors")
    with pytest.raises(InputError, match="nowhere is not a dataset"):
        fit_depth(config, tmp_path / "depth.safetensors", overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"weights"}


def test_charts_that_cannot_be_drawn_are_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install plotly"):
        fit_depth(config_of(tmp_path / "nowhere"), tmp_path / "depth.safetensors")


def test_a_folder_is_refused_as_weights_before_anything_is_trained(walk, tmp_path):
    answer = invoke(commands.app, "fit", "default", "--dataset", walk, "--out", tmp_path)
    assert answer.exit_code == 2
    assert "is a directory" in " ".join(answer.output.replace("│", " ").split())  # the box breaks lines
    assert not list(tmp_path.iterdir())
