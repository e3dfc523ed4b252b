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
from ros_support import ENVIRONMENT, PROFILE_VARIABLES
from soak_robot import START_S, SoakRobot
from tiny_scene import make_tiny_scene

RESULTS_S = 15.0  # after a fault that leaves the process alive
RESTART_S = 60.0  # after a kill, on a machine that is busy
HOSTILE_S = 1.0  # after a burst of hostile messages
SLOPE_MB = 1.0  # in ten minutes
CALM_SHARE = 0.6  # of the time nothing is killed, so that one life is long enough to tell whether it grows
KILLS_LEFT = 20  # how many follow in the rest, where there is time for them
_WARM_UP_S = 180.0
PROFILE = Path(__file__).resolve().parents[2] / "config" / "fastdds_shared_memory.xml"
_UNHANDLED = ("Traceback", "a callback failed", "a callback of rclpy failed", "defect of the node")


class Soak:
    """Faults done to a robot, and what came of each."""

    def __init__(self, robot: SoakRobot, seed: int, say):
        self.robot, self.say, self.rng = robot, say, np.random.default_rng(seed)
        self.recovered_s: dict[str, list[float]] = defaultdict(list)
        self.late: list[str] = []
        self.memory: dict[int, list[tuple[float, float]]] = defaultdict(list)  # of each life: seconds of it, MB
        self._life, self._life_s = robot.lives, time.monotonic()

    @property
    def faults(self) -> int:
        return sum(map(len, self.recovered_s.values()))

    @property
    def kills(self) -> int:
        return sum(len(self.recovered_s[fault.__name__]) for fault in soak_faults.KILLS)

    def do(self, fault) -> None:
        """One fault, and the results after it."""
        robot, name = self.robot, fault.__name__
        ends_before = robot.unasked_ends
        fault(robot, self.rng)
        limit_s = RESTART_S if fault in soak_faults.KILLS else RESULTS_S
        try:
            seconds = robot.seconds_to_results(limit_s)
        except TimeoutError as error:
            self.late.append(f"{name}: {error}")
            self.say(self.late[-1])
            robot.kill()
            robot.seconds_to_results(START_S)
            seconds = float("nan")
        self.recovered_s[name].append(seconds)
        if robot.lives != self._life:
            self._life, self._life_s = robot.lives, time.monotonic()
        self.memory[self._life].append((time.monotonic() - self._life_s, robot.memory_mb))
        ended = f", ended {robot.unasked_ends - ends_before} times" if robot.unasked_ends > ends_before else ""
        self.say(f"{name}: results after {seconds:.1f} s, {self.memory[self._life][-1][1]:.0f} MB{ended}")


def soak(
    tiny_scene, folder: Path, minutes: float, seed: int, chosen=soak_faults.FAULTS, say=print, rounds: int = 0,
    hostile: int = 0, kills: int = 0,
) -> dict:  # fmt: skip
    """Faults at random for so long, and at least so many of each kind that is asked for. First those that leave the
    process alive, then all; each once before one comes again. Returns the figures."""
    gentle = [fault for fault in chosen if fault not in soak_faults.KILLS]
    with SoakRobot(tiny_scene, folder) as robot:
        start_s = robot.seconds_to_results(START_S)
        say(f"start: results after {start_s:.1f} s")
        done, began_s = Soak(robot, seed, say), time.monotonic()
        calm_s = 60 * minutes * CALM_SHARE if gentle and len(gentle) < len(chosen) else 0.0
        bursts = soak_faults.hostile_messages in chosen
        queue: list = []
        while time.monotonic() - began_s < calm_s:
            queue = queue or list(done.rng.permutation(np.array(gentle, object)))
            # What is asked for is sent while nothing is killed, evenly.
            behind = robot.hostile < hostile * (time.monotonic() - began_s) / calm_s
            done.do(soak_faults.hostile_messages if bursts and behind else queue.pop())
        queue = []
        while (
            time.monotonic() - began_s < 60 * minutes or done.faults < rounds or done.kills < kills
            or (bursts and robot.hostile < hostile)
        ):  # fmt: skip
            late = time.monotonic() - began_s > 60 * minutes and done.faults >= rounds
            wanted = [fault for fault in chosen if fault in soak_faults.KILLS] if done.kills < kills else chosen
            if bursts and robot.hostile < hostile and late and done.kills >= kills:
                wanted = [soak_faults.hostile_messages]
            if not queue or queue[-1] not in wanted:
                queue = list(done.rng.permutation(np.array(wanted, object)))
            done.do(queue.pop())
        return _figures(done, robot, (time.monotonic() - began_s) / 60, start_s)


def _figures(done: Soak, robot: SoakRobot, minutes: float, start_s: float) -> dict:
    lives, said = list(done.memory.values()), robot.said
    slope, sigma = memory_slope(lives)
    after_kill_s = [seconds for fault in soak_faults.KILLS for seconds in done.recovered_s[fault.__name__]]
    return {
        "minutes": minutes,
        "faults": done.faults,
        "start_s": start_s,
        "lives": robot.lives,
        "ended_unasked": robot.unasked_ends,
        "late": done.late,
        "unhandled": sum(said.count(sign) for sign in _UNHANDLED),
        "memory_mb": lives[-1][-1][1] if lives else robot.memory_mb,
        "memory_slope_mb_10min": slope,
        "memory_slope_sigma_mb_10min": sigma,
        "slope_seconds": max((life[-1][0] - _WARM_UP_S for life in lives), default=0.0),
        "hostile_messages": robot.hostile,
        "hostile_recovered_s_max": max(done.recovered_s["hostile_messages"], default=None),
        "kills": done.kills,
        "kill_recovered_s_max": max(after_kill_s, default=None),
        "kill_recovered_s_limit": RESTART_S,
        "recovered_s_max": {name: max(seconds) for name, seconds in sorted(done.recovered_s.items()) if seconds},
        "memory_of_lives": lives,
    }


def memory_slope(
    lives: list[list[tuple[float, float]]], warm_up_s: float = _WARM_UP_S
) -> tuple[float | None, float | None]:
    """Megabytes in ten minutes by least squares, after each life's warm-up, one slope for all lives, each with a level
    of its own; and its standard deviation. None where too little was seen.

    What the allocator keeps goes up and down by tens of megabytes and stays there for some faults, so that samples are
    not independent: the deviation counts how alike neighbours are (an autoregression of first order).
    """
    apart_n2 = [
        seen - seen.mean(axis=0)
        for seen in (np.array([sample for sample in life if sample[0] > warm_up_s]).reshape(-1, 2) for life in lives)
        if len(seen) >= 3
    ]
    square = sum(float(one[:, 0] @ one[:, 0]) for one in apart_n2)
    if not square > 0:
        return None, None
    slope = sum(float(one[:, 0] @ one[:, 1]) for one in apart_n2) / square
    left_n = [one[:, 1] - slope * one[:, 0] for one in apart_n2]
    power, count = sum(float(one @ one) for one in left_n), sum(map(len, left_n)) - len(left_n) - 1
    alike = sum(float(one[1:] @ one[:-1]) for one in left_n) / power if power > 0 else 0.0
    alike = min(max(alike, 0.0), 0.95)
    sigma = (power / max(count, 1) / square * (1 + alike) / (1 - alike)) ** 0.5
    return 600 * slope, 600 * sigma


def shortcomings(figures: dict) -> list[str]:
    """Which limits were not kept."""
    found = [f"results came late: {late}" for late in figures["late"]]
    if figures["ended_unasked"]:
        found.append(f"the process ended {figures['ended_unasked']} times by itself")
    hostile_s = figures["hostile_recovered_s_max"]
    if hostile_s is not None and not hostile_s <= HOSTILE_S:
        found.append(f"results came {hostile_s:.1f} s after hostile messages")
    if figures["unhandled"]:
        found.append(f"{figures['unhandled']} exceptions that nobody caught")
    slope, sigma = figures["memory_slope_mb_10min"], figures["memory_slope_sigma_mb_10min"]
    if slope is not None and slope > SLOPE_MB + 2 * sigma:
        found.append(f"memory grew by {slope:.2f} +- {sigma:.2f} MB in ten minutes")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hostile", type=int, default=0, help="send at least so many hostile messages, in bursts")
    parser.add_argument("--kills", type=int, default=None, help="kill at least so often (20 from 20 minutes on)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--only", nargs="+", choices=[fault.__name__ for fault in soak_faults.FAULTS])
    given = parser.parse_args()
    chosen = [fault for fault in soak_faults.FAULTS if not given.only or fault.__name__ in given.only]
    # As docs/nodes.md advises: in the segment that Fast DDS has by itself, what killed readers held leaves no room.
    for environment in (os.environ, ENVIRONMENT):
        environment |= dict.fromkeys(PROFILE_VARIABLES, str(PROFILE)) | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    kills = given.kills if given.kills is not None else KILLS_LEFT if given.minutes >= 20 else 0
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        print("making a small scene")
        scene = make_tiny_scene(Path(folder))
        os.makedirs(Path(folder) / "robot")
        figures = soak(
            scene, Path(folder) / "robot", given.minutes, given.seed, chosen, hostile=given.hostile, kills=kills
        )
    print(json.dumps(figures, indent=1))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    missed = shortcomings(figures)
    for sentence in missed:
        print(f"not good enough: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
