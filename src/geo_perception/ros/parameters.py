"""Node parameters: declared once as data, with a description, a range and when they may change. From that come the
declaration, the check of every later change, and the table in docs/nodes.md."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from geo_perception.errors import InputError
from geo_perception.ros.bit_depth import IMAGE_BITS
from geo_perception.ros.topics import RECTIFIED
from geo_perception.runtime import ENGINES


class Change(Enum):
    """When a parameter may be given a new value."""

    NEVER = "read-only"
    UNCONFIGURED = "while unconfigured"
    ALWAYS = "any time"


@dataclass(frozen=True)
class Spec:
    """One parameter. `low` and `high` bound numbers (each element of a list), `choices` the allowed strings or
    numbers, `lengths` the allowed lengths of a list, `check` anything else: it returns what is wrong, or nothing.

    Where `true` and `false` are among the choices, the boolean values are taken, too: YAML and `ros2 param` make them
    of the bare words.
    """

    name: str
    default: Any
    description: str
    change: Change = Change.ALWAYS
    low: float | None = None
    high: float | None = None
    choices: tuple[str | int, ...] = ()
    lengths: tuple[int, ...] = ()
    check: Callable[[Any], str] | None = None

    def problem(self, value: Any) -> str:
        """What is wrong with the value, as one line; empty when nothing is. Its type is rclpy's to check."""
        values = list(value) if not isinstance(value, str) and isinstance(value, Sequence) else [value]
        if isinstance(value, (list, tuple)) and self.lengths and len(value) not in self.lengths:
            return f"{self.name} takes {' or '.join(map(str, self.lengths))} numbers, {len(value)} were given"
        if self.takes_booleans and isinstance(value, bool):
            value = str(value).lower()
        if self.choices and value not in self.choices:
            return f"{self.name} is '{value}'; use one of {', '.join(map(str, self.choices))}"
        for item in values:
            if isinstance(item, float) and not math.isfinite(item):
                return f"{self.name} is {item}; give a finite number"
            if self.low is not None and not self.low <= item <= self.high:
                return f"{self.name} is {item:g}; give a value from {self.low:g} to {self.high:g}"
        return self.check(value) if self.check else ""

    @property
    def takes_booleans(self) -> bool:
        return "true" in self.choices

    @property
    def constraint(self) -> str:
        """The range in words."""
        limits = []
        if self.choices:
            limits.append("one of " + ", ".join(f"`{choice}`" for choice in self.choices))
        if self.lengths:
            limits.append(f"{' or '.join(map(str, self.lengths))} numbers")
        if self.low is not None:
            limits.append(f"{self.low:g} to {self.high:g}")
        return ", ".join(limits)


def find_problem(specs: Sequence[Spec], values: Mapping[str, Any], state: str | None = None) -> str:
    """What is wrong with these new values together, as one line; empty when nothing is.

    `state` is the node's lifecycle state; with None (at start-up) everything may be given.
    """
    by_name = {spec.name: spec for spec in specs}
    for name, value in values.items():
        spec = by_name.get(name)
        if spec is None:
            continue
        if state is not None and spec.change is Change.NEVER:
            return f"{name} is read-only; give it when the node starts"
        if state not in (None, "unconfigured") and spec.change is Change.UNCONFIGURED:
            return f"{name} can change only while the node is unconfigured; deactivate and clean it up first"
        if problem := spec.problem(value):
            return problem
    return ""


def unknown_names(given: Sequence[str], specs: Sequence[Spec]) -> list[str]:
    """A sentence for each parameter that was given and that no one declares: a typing mistake, most likely."""
    names = [spec.name for spec in specs]
    sentences = []
    for name in given:
        if name in names or name.split(".")[0] in ("qos_overrides", "use_sim_time", "start_type_description_service"):
            continue
        near = difflib.get_close_matches(name, names, n=1)
        sentences.append(f"parameter '{name}' is not known and ignored" + (f"; '{near[0]}' is near" if near else ""))
    return sentences


def given_parameters(node) -> dict:
    """The parameters a node was started with, by name, declared or not. rclpy has no public way to ask for them."""
    return getattr(node, "_parameter_overrides", {})


def declare(node, specs: Sequence[Spec], state: Callable[[], str]) -> None:
    """Declares the parameters on an rclpy node, and refuses every bad change with a reason, atomically.

    Raises InputError when a value given at start-up has the wrong type or is out of range.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
    from rclpy.exceptions import ParameterException

    overrides = given_parameters(node)
    for spec in specs:
        descriptor = ParameterDescriptor(
            name=spec.name,
            description=spec.description,
            additional_constraints=f"{spec.constraint}; {spec.change.value}".removeprefix("; "),
            read_only=spec.change is Change.NEVER,
            dynamic_typing=spec.takes_booleans,
        )
        if spec.low is not None:
            if isinstance(spec.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high))]
            elif isinstance(spec.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
                ]
        # Asked before rclpy, whose own answer to a value out of range is long-winded.
        given = getattr(overrides.get(spec.name), "value", None)
        if type(given) is type(spec.default) and (problem := spec.problem(given)):
            raise InputError(f"parameter {problem}")
        try:
            value = node.declare_parameter(spec.name, spec.default, descriptor).value
        except (ParameterException, TypeError) as error:
            wanted = _type_name(spec.default)
            raise InputError(f"parameter {spec.name}: {_one_line(error)}; it takes {wanted}") from None
        if problem := find_problem(specs, {spec.name: value}):
            raise InputError(f"parameter {problem}")

    def on_set(parameters) -> SetParametersResult:
        problem = find_problem(specs, {p.name: p.value for p in parameters}, state())
        return SetParametersResult(successful=not problem, reason=problem)

    node.add_on_set_parameters_callback(on_set)


def _type_name(default: Any) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "a whole number"
    if isinstance(default, float):
        return "a decimal number (1.0, not 1)"
    if isinstance(default, str):
        return "text"
    return "a list of decimal numbers (1.0, not 1)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _as_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"{len(value)} zeros" if not any(value) else str(list(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


def parameter_table(specs: Sequence[Spec]) -> str:
    """The parameters as a Markdown table."""
    rows = ["| parameter | default | range | change | meaning |", "|---|---|---|---|---|"]
    for spec in specs:
        cells = (f"`{spec.name}`", f"`{_as_yaml(spec.default)}`", spec.constraint, spec.change.value, spec.description)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


SHARED = (
    Spec("autostart", True, "configure and activate by itself once the node spins", Change.NEVER),
    Spec("image_transport", "raw", "take images from `image` (raw) or from `image/compressed`", Change.UNCONFIGURED,
         choices=("raw", "compressed")),
    Spec("reliability", "auto", "how the images and their CameraInfo are asked for: reliable, best_effort, or auto: "
         "reliable where every publisher of the topic offers it, best effort otherwise; follows as they come and go",
         choices=("auto", "best_effort", "reliable")),
    Spec("image_queue_depth", 5, "how many images may wait for the node to take them, which never works on any but the "
         "newest; fewer lose some where they come in bursts", low=1, high=100),
    Spec("device", "auto", "where the network runs: auto, cpu, cuda, cuda:0 ...", Change.UNCONFIGURED),
    Spec("engine", "auto", "what runs the network; auto: the fastest that is installed and gives what torch gives, "
         "tried while the node is configured", Change.UNCONFIGURED, choices=ENGINES),
    Spec("lazy", True, "compute nothing, and take no images, while nobody subscribes to an output"),
    Spec("max_rate_hz", 0.0, "work on at most so many frames a second; 0 means every frame there is time for",
         low=0.0, high=1000.0),
    Spec("latency_budget_s", 0.0, "how long a result may take from the arrival of its image, for four of five results; "
         "while it takes longer, the nodes of the process work at a lower rate: depth first, localization last; 0: no "
         "limit", low=0.0, high=60.0),
    Spec("rectified", "auto", "whether the images have no lens distortion any more, so that P of their CameraInfo "
         "holds, without D; auto: as the topic's name says (image_rect, image_rect_color, /rectified/image ...)",
         Change.UNCONFIGURED, choices=RECTIFIED),
    Spec("image_bits", 0, "how many of 16 bits the camera uses, where its images have 16; 0: the fewest of 10, 12, 14 "
         "and 16 that held every image so far", Change.UNCONFIGURED, choices=IMAGE_BITS),
    Spec("camera_info_max_age_s", 10.0, "a CameraInfo that came so many seconds before the image is too old to use; "
         "0 means never, for a CameraInfo that is published only once and not latched", low=0.0, high=86400.0),
    Spec("camera.k", [0.0] * 9, "K of the camera, row-major, in pixels, used instead of CameraInfo; zeros: CameraInfo",
         Change.UNCONFIGURED, lengths=(9,)),
    Spec("camera.width_px", 0, "width of the images `camera.k` belongs to; needed with it",
         Change.UNCONFIGURED, low=0, high=65535),
    Spec("camera.height_px", 0, "height of the images `camera.k` belongs to; needed with it",
         Change.UNCONFIGURED, low=0, high=65535),
    Spec("camera.distortion_model", "plumb_bob", "lens model of `camera.d`", Change.UNCONFIGURED,
         choices=("plumb_bob", "rational_polynomial", "equidistant")),
    Spec("camera.d", [0.0] * 5, "distortion coefficients that go with `camera.k`; zeros: none", Change.UNCONFIGURED,
         lengths=(4, 5, 8, 12, 14)),
)  # fmt: skip
