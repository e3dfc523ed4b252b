"""The adaptation benchmark gives the metrics asked for."""

from geo_training.experiments.bench import BenchOptions, load_benchmark, run_benchmark
from geo_training.experiments.benches import calibration_adapt
from tiny_panoramas import TINY_BACKBONE, TINY_CROP, make_tiny_panoramas

METHODS = ("joint", "finetune", "lwf", "icarl", "lucir", "bic")


def test_it_gives_every_methods_errors_over_seeds(tmp_path, monkeypatch):
    make_tiny_panoramas(tmp_path / "data" / "panoramas")
    packaged = calibration_adapt.load_adapt_config

    def smaller(name, **changes):
        config = packaged(name, crops=24, backbone=TINY_BACKBONE, pretrained="none", crop=TINY_CROP, **changes)
        short = {key: getattr(config, key).model_copy(update={"steps": 1}) for key in ("training", "adapting")}
        options = config.options.model_copy(update={"exemplar_share": 0.5})
        return config.model_copy(update=short | {"options": options, "seeds": (0, 1)})

    monkeypatch.setattr(calibration_adapt, "load_adapt_config", smaller)
    benchmark = load_benchmark("calibration-adapt")
    content, _ = run_benchmark(benchmark, tmp_path / "data", tmp_path / "work", BenchOptions(device="cpu"))
    names = [f"{m}_{end}" for m in METHODS for end in ("old_mse", "new_mse", "old_mse_before")]
    assert (
        set(content["figures"]) == set(benchmark.metrics) == {f"{name}{end}" for name in names for end in ("", "_std")}
    )
    assert all(value > 0 for value in content["figures"].values())
    assert {"finetune_forgets_most", "bic_is_best"} <= set(content["config"]["order"])
    assert {result["seed"] for result in content["config"]["results"]} == {0, 1}
    assert (tmp_path / "work" / "adapt.html").is_file()


def test_the_packaged_config_is_small_and_has_three_seeds():
    config = calibration_adapt.load_adapt_config("adapt_small")
    assert len(config.seeds) == 3
    assert config.methods == METHODS
    assert config.adapting.steps <= config.training.steps <= 300
