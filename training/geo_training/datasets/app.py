"""The typer app of `geo-train dataset`; the modules that hold its commands register on it."""

from geo_training.console import command_group

app = command_group(
    "Recordings and public formats in, one dataset layout out.",
    order=("from-bag", "from-video", "import", "check", "split", "to-bag"),
)
