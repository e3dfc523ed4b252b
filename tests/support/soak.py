"""`make soak MINUTES=30`: a robot's nodes at work while everything that can go wrong does, at random, again and again.

After every fault all three nodes must give results again, in time. What the process takes in memory is followed, and
what it says is searched for what nobody caught. Prints one line a fault, and the figures as JSON at the end; exit 1
when one of the limits was not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import soak_faults
from soak_robot import START_S, SoakRobot
from tiny_scene import make_tiny_scene

RESULTS_S = 15.0  # after a fault that leaves the process alive
RESTART_S = 60.0  # after one that ends it, on a machine that is busy
SLOPE_MB = 1.0  # in ten minutes
_WARM_UP_S = 120.0
_UNHANDLED = ("Traceback", "a callback failed", "a callback of rclpy failed", "defect of the node")


def soak(
    tiny_scene, folder: Path, minutes: float, seed: int, chosen=soak_faults.FAULTS, say=print, rounds: int = 0
) -> dict:
    """Faults at random for so long, and at least so many; each once before one comes again. Returns the figures."""
    rng = np.random.default_rng(seed)
    recovered_s, late = defaultdict(list), []
    memory: dict[int, list[tuple[float, float]]] = defaultdict(list)  # of each life: seconds of it, MB
    with SoakRobot(tiny_scene, folder) as robot:
        start_s = robot.seconds_to_results(START_S)
        say(f"start: results after {start_s:.1f} s")
        began_s, life, life_s, queue = time.monotonic(), robot.lives, time.monotonic(), []
        while time.monotonic() - began_s < 60 * minutes or sum(map(len, recovered_s.values())) < rounds:
            queue = queue or list(rng.permutation(np.array(chosen, object)))
            fault = queue.pop()
            ends_before = robot.unasked_ends
            fault(robot, rng)
            limit_s = RESTART_S if fault in soak_faults.KILLS else RESULTS_S
            try:
                seconds = robot.seconds_to_results(limit_s)
            except TimeoutError as error:
                late.append(f"{fault.__name__}: {error}")
                say(late[-1])
                robot.kill()
                robot.seconds_to_results(START_S)
                seconds = float("nan")
            recovered_s[fault.__name__].append(seconds)
            if robot.lives != life:
                life, life_s = robot.lives, time.monotonic()
            memory[life].append((time.monotonic() - life_s, robot.memory_mb))
            ended = f", ended {robot.unasked_ends - ends_before} times" if robot.unasked_ends > ends_before else ""
            say(f"{fault.__name__}: results after {seconds:.1f} s, {memory[life][-1][1]:.0f} MB{ended}")
        said = robot.said
        return {
            "minutes": (time.monotonic() - began_s) / 60,
            "faults": sum(map(len, recovered_s.values())),
            "start_s": start_s,
            "lives": robot.lives,
            "ended_unasked": robot.unasked_ends,
            "late": late,
            "unhandled": sum(said.count(sign) for sign in _UNHANDLED),
            "memory_mb": memory[life][-1][1] if memory[life] else robot.memory_mb,
            "memory_slope_mb_10min": memory_slope(list(memory.values())),
            "recovered_s_max": {name: max(seconds) for name, seconds in sorted(recovered_s.items())},
        }


def memory_slope(lives: list[list[tuple[float, float]]], warm_up_s: float = _WARM_UP_S) -> float | None:
    """Megabytes in ten minutes by least squares, after each life's warm-up: one slope for all lives, each with a level
    of its own. None where too little was seen."""
    square = product = 0.0
    for life in lives:
        seen = np.array([sample for sample in life if sample[0] > warm_up_s]).reshape(-1, 2)
        if len(seen) >= 3:
            apart = seen - seen.mean(axis=0)
            square, product = square + float(apart[:, 0] @ apart[:, 0]), product + float(apart[:, 0] @ apart[:, 1])
    return 600 * product / square if square > 0 else None


def shortcomings(figures: dict) -> list[str]:
    """Which limits were not kept."""
    found = [f"results came late: {late}" for late in figures["late"]]
    if figures["ended_unasked"]:
        found.append(f"the process ended {figures['ended_unasked']} times by itself")
    if figures["unhandled"]:
        found.append(f"{figures['unhandled']} exceptions that nobody caught")
    slope = figures["memory_slope_mb_10min"]
    if slope is not None and slope > SLOPE_MB:
        found.append(f"memory grew by {slope:.2f} MB in ten minutes")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--only", nargs="+", choices=[fault.__name__ for fault in soak_faults.FAULTS])
    given = parser.parse_args()
    chosen = [fault for fault in soak_faults.FAULTS if not given.only or fault.__name__ in given.only]
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        print("making a small scene")
        scene = make_tiny_scene(Path(folder))
        os.makedirs(Path(folder) / "robot")
        figures = soak(scene, Path(folder) / "robot", given.minutes, given.seed, chosen)
    print(json.dumps(figures, indent=1))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    missed = shortcomings(figures)
    for sentence in missed:
        print(f"not good enough: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
