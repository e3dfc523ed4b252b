"""The two console scripts. Each room brings its own commands; here they are only put together."""

from geo_training.calibration.commands import app as calibration_app
from geo_training.console import command_group
from geo_training.datasets.commands import app as dataset_app
from geo_training.depth.commands import app as depth_app
from geo_training.evaluation.commands import app as evaluate
from geo_training.localization.commands import app as localization_app
from geo_training.mapping.commands import landmarks_command, map_command

train = command_group(
    "From recordings to scenes: datasets, maps, landmarks, training.",
    order=("dataset", "map", "landmarks", "localization", "calibration", "depth"),
)
train.add_typer(dataset_app, name="dataset")
train.command("map")(map_command)
train.command("landmarks")(landmarks_command)
train.add_typer(calibration_app, name="calibration")
train.add_typer(depth_app, name="depth")
train.add_typer(localization_app, name="localization")

__all__ = ["evaluate", "train"]
