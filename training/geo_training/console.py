"""What every command shares: how a mistake is answered, how progress is shown, how results are printed and saved."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperGroup

from geo_perception.errors import InputError
from geo_training.processes import first_to_fail, is_main, tell_of_failure

Item = TypeVar("Item")

# Where standard error is no terminal: when the first line of progress comes, and the longest wait between two lines.
FIRST_LINE_S, LONGEST_WAIT_S = 10.0, 300.0

# Of the processes that train together one speaks for all.
stderr = Console(stderr=True, soft_wrap=True, highlight=False, quiet=not is_main())


class NotGoodEnough(Exception):  # noqa: N818 (a verdict, not a mistake)
    """The command ran, and its result is below what was asked for: exit 1 with one line."""


class _Answering:
    """Answers InputErrors, and what the system refuses, with one line and exit 1. Wrong usage exits 2; so does an
    InputError whose `exit_code` says that nothing was begun.

    `typer.Exit` is raised rather than an exception of click: newer typers bring a click of their own, which knows no
    other.
    """

    def main(self, *args, **kwargs):
        try:
            return super().main(*args, **kwargs)
        except BaseException as end:
            if getattr(end, "code", 1):
                tell_of_failure()
            raise

    def invoke(self, ctx):
        code = 1
        try:
            return super().invoke(ctx)
        except InputError as error:
            code = getattr(error, "exit_code", code)
            answer = f"[bold red]error:[/] {_plain(' '.join(str(error).split(chr(10))))}"  # names may break lines
        except BrokenPipeError:
            raise  # whoever reads has gone; typer ends quietly
        except OSError as error:  # a folder that cannot be written, a full disk
            where = f"{error.filename}: " if error.filename else ""
            answer = f"[bold red]error:[/] {_plain(f'{where}{error.strerror or error}; choose another place')}"
        except NotGoodEnough as shortfall:
            answer = f"[bold yellow]not good enough:[/] {_plain(str(shortfall))}"
        except KeyboardInterrupt:
            _answer("[bold red]error:[/] interrupted; run the same command again to go on")
            raise typer.Exit(130) from None  # as shells have it, and as before anything was imported
        _answer(answer)
        raise typer.Exit(code)


def _answer(line: str) -> None:
    """Says why the command ends: once, where several processes train together and the end of one ends all."""
    stderr.quiet = not first_to_fail()
    stderr.print(line)


class CommandGroup(_Answering, TyperGroup):
    """A group of commands, listed in the order of the work."""

    order: tuple[str, ...] = ()

    def list_commands(self, ctx) -> list[str]:
        places = {name: place for place, name in enumerate(self.order)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))

    def get_command(self, ctx, cmd_name: str):
        return _with_finite_numbers(super().get_command(ctx, cmd_name))


class SingleCommand(_Answering, TyperCommand):
    """The command of a program that has only one: `@app.command(cls=SingleCommand)`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        _with_finite_numbers(self)


def _with_finite_numbers(command):
    """The command, which refuses nan and inf as wrong usage: every range that an option states lets nan through."""
    for parameter in command.params if command is not None else ():
        if not getattr(parameter.callback, "refuses_nan", False):
            parameter.callback = _finite_only(parameter.callback)
    return command


def _finite_only(callback: Callable | None) -> Callable:
    def check(ctx, parameter, value):
        values = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(one, float) and not math.isfinite(one) for one in values):
            raise typer.BadParameter("give a finite number", ctx=ctx, param=parameter)
        return value if callback is None else callback(ctx, parameter, value)

    check.refuses_nan = True
    return check


def command_group(help_text: str, order: tuple[str, ...] = ()) -> typer.Typer:
    """A typer app with the house's error handling. Every room's `commands.py` makes one.

    `order` is the order of the work, in which the help lists the commands; what it does not name comes after, in the
    order of registration (without it typer lists groups after all single commands).
    """
    return typer.Typer(
        cls=type("OrderedGroup", (CommandGroup,), {"order": order}), help=help_text, no_args_is_help=True,
        add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False,
    )  # fmt: skip


def say(message: str) -> None:
    """One line for the person, on standard error; standard output is for results."""
    stderr.print(_plain(message))


def warn(message: str) -> None:
    stderr.print(f"[bold yellow]warning:[/] {_plain(message)}")


@contextlib.contextmanager
def progress_bar(title: str, total: int | None, done: int = 0) -> Iterator[Callable[..., None]]:
    """Progress on standard error: a bar on a terminal, elsewhere (a log, a pipe) a line now and then.

    `done` is what an earlier run has done of `total`. Yields `advance(steps=1, note="")`.
    """
    if not stderr.is_terminal:
        lines = _ProgressLines(title, total, done)
        yield lines.advance
        lines.finish()
        return
    texts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    columns = (*texts, TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        yield lambda steps=1, note="": progress.update(task, advance=steps, note=note)


class _ProgressLines:
    """Progress where nobody watches a terminal: nothing for what is quickly done, then ever fewer lines."""

    def __init__(self, title: str, total: int | None, done: int):
        self._title, self._total = title, total
        self._done, self._begun_at = done, done
        self._started_s, self._wait_s = time.monotonic(), FIRST_LINE_S
        self._due_s = self._started_s + FIRST_LINE_S
        self._shown = False

    def advance(self, steps: int = 1, note: str = "") -> None:
        now_s = time.monotonic()
        self._done += steps
        if now_s < self._due_s:
            return
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._due_s = now_s + self._wait_s
        self._shown = True
        self._show(now_s - self._started_s, note)

    def finish(self) -> None:
        if self._shown:
            say(f"{self._title}: {self._done} done in {duration_label(time.monotonic() - self._started_s)}")

    def _show(self, elapsed_s: float, note: str) -> None:
        parts = [f"{self._title}: {self._done}"]
        if self._total:
            parts[0] += f" of {self._total} ({min(self._done / self._total, 1):.0%})"
        parts.append(f"{duration_label(elapsed_s)} so far")
        made = self._done - self._begun_at  # what an earlier run has done says nothing of this one's pace
        if self._total and made > 0 and self._done < self._total:
            parts.append(f"about {duration_label(elapsed_s / made * (self._total - self._done))} to go")
        say(", ".join([*parts, *([note] if note else [])]))


def duration_label(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def track(items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
    """Iterates with a progress bar."""
    with progress_bar(title, total if total is not None else len(items)) as advance:  # type: ignore[arg-type]
        for item in items:
            yield item
            advance()


def write_json(path: Path | None, content: dict) -> None:
    """Writes the JSON a `--json` asked for; NaN and infinity become null, since JSON has neither."""
    if path is None or not is_main():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(content) + "\n")


def json_text(content, **options) -> str:
    """Strict JSON: NaN and infinity, which JSON has not, become null. `options` are those of `json.dumps`."""
    return json.dumps(_finite(content), **{"indent": 2, "allow_nan": False} | options)


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
