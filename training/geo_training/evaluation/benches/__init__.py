"""Named benchmarks, one file each. A new one is a module with a `BENCHMARK`, and a line here."""

NAMES = {
    "localization-office": "geo_training.evaluation.benches.localization_office",
    "localization-fox": "geo_training.evaluation.benches.localization_fox",
}
