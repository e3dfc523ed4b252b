"""How the commands answer a mistake."""

import pytest
import typer
from command_line import invoke
from geo_training.cli import evaluate, train
from geo_training.console import NotGoodEnough, command_group
from geo_training.synthetic.recording import app as recording

from geo_perception.errors import InputError


def answer_to(error: Exception):
    app = command_group("A group.")

    @app.callback()
    def group() -> None:
        """A group."""

    @app.command("fail")
    def fail() -> None:
        raise error

    return invoke(app, "fail")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("it is wrong; mend it"), "error: it is wrong; mend it"),
        (InputError("'a\nb.bag' [no] bag"), "error: 'a b.bag' [no] bag"),
        (NotGoodEnough("too low"), "not good enough: too low"),
        (PermissionError(13, "Permission denied", "/out"), "error: /out: Permission denied; choose another place"),
        (OSError("no space"), "error: no space; choose another place"),
    ],
)
def test_a_mistake_is_answered_in_one_line_and_with_exit_1(error, words):
    result = answer_to(error)
    assert result.exit_code == 1
    assert result.output.strip().splitlines() == [words]


def test_an_interruption_is_answered_in_one_line_and_with_exit_130():
    result = answer_to(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.output.strip() == "error: interrupted; run the same command again to go on"


def test_a_defect_is_not_hidden():
    result = answer_to(ZeroDivisionError())
    assert isinstance(result.exception, ZeroDivisionError)


def test_wrong_usage_exits_2():
    result = answer_to(typer.BadParameter("no such thing"))
    assert result.exit_code == 2


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN"])
@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (train, ["dataset", "from-bag", "walk", "--out", "out", "--fps"]),
        (train, ["dataset", "from-bag", "walk", "--out", "out", "--max-gap"]),
        (train, ["dataset", "import", "walk", "--out", "out", "--depth-scale"]),
        (train, ["dataset", "split", "walk", "--by", "blocks", "--first"]),
        (train, ["map", "walk", "--prior-sigma"]),
        (train, ["landmarks", "walk", "--max-depth"]),
        (evaluate, ["depth", "reference", "walk", "--cap"]),
        (evaluate, ["replay", "walk", "--rate"]),
        (recording, ["out", "--duration"]),
    ],
)
def test_no_option_takes_a_number_that_is_not_finite(app, arguments, value):
    result = invoke(app, *arguments, value)
    assert result.exit_code == 2
    # What an option's own range refuses is answered by that, in the words of the installed typer.
    assert any(words in result.output for words in ("finite number", "range", "or equal to", "less than"))
