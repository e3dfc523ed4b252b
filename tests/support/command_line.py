"""Commands as a user gives them, run in this process."""

from __future__ import annotations

from click.testing import Result
from typer import Typer
from typer.testing import CliRunner


def invoke(app: Typer, *arguments: object) -> Result:
    """Runs `app` with these arguments, each as the shell would give it; exit code, output and stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
