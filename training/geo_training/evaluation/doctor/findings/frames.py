"""Frames: optical ones (REP 103), and the transforms that the nodes' parameters ask for (REP 105)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from geo_perception.geometry import invert_pose
from geo_perception.ros.camera_source import bare_frame
from geo_training.evaluation.doctor.finding import Finding, error, warning
from geo_training.evaluation.doctor.snapshot import CALIBRATION, LOCALIZATION, NodeSeen, Snapshot, Transform
from geo_training.evaluation.doctor.taken import images_of

UP = 0.8  # of a unit vector: within 37 degrees of straight up
_BODIES = ("base_link", "base_footprint", "odom", "map")


class Tree:
    """The transforms by child; where a child has several parents, the newest."""

    def __init__(self, transforms: tuple[Transform, ...]):
        self.by_child: dict[str, Transform] = {}
        self.parents: dict[str, set[str]] = defaultdict(set)
        for transform in sorted(transforms, key=lambda one: one.newest.wall_ns):
            self.by_child[transform.child] = transform
            self.parents[transform.child].add(transform.parent)
        self.frames = set(self.by_child) | {transform.parent for transform in transforms}

    def chain(self, frame: str) -> list[str]:
        """The frame, its parent, and on to the root; ends at a loop."""
        chain = [frame]
        while chain[-1] in self.by_child and self.by_child[chain[-1]].parent not in chain:
            chain.append(self.by_child[chain[-1]].parent)
        return chain

    def connected(self, one: str, other: str) -> bool:
        return bool(set(self.chain(one)) & set(self.chain(other)))

    def lookup(self, target: str, source: str) -> np.ndarray:
        """T_target_source of two connected frames."""
        return invert_pose(self._to_root(target)) @ self._to_root(source)

    def _to_root(self, frame: str) -> np.ndarray:
        T_root_frame = np.eye(4)
        for child in self.chain(frame)[:-1]:
            T_root_frame = self.by_child[child].T_parent_child @ T_root_frame
        return T_root_frame


def frame_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Frame ids that are not optical, transforms that are missing, frames with two parents."""
    tree = Tree(snapshot.transforms or ())
    for node in snapshot.ours:
        images = images_of(snapshot, node)
        camera_frame = bare_frame(images.frame_id) if images is not None else ""
        if images is not None:
            yield from _optical(tree, node, images.topic, camera_frame)
        if snapshot.transforms is None:
            yield from _unread(snapshot, node)
        else:
            yield from _missing(snapshot, tree, node, camera_frame)
    for child, parents in tree.parents.items():
        if len(parents) > 1:
            yield error(
                "tf-two-parents", child, f"its transform is sent by two parents: {' and '.join(sorted(parents))}",
                "let one node send each (REP 105: with odometry use tf_mode map_odom, and no AMCL beside it)",
            )  # fmt: skip


def _optical(tree: Tree, node: NodeSeen, topic: str, frame: str) -> Iterator[Finding]:
    if not frame:
        yield error(
            "frame-not-optical", topic, "its images have no frame_id",
            "let the driver name the camera's optical frame (x right, y down, z forward)",
        )  # fmt: skip
        return
    named = "optical" in frame.lower()
    body = _body(tree, node, frame)
    if body:
        R_body_camera = tree.lookup(body, frame)[:3, :3]
        if R_body_camera[2, 2] > UP:
            yield (warning if named else error)(
                "frame-not-optical", topic,
                f"its images are of frame '{frame}', whose z axis points up in {body} by TF"
                + (" (right only for a camera that looks up)" if named else ": a body frame, not an optical one"),
                "turn the transform, so that z looks along the camera and y down" if named
                else "let the driver name the optical frame (z forward, y down), and publish its transform",
            )  # fmt: skip
            return
        if -R_body_camera[2, 1] > 0.5:  # y looks down, whatever the name
            return
    if not named:
        yield warning(
            "frame-not-optical", topic,
            f"its images are of frame '{frame}', which does not sound like an optical frame",
            "let the driver name the frame with z forward and y down, `..._optical_frame` by REP 103",
        )  # fmt: skip


def _body(tree: Tree, node: NodeSeen, frame: str) -> str:
    """A frame with z up above the camera's, by REP 103; empty where TF has none."""
    above = tree.chain(frame)[1:]
    wanted = (bare_frame(node.parameters.get("base_frame", "")), *_BODIES)
    known = [name for name in wanted if name in above]
    plain = [name for name in above if "optical" not in name.lower()]
    return (known or plain[-1:] or [""])[0]


def _unread(snapshot: Snapshot, node: NodeSeen) -> Iterator[Finding]:
    """TF cannot be read here; whether anybody else sends any can."""
    if not _needs_tf(node):
        return
    senders = {end.node for name in ("/tf", "/tf_static") for end in snapshot.topic(name).publishers}
    if not senders - {node.name}:
        yield error(
            "tf-missing", node.name, "its parameters need TF, and nobody else publishes /tf or /tf_static",
            "start robot_state_publisher for the camera's place on the robot, and odometry for tf_mode map_odom",
        )  # fmt: skip


def _needs_tf(node: NodeSeen) -> bool:
    given = node.parameters
    return node.capability == LOCALIZATION and (given.get("tf_mode") == "map_odom" or bool(given.get("base_frame")))


def _missing(snapshot: Snapshot, tree: Tree, node: NodeSeen, camera_frame: str) -> Iterator[Finding]:
    given = node.parameters
    frame = bare_frame(given.get("attitude_frame", ""))
    if node.capability == CALIBRATION and frame and frame not in tree.frames:
        yield warning(
            "tf-missing", frame, f"{node.name} gives its attitude for this frame, which TF does not know",
            "publish its transform (robot_state_publisher, static_transform_publisher), or leave out attitude_frame",
        )  # fmt: skip
    if node.capability != LOCALIZATION:
        return
    mode, base, odom = (bare_frame(given.get(name, "")) for name in ("tf_mode", "base_frame", "odom_frame"))
    if base and camera_frame and base != camera_frame:
        yield from _gap(tree, node, base, camera_frame, f"base_frame {base}")
    if mode != "map_odom":
        return
    if camera_frame:
        yield from _gap(tree, node, odom, camera_frame, f"odom_frame {odom}, for tf_mode map_odom")
    sent = odom in tree.by_child and (not given.get("map_frame") or given["map_frame"] in tree.parents[odom])
    if not sent and node.state == "active":
        why = f" ({node.status.message})" if node.status is not None else ""
        yield warning(
            "tf-map-odom", odom, f"{node.name} sends no transform from the map to {odom} yet{why}",
            "it is sent once it is localized and odometry is known; mend what the node says of itself",
        )  # fmt: skip


def _gap(tree: Tree, node: NodeSeen, body: str, camera: str, why: str) -> Iterator[Finding]:
    """The transform between a frame of the robot and its camera, if TF has none."""
    if tree.connected(body, camera):
        return
    what = f"{node.name} needs the transform from {body} to {camera} ({why})"
    if camera not in tree.frames:
        yield error(
            "tf-missing", camera, f"{what}, and nobody publishes where {camera} is",
            "start robot_state_publisher with the camera in the URDF, or a static_transform_publisher",
        )  # fmt: skip
    elif body not in tree.frames:
        yield error(
            "tf-missing", body, f"{what}, and nobody publishes {body}",
            "start odometry (wheel odometry, robot_localization), or name the frame that there is",
        )  # fmt: skip
    else:
        roots = tree.chain(body)[-1], tree.chain(camera)[-1]
        yield error(
            "tf-missing", body, f"{what}, and they are in two trees, below {roots[0]} and {roots[1]}",
            f"publish the transform between the robot and {roots[1]}, or from {roots[0]} to the robot (odometry)",
        )  # fmt: skip
