"""Every command of both programs, in the order of the work. The rooms bring them; here they are put together."""

from geo_training.calibration.commands import app as calibration
from geo_training.console import command_group
from geo_training.datasets.commands import app as dataset
from geo_training.depth.commands import app as depth
from geo_training.evaluation.commands import app as evaluate
from geo_training.evaluation.engines.command import export_command
from geo_training.experiments.benches.commands import bench_command
from geo_training.experiments.depth_papers.commands import keypoint_table_command, sweep_command
from geo_training.experiments.incremental.commands import adapt_command, incremental_command
from geo_training.experiments.landmark_papers.commands import evaluate_reference_command, reference_command
from geo_training.experiments.living.command import refresh_command
from geo_training.fleet.command import fleet_command
from geo_training.fleet.fetch_command import fetch_command
from geo_training.localization.commands import app as localization
from geo_training.mapping.commands import landmarks_command, map_command
from geo_training.mapping.fusion.command import fuse_command

train = command_group(
    "From recordings to scenes: datasets, maps, landmarks, training.",
    order=("dataset", "map", "fuse", "landmarks", "localization", "calibration", "depth", "export", "fleet", "fetch"),
)
train.add_typer(dataset, name="dataset")
train.command("map")(map_command)
train.command("fuse")(fuse_command)
train.command("landmarks")(landmarks_command)
train.add_typer(localization, name="localization")
localization.command("reference")(reference_command)
localization.command("refresh")(refresh_command)

train.add_typer(calibration, name="calibration")
calibration.command("adapt")(adapt_command)
calibration.command("incremental")(incremental_command)

train.add_typer(depth, name="depth")
depth.command("boundary-sweep")(sweep_command)
depth.command("keypoint-table")(keypoint_table_command)

train.command("export")(export_command)
train.command("fleet")(fleet_command)
train.command("fetch")(fetch_command)

evaluate.command("localization-reference")(evaluate_reference_command)
evaluate.command("bench")(bench_command)

__all__ = ["evaluate", "train"]
