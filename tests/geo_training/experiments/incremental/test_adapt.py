"""One domain after another: what is learned, kept, measured and written, with a tiny network on tiny panoramas."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from command_line import invoke
from geo_training.calibration.data.crop_data import CropSet
from geo_training.calibration.paper import PaperNetwork
from geo_training.console import command_group
from geo_training.experiments.incremental import adapt
from geo_training.experiments.incremental.adapt import Experiment, run_incremental
from geo_training.experiments.incremental.commands import adapt_command, incremental_command
from geo_training.experiments.incremental.config import load_adapt_config
from geo_training.experiments.incremental.matrix import (
    AdaptResult,
    DomainMatrix,
    Interval,
    forgetting_of,
    order_found,
    paired,
)
from geo_training.experiments.incremental.strategies.finetune import Finetune
from geo_training.experiments.incremental.task import predict
from geo_training.report.tables import mean_and_std
from safetensors.numpy import load_file
from tiny_panoramas import TINY_BACKBONE, TINY_CROP, make_tiny_panoramas

from geo_perception.errors import InputError

TINY = {"backbone": TINY_BACKBONE, "pretrained": "none", "crop": TINY_CROP, "device": "cpu", "cache": "memory"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory):
    return make_tiny_panoramas(tmp_path_factory.mktemp("panoramas"))


@pytest.fixture(scope="module")
def learned(panoramas, tmp_path_factory):
    """The paper's experiment with its own training, on 40 tiny crops of each domain: config, folder, results, rows."""
    folder = tmp_path_factory.mktemp("learned")
    config = load_adapt_config(
        "paper", 40, 1, panoramas=str(panoramas), exemplar_shares=(0.0, 1.0), both_ways=False, **TINY
    )
    return config, folder, *run_incremental(config, folder)


def weights(folder):
    return load_file(folder / "network.safetensors")


def same(one, other):
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_no_panorama_is_in_two_splits_and_both_domains_stay_apart(panoramas, tmp_path):
    config = load_adapt_config("paper", 40, panoramas=str(panoramas), **TINY)
    experiment = Experiment(config, tmp_path)
    names = {}
    for domain in ("indoor", "outdoor"):
        found = experiment.domain(domain, 0)
        names[domain] = [p.name for part in (found.train, found.validation, found.test) for p in part.panoramas]
        assert (len(found.train), len(found.validation), len(found.test)) == (32, 8, 40)
    assert len(set(names["indoor"] + names["outdoor"])) == len(names["indoor"] + names["outdoor"]) == 8


def test_the_papers_config_runs_by_every_method_and_share(learned):
    _, _, results, _ = learned
    assert {(r.old, r.new) for r in results} == {("indoor", "outdoor")}
    assert {(r.method, r.share) for r in results} == {
        ("joint", None), ("finetune", None), ("lwf", None), ("icarl", 0.2), ("lucir", 0.2), ("bic", 0.2),
        ("icarl", 0.0), ("icarl", 1.0),
    }  # fmt: skip
    assert all(np.isfinite(e) for r in results for row in r.matrix().error_td for e in row)


def test_icarl_without_exemplars_is_lwf(learned):
    _, folder, results, _ = learned
    way = folder / "seed_0" / "indoor_outdoor"
    assert same(weights(way / "lwf"), weights(way / "icarl_0"))
    assert not same(weights(way / "lwf"), weights(way / "icarl_100"))
    assert not same(weights(way / "lwf"), weights(way / "finetune"))
    exemplars = {(r.method, r.share): r.exemplars for r in results if r.old == "indoor"}
    assert exemplars["icarl", 0.0] == 0
    assert exemplars["icarl", 0.2] == 6  # of 32
    assert exemplars["icarl", 1.0] == 32
    assert exemplars["bic", 0.2] == 4  # two are held out


def test_the_metrics_are_those_of_the_networks_that_were_kept(learned, panoramas, tmp_path):
    config, folder, results, _ = learned
    result = next(r for r in results if r.method == "bic" and r.old == "indoor")
    network, scale = PaperNetwork.load(folder / "seed_0" / "indoor_outdoor" / "bic_20" / "network.safetensors")
    assert not torch.equal(network.alpha_3, torch.ones(3))
    test = Experiment(config, tmp_path).domain("outdoor", 0).test
    error_n3 = predict(network, CropSet.all_of(test), CPU).outputs_n3 - test.targets_n3
    assert result.matrix().error_td[1][1] == pytest.approx(float((error_n3**2).mean()), rel=1e-4)
    assert result.after["outdoor"]["test"]["focal_rmse_px"] == pytest.approx(
        80 * float(np.sqrt((error_n3[:, 0] ** 2).mean())), rel=1e-4
    )
    assert vars(scale) == {"focal_px": 80.0, "pitch_deg": 90.0, "roll_deg": 45.0}


def test_methods_share_the_old_network_but_for_the_cosine_layer(learned):
    _, _, results, _ = learned
    before = {r.method: r.matrix().error_td[0] for r in results if r.old == "indoor"}
    assert len({before[name] for name in ("joint", "finetune", "lwf", "icarl", "bic")}) == 1
    assert before["lucir"] != before["lwf"]


def test_what_is_done_is_not_done_again(learned, monkeypatch):
    config, folder, results, _ = learned
    monkeypatch.setattr(adapt, "run_loop", lambda *_, **__: pytest.fail("trained again"))
    again, _ = run_incremental(config, folder)
    assert [r.matrix() for r in again] == [r.matrix() for r in results]


def test_results_of_another_config_are_refused_at_the_start_and_kept(learned, panoramas, tmp_path, monkeypatch):
    folder = shutil.copytree(learned[1], tmp_path / "copy")
    config = load_adapt_config("paper", 36, 1, panoramas=str(panoramas), **TINY)
    monkeypatch.setattr(adapt, "run_loop", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"holds a result of another config.*--overwrite"):
        Experiment(config, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(KeyboardInterrupt):
        Experiment(config, folder, overwrite=True).teacher("indoor", 0)
    assert (folder / "seed_0" / "indoor" / "result.json").is_file()  # until there is another


def test_results_of_other_pixels_are_refused(learned, panoramas, tmp_path):
    config, folder, *_ = learned
    moved = shutil.copytree(panoramas, tmp_path / "moved")
    Experiment(config.model_copy(update={"panoramas": moved}), folder)  # the same, elsewhere
    changed = moved / "indoor_2.png"
    cv2.imwrite(str(changed), cv2.imread(str(changed))[:, ::-1])
    with pytest.raises(InputError, match="other panoramas"):
        Experiment(config.model_copy(update={"panoramas": moved}), folder)


def test_a_result_from_another_old_network_is_refused(learned, tmp_path):
    config, out, *_ = learned
    folder = shutil.copytree(out, tmp_path / "copy")
    seed = folder / "seed_0"
    shutil.copy(seed / "indoor_outdoor" / "lwf" / "network.safetensors", seed / "indoor" / "network.safetensors")
    with pytest.raises(InputError, match="other starting weights"):
        Experiment(config, folder).adapt("indoor", "outdoor", "finetune", 0)


def test_a_damaged_result_is_refused(learned, tmp_path):
    config, out, *_ = learned
    folder = shutil.copytree(out, tmp_path / "copy")
    (folder / "seed_0" / "indoor" / "result.json").write_text("{")
    with pytest.raises(InputError, match="seed_0/indoor holds"):
        Experiment(config, folder)


def test_the_results_are_written(learned):
    _, folder, results, _ = learned
    content = json.loads((folder / "results.json").read_text())
    assert len(content["results"]) == len(results) == 8
    assert list(content["single"]["indoor"]) == ["0"]
    readings = content["results"][0]["matrix"]["test"]
    assert readings["forgetting"] == pytest.approx(results[0].matrix().forgetting)
    assert json.loads((folder / "config.json").read_text())["crops"] == 40
    assert not list(folder.rglob("checkpoint.safetensors"))


def test_batches_after_some_are_those_of_the_whole_epoch(panoramas, tmp_path):
    config = load_adapt_config("paper", 40, panoramas=str(panoramas), **TINY)
    experiment = Experiment(config, tmp_path)
    domain = experiment.domain("indoor", 0)
    network = PaperNetwork(TINY_BACKBONE, pretrained="none")
    training = config.training.model_copy(update={"batch": 4})
    task = experiment._task(network, Finetune(), CropSet.all_of(domain.train), domain, training, 0, None)
    whole, rest = list(task.batches(3)), list(task.batches(3, 5))
    assert (len(whole), len(rest)) == (8, 3)
    for (one, told), (other, again) in zip(whole[5:], rest, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(told.targets_b3, again.targets_b3)


def test_missing_panoramas_and_domains_are_told(panoramas, tmp_path):
    with pytest.raises(InputError, match="--panoramas"):
        Experiment(load_adapt_config("paper", **TINY), tmp_path)
    with pytest.raises(InputError, match="no panorama is of the domain 'cellar'"):
        Experiment(load_adapt_config("paper", panoramas=str(panoramas), domains=["indoor", "cellar"]), tmp_path)
    few = make_tiny_panoramas(tmp_path / "few", 2)
    with pytest.raises(InputError, match="three are needed"):
        Experiment(load_adapt_config("paper", panoramas=str(few), **TINY), tmp_path)


def test_the_matrix_by_hand():
    matrix = DomainMatrix(("a", "b"), ((0.02, 0.09), (0.05, 0.03)), (0.2, 0.15))
    assert matrix.forgetting == pytest.approx(0.03)  # 0.05 after, 0.02 before
    assert matrix.backward_transfer == pytest.approx(-0.03)
    assert matrix.forward_transfer == pytest.approx(0.06)  # 0.15 by a constant, 0.09 by what a taught
    three = DomainMatrix(("a", "b", "c"), ((1.0, 2.0, 3.0), (1.5, 1.0, 2.5), (1.7, 1.6, 1.0)), (4.0, 4.0, 4.0))
    assert three.forgetting == pytest.approx((0.7 + 0.6) / 2)
    assert three.forward_transfer == pytest.approx((2.0 + 1.5) / 2)


def test_the_deviation_over_seeds_is_that_of_a_sample():
    assert mean_and_std([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert np.isnan(mean_and_std([1.0])[1])


def result_of(method, before, after, seed=0):
    def row(old, new):
        return {name: {split: {"umse": v} for split in ("validation", "test")} for name, v in (("a", old), ("b", new))}

    return AdaptResult("a", "b", method, None, seed, row(*before), row(*after), row(0.2, 0.2), 0, 1.0)


def test_whether_the_papers_order_holds_is_said():
    results = [
        result_of("joint", (0.02, 0.1), (0.01, 0.01)),  # the bound takes no part
        result_of("finetune", (0.02, 0.1), (0.09, 0.02)),
        result_of("lwf", (0.02, 0.1), (0.06, 0.04)),
        result_of("bic", (0.02, 0.1), (0.03, 0.03)),
    ]
    order = order_found(results)
    assert (order["finetune_forgets_most"], order["bic_is_best"]) == (True, True)
    assert order["forgetting_umse"]["finetune"] == pytest.approx(0.07)
    assert order["both_domains_umse"]["bic"] == pytest.approx(0.03)
    other = order_found([*results[:3], result_of("bic", (0.02, 0.1), (0.12, 0.03))])
    assert (other["forgets_most"], other["bic_is_best"]) == ("bic", False)


def test_differences_are_of_the_same_seed_and_have_students_interval():
    forgotten = {0: (0.05, 0.03), 1: (0.09, 0.06), 2: (0.02, 0.01)}  # by seed, finetuning's and LwF's
    more = [result_of("finetune", (0.01, 0.1), (0.01 + f, 0.02), seed) for seed, (f, _) in forgotten.items()]
    less = [result_of("lwf", (0.01, 0.1), (0.01 + f, 0.02), seed) for seed, (_, f) in reversed(forgotten.items())]
    interval = paired(more, less, forgetting_of)
    assert interval.mean == pytest.approx(0.02)  # of 0.02, 0.03 and 0.01
    assert interval.high - interval.mean == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-4)
    assert not interval.above_zero  # -0.005
    assert Interval.of([0.02, 0.021, 0.019]).above_zero
    alone = paired(more[:1], less, forgetting_of)
    assert alone.mean == pytest.approx(0.02)
    assert np.isnan(alone.low)
    assert not alone.above_zero
    order = order_found([*more, *less, *(result_of("bic", (0.01, 0.1), (0.01, 0.01), seed) for seed in forgotten)])
    assert order["finetune_forgets_more_by"]["lwf"]["mean"] == pytest.approx(0.02)
    assert not order["finetune_surely"]  # more than BiC, but whether more than LwF is not told
    assert order["bic_is_better_by"]["finetune"]["mean"] == pytest.approx(np.mean([0.03, 0.05, 0.015]))


FROZEN = {"stride_px": 4, "grid": 2, "hidden": 8}


def test_with_a_frozen_backbone_a_small_network_learns_on_its_maps(panoramas, tmp_path):
    config = load_adapt_config(
        "paper", 40, 1, panoramas=str(panoramas), frozen=FROZEN, both_ways=False, methods=("finetune", "lucir"),
        exemplar_shares=(), **TINY
    )  # fmt: skip
    results, _ = run_incremental(config, tmp_path / "first")
    network, _ = PaperNetwork.load(
        tmp_path / "first" / "seed_0" / "indoor_outdoor" / "finetune" / "network.safetensors"
    )
    assert not hasattr(network, "backbone")
    test = Experiment(config, tmp_path / "again").domain("outdoor", 0).test
    inputs = test.inputs(np.arange(len(test)))
    assert inputs.dtype == np.float16
    assert inputs.shape == (40, config.frozen.inputs(TINY_BACKBONE))
    error_n3 = predict(network, CropSet.all_of(test), CPU).outputs_n3 - test.targets_n3
    assert results[0].matrix().error_td[1][1] == pytest.approx(float((error_n3**2).mean()), rel=1e-4)
    assert results[1].matrix().error_td[0] != results[0].matrix().error_td[0]  # LUCIR's own old network


def test_a_map_that_the_backbone_has_not_is_told(panoramas, tmp_path):
    frozen = FROZEN | {"stride_px": 12}
    with pytest.raises(InputError, match=r"frozen\.stride_px is 12, but the backbone has maps at 4, 8, 16, 32"):
        Experiment(load_adapt_config("paper", panoramas=str(panoramas), frozen=frozen, **TINY), tmp_path)


def test_attitudes_are_learned_one_after_the_other_in_the_same_places(panoramas, tmp_path):
    crop = TINY_CROP | {"pitch_deg": (-90, 0), "roll_deg": (-45, 45)}
    attitudes = {
        "level": {"pitch_deg": (-20, 0), "roll_deg": (-10, 10)},
        "tilted": {"pitch_deg": (-75, -25), "roll_deg": (-45, 45)},
    }
    config = load_adapt_config(
        "paper",
        40,
        panoramas=str(panoramas),
        domains=("level", "tilted"),
        attitudes=attitudes,
        **(TINY | {"crop": crop}),
    )
    experiment = Experiment(config, tmp_path)
    level, tilted = (experiment.domain(name, 0) for name in config.domains)
    for part in ("train", "validation", "test"):
        one, other = getattr(level, part), getattr(tilted, part)
        assert [p.name for p in one.panoramas] == [p.name for p in other.panoramas]
        # Both are divided by the range of all crops: 90 and 45 degrees.
        assert one.targets_n3[:, 1].min() >= -20 / 90 - 1e-6
        assert abs(one.targets_n3[:, 2]).max() <= 10 / 45 + 1e-6
        assert other.targets_n3[:, 1].max() <= -25 / 90 + 1e-6
        assert abs(other.targets_n3[:, 2]).max() > 0.5
    assert len({p.name for d in (level,) for part in (d.train, d.validation, d.test) for p in part.panoramas}) == 8


def test_the_constant_is_each_domains_own(learned):
    config, folder, results, _ = learned
    experiment = Experiment(config, folder)
    for place, name in enumerate(config.domains):
        domain = experiment.domain(name, 0)
        error_n3 = domain.test.targets_n3 - domain.train.targets_n3.mean(axis=0)
        assert results[0].matrix().constant_d[place] == pytest.approx(float((error_n3**2).mean()))


@pytest.fixture
def run():
    app = command_group("test")
    app.command("adapt")(adapt_command)
    app.command("incremental")(incremental_command)
    return lambda *arguments: invoke(app, *arguments)


@pytest.fixture
def tiny_config(tmp_path):
    path = tmp_path / "tiny.yaml"
    crop = json.dumps(TINY_CROP)
    path.write_text(
        f"backbone: {TINY_BACKBONE}\npretrained: none\ncrop: {crop}\ncrops: 24\ntest_crops: 16\ncache: memory\n"
        "methods: [finetune, bic]\nexemplar_shares: [0, 1]\ntraining: {epochs: 1}\noptions: {exemplar_share: 0.5}\n"
    )
    return path


def test_the_commands_adapt_and_report(run, tiny_config, panoramas, tmp_path):
    out = tmp_path / "out"
    options = (tiny_config, "--out", out, "--panoramas", panoramas, "--device", "cpu", "--json", tmp_path / "r.json")
    result = run("adapt", *options, "--method", "bic", "--exemplars", 0.5)
    assert result.exit_code == 0, result.output
    assert "after outdoor: indoor" in result.output
    assert json.loads((tmp_path / "r.json").read_text())["result"]["share"] == 0.5
    result = run("incremental", *options)
    assert result.exit_code == 0, result.output
    for words in (
        "outdoor network: µMSE",
        "outdoor, then indoor",
        "Table 1",
        "Figure 3",
        "Figure 4",
        "Figure 5",
        "Domains by time",
        "Forgets most",
    ):
        assert words in result.stdout
    assert (out / "adapt.md").read_text() in result.stdout + "\n"
    page = (out / "adapt.html").read_text()
    assert page.count('class="chart"') == 6  # Figures 3, 4 and 5, both ways
    assert "<script src=" not in page
    assert len(json.loads((tmp_path / "r.json").read_text())["results"]) == 8


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("adapt", "paper", "--out", "x", "--method", "ewc"), 1, "there is no method 'ewc'"),
        (("adapt", "paper", "--out", "x", "--method", "lwf"), 1, "no panoramas are given"),
        (("adapt", "paper", "--out", "x"), 2, "--method"),
        (("incremental", "paper", "--out", "x", "--panoramas", "nowhere"), 1, "nowhere is not a folder"),
        (("incremental", "papier", "--out", "x"), 1, "there is no config 'papier'"),
    ],
)
def test_a_mistake_is_answered_with_one_line(run, arguments, code, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert words in result.output
    if code == 1:
        assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["adapt", "incremental"])
def test_help_has_an_example(run, command):
    assert f"geo-train calibration {command}" in " ".join(run(command, "--help").output.split())
