"""Named benchmarks, one file each. A new one is a module with a `BENCHMARK`, and a line here."""

NAMES = {
    "localization-office": "geo_training.experiments.benches.localization_office",
    "localization-house": "geo_training.experiments.benches.localization_house",
    "localization-lost": "geo_training.experiments.benches.localization_lost",
    "localization-confidence": "geo_training.experiments.benches.localization_confidence",
    "scenes": "geo_training.experiments.benches.scenes",
    "localization-fox": "geo_training.experiments.benches.localization_fox",
    "head-speed": "geo_training.experiments.benches.head_speed",
    "head-speed-full": "geo_training.experiments.benches.head_speed_full",
    "backbone": "geo_training.experiments.benches.backbone",
    "poses-prior": "geo_training.experiments.benches.poses_prior",
    "calibration-panoramas": "geo_training.experiments.benches.calibration_panoramas",
    "calibration-walk": "geo_training.experiments.benches.calibration_walk",
    "calibration-adapt": "geo_training.experiments.benches.calibration_adapt",
    "depth-losses": "geo_training.experiments.benches.depth_losses",
    "depth-drive": "geo_training.experiments.benches.depth_drive",
    "depth-reference": "geo_training.experiments.benches.depth_reference",
    "engines": "geo_training.experiments.benches.engines",
    "node-latency": "geo_training.experiments.benches.node_latency",
    "fleet": "geo_training.experiments.benches.fleet",
    "fusion-office": "geo_training.experiments.benches.fusion_office",
}
