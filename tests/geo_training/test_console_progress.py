"""What a person sees of the commands: in which order they are listed, and how far a long one has come."""

import io

import pytest
import typer
from geo_training import console
from geo_training.cli import evaluate, train
from rich.console import Console


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def log(monkeypatch):
    """Standard error as a file, and the clock that progress reads."""
    file, clock = io.StringIO(), Clock()
    monkeypatch.setattr(console, "stderr", Console(file=file, soft_wrap=True, highlight=False))
    monkeypatch.setattr(console.time, "monotonic", clock)
    return file, clock


def steps(clock, advance, count, each_s, note=""):
    for _ in range(count):
        clock.now_s += each_s
        advance(1, note)


def test_without_a_terminal_progress_is_a_line_now_and_then(log):
    """400 steps of a second: lines after 10 s, then after waits of 20, 40, 80 and 160 s, and one at the end."""
    file, clock = log
    with console.progress_bar("training", 400) as advance:
        steps(clock, advance, 400, 1.0, "loss 0.5")
    assert file.getvalue().splitlines() == [
        "training: 10 of 400 (2%), 10 s so far, about 6 min 30 s to go, loss 0.5",
        "training: 30 of 400 (8%), 30 s so far, about 6 min 10 s to go, loss 0.5",
        "training: 70 of 400 (18%), 1 min 10 s so far, about 5 min 30 s to go, loss 0.5",
        "training: 150 of 400 (38%), 2 min 30 s so far, about 4 min 10 s to go, loss 0.5",
        "training: 310 of 400 (78%), 5 min 10 s so far, about 1 min 30 s to go, loss 0.5",
        "training: 400 done in 6 min 40 s",
    ]


def test_waits_grow_to_five_minutes_and_no_further(log):
    file, clock = log
    with console.progress_bar("training", None) as advance:
        steps(clock, advance, 3600, 1.0)
    times = [line.split(": ")[1].split(",")[0] for line in file.getvalue().splitlines()]
    assert times == ["10", "30", "70", "150", *map(str, range(310, 3600, 300)), "3600 done in 1 h 0 min"]
    assert "of" not in file.getvalue()


def test_what_is_quickly_done_says_nothing(log):
    file, clock = log
    with console.progress_bar("images", 50) as advance:
        steps(clock, advance, 50, 0.19)
    assert file.getvalue() == ""


def test_an_earlier_run_does_not_count_for_the_pace(log):
    """90 of 100 were there; ten more at 2 s each: after 10 s, five are left, which takes 10 s."""
    file, clock = log
    with console.progress_bar("training", 100, done=90) as advance:
        steps(clock, advance, 10, 2.0)
    assert file.getvalue().splitlines()[0] == "training: 95 of 100 (95%), 10 s so far, about 10 s to go"


def test_a_terminal_has_a_bar_and_no_lines(log, monkeypatch):
    _, clock = log
    screen = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=screen, force_terminal=True, width=100))
    with console.progress_bar("training", 100, done=40) as advance:
        steps(clock, advance, 1, 20.0)
    assert "41/100" in screen.getvalue()
    assert "so far" not in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_durations_in_words(seconds, words):
    assert console.duration_label(seconds) == words


@pytest.mark.parametrize(
    ("app", "group", "order"),
    [
        (
            train,
            None,
            ["dataset", "map", "fuse", "landmarks", "localization", "calibration", "depth", "export", "fleet", "fetch"],
        ),
        (train, "dataset", ["from-bag", "from-video", "import", "check", "split", "to-bag"]),
        (
            evaluate,
            None,
            [
                "localization",
                "scene-health",
                "replay",
                "calibration",
                "depth",
                "doctor",
                "bench",
                "localization-reference",
            ],
        ),
    ],
)
def test_commands_are_listed_in_the_order_of_the_work(app, group, order):
    command = typer.main.get_command(app)
    command = command.commands[group] if group else command
    assert command.list_commands(typer.Context(command)) == order
