"""The processes of a live measurement, in a ROS graph of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping

from geo_perception.errors import InputError

_STOP_S = 15.0


@contextlib.contextmanager
def graph_of_its_own() -> Iterator[dict[str, str]]:
    """The environment of a domain of this process's own on this machine, which it has itself within the block: the run
    must meet no robot's nodes, no test (1 to 50), no other run."""
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(51 + os.getpid() % 50), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }  # fmt: skip
    before = dict(os.environ)
    os.environ.update(environment)  # rclpy reads the discovery range from there
    try:
        yield environment
    finally:
        os.environ.clear()
        os.environ.update(before)


class Process:
    """A child process whose output is read as it comes, ended with its block. One that is `asked` reads its input line
    by line."""

    def __init__(self, command: list[str], environment: Mapping[str, str], name: str, asked: bool = False):
        self.name = name
        self.lines: list[str] = []
        self._errors: list[str] = []
        self.process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=lambda stream=stream, into=into: into.extend(stream), daemon=True)
            for stream, into in ((self.process.stdout, self.lines), (self.process.stderr, self._errors))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_error) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.join()

    def join(self) -> None:
        """Waits for the end of the process and of its output."""
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def ask(self, line: str) -> None:
        """Writes a line to its input. Raises InputError when the process has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            self.process.wait()
            self.check()

    def check(self) -> None:
        """Raises InputError when the process has ended."""
        if self.process.poll() is not None:
            self.join()
            raise InputError(f"{self.name} ended with code {self.process.returncode}: {self.last_line()}")

    def last_error(self) -> str:
        """The last error it logged, without the logger's own words; empty where there is none."""
        logged = [line for line in (*self.lines, *self._errors) if "[ERROR]" in line]
        return logged[-1].strip().rpartition("]: ")[2] if logged else ""

    def last_line(self) -> str:
        """The last line it wrote that says something."""
        written = [line.strip() for line in (*self.lines, *self._errors) if line.strip()]
        return written[-1] if written else "it wrote nothing"
