"""How a process ends when signals ask it to."""

from __future__ import annotations

import subprocess
import time


def end(process: subprocess.Popen, *signals: int, apart_s: float = 0.1) -> tuple[int, str, float]:
    """Sends signals; returns the exit code, what was written since, and the seconds it took."""
    began_s = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(apart_s)
    try:
        written, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, written, time.monotonic() - began_s
