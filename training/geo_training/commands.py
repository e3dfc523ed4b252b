"""`geo-train` and `geo-eval` as installed. An interruption is answered in a line, also before anything is imported."""

from geo_perception.runtime.interruption import ended_by_signals
from geo_training.processes import world

INTERRUPTED = "error: interrupted; run the same command again to go on" if world() == 1 else ""


def train() -> None:
    """Runs `geo-train`. Exits 130 when it is interrupted."""
    with ended_by_signals(exit_code=None, sentence=INTERRUPTED):
        from geo_training.cli import train as commands
    commands()


def evaluate() -> None:
    """Runs `geo-eval`. Exits 130 when it is interrupted."""
    with ended_by_signals(exit_code=None, sentence=INTERRUPTED):
        from geo_training.cli import evaluate as commands
    commands()
