"""How a node's health is assessed and reported. The assessment is a pure function of the values; `status_message` makes
it a diagnostic_msgs/DiagnosticStatus."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntEnum

from geo_perception.ros.frame_statistics import Reason, Snapshot
from geo_perception.ros.memory_steps import ERROR_S, RETURN_S, Shortage

MIN_WATCHDOG_S = 0.2  # the watchdog looks five times a second; less than one look is not a stall
NO_PERIOD_S = 2.0  # what counts as a stop before the rate of the input is known
NO_INFERENCE_S = 10.0  # and as a stall before one inference has ended
RECENT_S = 5.0
LOST_S = 3.0
MISSED_SHARE = 0.1  # of the images that were sent; less is what a radio or a busy moment costs


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Condition(Enum):
    """Each state a node's diagnostics can be in: its level, when it is raised, what it means for the robot.

    The table in docs/nodes.md is made from these. Where several hold, the first in this order is reported.
    """

    FAILED = (Level.ERROR, "a transition failed", "The node does nothing. The message says why and what mends it.")
    OUT_OF_MEMORY = (
        Level.ERROR,
        f"no frame has fitted into the memory (of the GPU, or of the machine) for {ERROR_S:g} s",
        "No result follows. A frame is tried now and then, so that the node goes on by itself when there is memory "
        'again. See "When memory is short".',
    )
    INPUT_STOPPED = (
        Level.ERROR,
        f"no image for two frame periods (at least {MIN_WATCHDOG_S} s; {NO_PERIOD_S:g} s before the rate is known)",
        "No result follows. The message names what is published there, with type and QoS, or where images are.",
    )
    INFERENCE_STALLED = (
        Level.ERROR,
        "one frame has been worked on for two frame periods longer than the slowest per cent of the frames before "
        f"({NO_INFERENCE_S:g} s for the first)",
        "No result follows. The machine is overloaded or the device hangs.",
    )
    UNCALIBRATED = (
        Level.ERROR,
        f"a frame of the last {RECENT_S:g} s had a CameraInfo whose K is zero, or none at all",
        "No result follows. Calibrate the camera, remap camera_info, or give the camera.* parameters. The message "
        "names who publishes CameraInfo.",
    )
    CLOCK_STANDS = (
        Level.WARN,
        "use_sim_time is set, no image arrives and /clock does not advance",
        "The simulation or the bag is paused.",
    )
    MEMORY = (
        Level.WARN,
        "the node works with a smaller input or on the CPU since its memory did not suffice, or frames are dropped for "
        "that",
        "Results are coarser, later, or missing. The message says why and since when; the whole is tried again after "
        f"{RETURN_S:g} s.",
    )
    QOS = (
        Level.WARN,
        "a publisher or subscriber was found whose QoS does not fit",
        "It is not connected. Let it match: outputs offer reliable, images are taken as `reliability` says, other "
        "inputs take best effort.",
    )
    REJECTING = (
        Level.WARN,
        f"a frame of the last {RECENT_S:g} s was dropped because it could not be used",
        "Results are missing. `last rejection` says which message was wrong and how to mend it.",
    )
    NO_RESULT = (
        Level.WARN,
        f"frames are processed and none was good for {LOST_S:g} s",
        "For localization: not localized, no pose is published. For calibration: no attitude, and no CameraInfo unless "
        "the focal length was settled before. For depth: no metres. `last verdict` says why.",
    )
    CAMERA_DISAGREES = (
        Level.WARN,
        "calibration only: the CameraInfo beside the images names another focal length than they show, beyond the "
        "stated uncertainty",
        "Results are published. Both numbers are in the message. Check the driver's calibration file, a zoom that was "
        "moved, and a crop or resize that does not tell its CameraInfo.",
    )
    SHORTFALL = (
        Level.WARN,
        "localization with `tf_mode: map_odom` only: the last pose was published without map to odom, for lack of "
        "odometry",
        "Poses are right; TF is not sent, or grows old. The message names the transform that is missing.",
    )
    SCENE_DISAGREES = (
        Level.WARN,
        "localization in a folder of scenes only: two scenes placed by `scenes.yaml` have poses for one frame that are "
        "farther apart than both state",
        "Poses of the present scene go on. The message says how far they are apart: mend T_map_scene of one of the "
        "two, or state a larger sigma_m and sigma_rad for it.",
    )
    SCENE_UNUSABLE = (
        Level.WARN,
        "localization in a folder of scenes only: a scene cannot be read, lacks view descriptors, or was replaced by a "
        "file that cannot be used",
        "The other scenes go on, and so does a copy in memory. The message names the file and what mends it.",
    )
    LOSING = (
        Level.WARN,
        f"more than {MISSED_SHARE:.0%} of the images of the last {RECENT_S:g} s were sent and did not arrive",
        'Results come later and more seldom than they could. See "Images that get lost".',
    )
    GAVE_WAY = (
        Level.WARN,
        "the node works at a lower rate, so that results of this process keep their `latency_budget_s`",
        "Results come more seldom. The message says for whom. Set lower `max_rate_hz`, or take a faster machine.",
    )
    WAITING = (Level.OK, "active for less than two seconds, and no image yet", "Nothing yet.")
    IDLE = (Level.OK, "nobody subscribes to an output, and `lazy` is set", "Nothing is computed until someone does.")
    INACTIVE = (Level.OK, "the lifecycle state is not active", "Nothing is computed.")
    RUNNING = (Level.OK, "none of the above", "Results are published.")

    def __init__(self, level: Level, when: str, meaning: str):
        self.level, self.when, self.meaning = level, when, meaning


@dataclass(frozen=True)
class Health:
    """What is known about the node besides its frames."""

    state: str = "active"  # unconfigured, inactive or active
    failure: str = ""  # why the last transition failed
    demanded: bool = True  # someone listens, or `lazy` is off
    active_s: float = math.inf  # since the input was opened
    clock_stands: bool = False
    incompatible_qos: str = ""  # the topics and policies
    input_topic: str = "image"
    gave_way: str = ""  # for which latency budget it works more slowly
    input_qos: str = ""  # what the subscription asks for
    published: str = ""  # what is published for an input that does not come
    inconsistency: str = ""  # what the capability found wrong
    shortfall: str = ""  # what its results lack
    scene_problem: str = ""  # of a folder of scenes, what is wrong with one of them
    scene_conflict: str = ""  # and how two of them contradict each other
    resets: int = 0  # since the process started
    last_reset: str = ""  # why
    left_behind: bool = False  # an inference that was asked to stop has not ended
    memory: Shortage | None = None  # what the node does for lack of it


def assess(health: Health, frames: Snapshot) -> tuple[Condition, str]:
    """The worst condition that holds, and one sentence about it."""
    if health.failure:
        return Condition.FAILED, health.failure
    if health.state != "active":
        return Condition.INACTIVE, health.state + ("; an inference still runs" if health.left_behind else "")
    if health.incompatible_qos and not health.demanded:
        return Condition.QOS, f"incompatible QoS: {health.incompatible_qos}"
    if not health.demanded:
        return Condition.IDLE, "nobody listens"
    if health.memory is not None and health.memory.severe:
        return Condition.OUT_OF_MEMORY, health.memory.sentence

    patience_s = NO_PERIOD_S
    if not math.isnan(frames.input_period_s):
        patience_s = max(2 * frames.input_period_s, MIN_WATCHDOG_S)
    silent_s = health.active_s if frames.input_age_s is None else frames.input_age_s
    if silent_s > patience_s:
        if health.clock_stands:
            return Condition.CLOCK_STANDS, "the simulated clock stands still"
        if frames.input_age_s is None and health.incompatible_qos:
            return Condition.QOS, f"no image: incompatible QoS: {health.incompatible_qos}"
        return Condition.INPUT_STOPPED, _with(f"no image on {health.input_topic} for {silent_s:.1f} s", health)
    if frames.busy_s is not None:
        usual_s = NO_INFERENCE_S if math.isnan(frames.inference_p99_s) else frames.inference_p99_s
        if frames.busy_s > usual_s + patience_s:
            return Condition.INFERENCE_STALLED, f"one frame has taken {frames.busy_s:.1f} s so far"
    if _dropped_lately(frames, Reason.UNCALIBRATED, Reason.NO_CAMERA_INFO):
        return Condition.UNCALIBRATED, _with(f"uncalibrated: {frames.last_rejection}", health)
    if health.memory is not None:
        return Condition.MEMORY, health.memory.sentence
    if health.incompatible_qos:
        return Condition.QOS, f"incompatible QoS: {health.incompatible_qos}"
    if _dropped_lately(frames, *Reason):
        return Condition.REJECTING, f"frames are dropped: {frames.last_rejection}"
    lost_s = health.active_s if frames.good_age_s is None else frames.good_age_s
    if frames.processed and lost_s > LOST_S:
        return Condition.NO_RESULT, f"no good result for {lost_s:.1f} s: {frames.last_verdict}"
    if health.inconsistency:
        return Condition.CAMERA_DISAGREES, health.inconsistency
    if health.shortfall:
        return Condition.SHORTFALL, health.shortfall
    if health.scene_conflict:
        return Condition.SCENE_DISAGREES, health.scene_conflict
    if health.scene_problem:
        return Condition.SCENE_UNUSABLE, health.scene_problem
    sent_hz = frames.input_hz + frames.lost_hz
    if frames.lost_hz > MISSED_SHARE * sent_hz:
        lost = f"{frames.lost_hz / sent_hz:.0%} of the images on {health.input_topic} do not arrive"
        return Condition.LOSING, f"{lost} (subscription: {health.input_qos}); let their publisher offer reliable"
    if health.gave_way:
        return Condition.GAVE_WAY, health.gave_way
    if frames.input_age_s is None:
        return Condition.WAITING, f"waiting for images on {health.input_topic}"
    return Condition.RUNNING, frames.last_verdict or "running"


def _with(sentence: str, health: Health) -> str:
    return f"{sentence}; {health.published}" if health.published else sentence


def _dropped_lately(frames: Snapshot, *reasons: Reason) -> bool:
    return any(frames.rejection_age_s.get(reason.value, math.inf) < RECENT_S for reason in reasons)


def status_values(health: Health, frames: Snapshot, extra: dict[str, str]) -> dict[str, str]:
    """The values as the words of a diagnostic status, in reading order."""

    def number(value: float | None, form: str) -> str:
        return "none" if value is None or math.isnan(value) else format(value, form)

    values = {
        "state": health.state,
        "input rate (Hz)": number(frames.input_hz, ".2f"),
        "output rate (Hz)": number(frames.output_hz, ".2f"),
        "latency p50 (ms)": number(1e3 * frames.latency_p50_s, ".1f"),
        "latency p99 (ms)": number(1e3 * frames.latency_p99_s, ".1f"),
        "age of results p50 (ms)": number(1e3 * frames.age_p50_s, ".1f"),
        "age of results p99 (ms)": number(1e3 * frames.age_p99_s, ".1f"),
        "received": str(frames.received),
        "lost on the way": str(frames.lost),
        "processed": str(frames.processed),
        "replaced by a newer frame": str(frames.replaced),
        "left out by max_rate_hz": str(frames.skipped),
        "left out for a latency budget": str(frames.given_way),
        "left out as too old": str(frames.stale),
        "rejected": str(sum(frames.rejected.values())),
    }
    values |= {f"rejected: {reason}": str(count) for reason, count in sorted(frames.rejected.items())}
    return values | {
        "good share": number(frames.good_share, ".3f"),
        "time since last good (s)": number(frames.good_age_s, ".2f"),
        "last verdict": frames.last_verdict or "none",
        "last rejection": frames.last_rejection or "none",
        "resets": str(health.resets),
        "last reset": health.last_reset or "none",
        "incompatible QoS": health.incompatible_qos or "none",
        "memory": "enough" if health.memory is None else health.memory.sentence,
        **extra,
    }


def status_message(name: str, hardware_id: str, health: Health, frames: Snapshot, extra: dict[str, str]):
    """A diagnostic_msgs/DiagnosticStatus of this moment."""
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    condition, message = assess(health, frames)
    return DiagnosticStatus(
        level=bytes([condition.level]),
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in status_values(health, frames, extra).items()],
    )


def condition_table() -> str:
    """Every condition as a Markdown table."""
    rows = ["| diagnostic | level | raised when | meaning |", "|---|---|---|---|"]
    rows += [f"| `{c.name}` | {c.level.name} | {c.when} | {c.meaning} |" for c in Condition]
    return "\n".join(rows)
