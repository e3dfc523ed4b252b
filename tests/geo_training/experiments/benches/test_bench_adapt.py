"""The adaptation benchmark gives the metrics asked for."""

import numpy as np
import pytest
from geo_training.experiments.bench import BenchOptions, load_benchmark, run_benchmark
from geo_training.experiments.benches import calibration_adapt
from tiny_panoramas import TINY_BACKBONE, TINY_CROP, make_tiny_panoramas

SMALL = {"stride_px": 4, "grid": 2, "hidden": 8}
METHODS = ("joint", "finetune", "lwf", "icarl", "lucir", "bic")


def test_it_gives_every_methods_errors_over_seeds(tmp_path, monkeypatch):
    make_tiny_panoramas(tmp_path / "data" / "panoramas")
    packaged = calibration_adapt.load_adapt_config

    def smaller(name, **changes):
        config = packaged(
            name, crops=24, backbone=TINY_BACKBONE, pretrained="none", crop=TINY_CROP, frozen=SMALL, **changes
        )
        short = {key: getattr(config, key).model_copy(update={"steps": 1}) for key in ("training", "adapting")}
        options = config.options.model_copy(update={"exemplar_share": 0.5})
        return config.model_copy(update=short | {"options": options, "seeds": (0, 1)})

    monkeypatch.setattr(calibration_adapt, "load_adapt_config", smaller)
    benchmark = load_benchmark("calibration-adapt")
    content, _ = run_benchmark(benchmark, tmp_path / "data", tmp_path / "work", BenchOptions(device="cpu"))
    figures = content["figures"]
    assert set(figures) == set(benchmark.metrics)
    for shift, (old, new) in {"places": ("indoor", "outdoor"), "attitudes": ("level", "tilted")}.items():
        names = [f"{shift}_{m}_{end}" for m in METHODS for end in ("old_mse", "new_mse", "old_mse_before")]
        assert all(figures[name + end] > 0 for name in names for end in ("", "_std"))
        found = content["config"][shift]
        assert {"finetune_forgets_most", "bic_is_best"} <= set(found["order"])
        assert {(result["seed"], result["old"], result["new"]) for result in found["results"]} == {
            (seed, old, new) for seed in (0, 1)
        }
        page = (tmp_path / "work" / shift / "adapt.html").read_text()
        assert "Differences by seed" in page

        def forgetting(method, seed, found=found):
            own = next(r for r in found["results"] if (r["method"], r["seed"]) == (method, seed))
            return own["matrix"]["test"]["forgetting"]

        less = np.mean([forgetting("finetune", seed) - forgetting("lwf", seed) for seed in (0, 1)])
        assert figures[f"{shift}_lwf_forgets_less_by"] == pytest.approx(less)
        assert figures[f"{shift}_lwf_forgets_less_by_low"] <= less <= figures[f"{shift}_lwf_forgets_less_by_high"]


def test_the_packaged_configs_are_small_and_have_five_seeds():
    for name in calibration_adapt.SHIFTS.values():
        config = calibration_adapt.load_adapt_config(name)
        assert len(config.seeds) == 5
        assert config.methods == METHODS
        assert config.frozen is not None
        assert config.adapting.steps <= config.training.steps
