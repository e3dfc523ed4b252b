"""What every command shares: how a mistake is answered, how progress is shown, how results are printed and saved."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperGroup

from geo_perception.errors import InputError

Item = TypeVar("Item")

stderr = Console(stderr=True, soft_wrap=True, highlight=False)

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="PATH", help="Write the result as JSON to this file.", dir_okay=False)
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")]


class NotGoodEnough(Exception):  # noqa: N818 (a verdict, not a mistake)
    """The command ran, and its result is below what was asked for: exit 1 with one line."""


class _Answering:
    """Answers InputErrors, and what the system refuses, with one line and exit 1. Wrong usage exits 2.

    `typer.Exit` is raised rather than an exception of click: newer typers bring a click of their own, which knows no
    other.
    """

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except InputError as error:
            answer = f"[bold red]error:[/] {_plain(str(error))}"
        except BrokenPipeError:
            raise  # whoever reads has gone; typer ends quietly
        except OSError as error:  # a folder that cannot be written, a full disk
            where = f"{error.filename}: " if error.filename else ""
            answer = f"[bold red]error:[/] {_plain(f'{where}{error.strerror or error}; choose another place')}"
        except NotGoodEnough as shortfall:
            answer = f"[bold yellow]not good enough:[/] {_plain(str(shortfall))}"
        except KeyboardInterrupt:
            answer = "[bold red]error:[/] interrupted; run the same command again to go on"
        stderr.print(answer)
        raise typer.Exit(1)


class CommandGroup(_Answering, TyperGroup):
    """A group of commands."""


class SingleCommand(_Answering, TyperCommand):
    """The command of a program that has only one: `@app.command(cls=SingleCommand)`."""


def command_group(help_text: str) -> typer.Typer:
    """A typer app with the house's error handling. Every room's `commands.py` makes one."""
    return typer.Typer(
        cls=CommandGroup, help=help_text, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )  # fmt: skip


def say(message: str) -> None:
    """One line for the person, on standard error; standard output is for results."""
    stderr.print(_plain(message))


def warn(message: str) -> None:
    stderr.print(f"[bold yellow]warning:[/] {_plain(message)}")


@contextlib.contextmanager
def progress_bar(title: str, total: int | None) -> Iterator:
    """A progress bar on standard error. Yields `advance(steps=1, note="")`. Silent where there is no terminal."""
    texts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    columns = (*texts, TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(title, total=total, note="")
        yield lambda steps=1, note="": progress.update(task, advance=steps, note=note)


def track(items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
    """Iterates with a progress bar."""
    with progress_bar(title, total if total is not None else len(items)) as advance:  # type: ignore[arg-type]
        for item in items:
            yield item
            advance()


def write_json(path: Path | None, content: dict) -> None:
    """Writes the JSON a `--json` asked for; NaN and infinity become null, since JSON has neither."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(content), indent=2) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _plain(message: str) -> str:
    return message.replace("[", r"\[")
