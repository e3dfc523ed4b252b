"""CameraInfo: whether it comes, whether it is this camera's, and whether K or P holds for the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace

from geo_perception.errors import InputError
from geo_perception.geometry import SizeMismatch
from geo_perception.ros.camera_info import UncalibratedCamera, has_lens
from geo_perception.ros.camera_source import ImageCamera, OtherCamera, camera_of_image
from geo_perception.ros.topics import is_rectified, without_transport
from geo_training.evaluation.doctor.finding import Finding, error, warning
from geo_training.evaluation.doctor.snapshot import CALIBRATION, INFO_KIND, NodeSeen, Snapshot, Stream
from geo_training.evaluation.doctor.taken import image_topic, images_of, info_topic, infos_of

FEWEST_STAMPS = 3
_NAMED = 4
_FIRST_OF = {
    UncalibratedCamera: "camera-uncalibrated", OtherCamera: "camera-info-foreign", SizeMismatch: "camera-info-size",
}  # fmt: skip


def camera_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """CameraInfo that is missing, foreign or of no use, and lenses that were taken off already."""
    for node in snapshot.ours:
        given = any(node.parameters.get("camera.k", ()))
        if not given:
            yield from _missing(snapshot, node)
            yield from _contents(snapshot, node)
        yield from _lens(snapshot, node, given)


def rectified_parameter(node: NodeSeen) -> str:
    return str(node.parameters.get("rectified", "auto")).lower()


def camera_of(snapshot: Snapshot, node: NodeSeen) -> ImageCamera | None:
    """The camera that a node has for its images, for their size; None where it cannot be told. Raises InputError, as
    the node does inside."""
    images, infos = images_of(snapshot, node), infos_of(snapshot, node)
    if images is None or infos is None or not images.width_px:
        return None
    rectified = is_rectified(images.topic, rectified_parameter(node))
    return camera_of_image(_message(infos), rectified, images.frame_id, images.width_px, images.height_px)


def _message(infos: Stream) -> SimpleNamespace:
    fields = {name: value for name, value in vars(infos.info).items() if name != "roi"}
    roi = SimpleNamespace(**asdict(infos.info.roi))
    return SimpleNamespace(**fields, roi=roi, header=SimpleNamespace(frame_id=infos.frame_id))


def _missing(snapshot: Snapshot, node: NodeSeen) -> Iterator[Finding]:
    name = info_topic(snapshot, node)
    if not name or node.capability == CALIBRATION:
        return
    if any(publisher.kind == INFO_KIND for publisher in snapshot.topic(name).publishers):
        return  # if nothing comes on it, that is said of every silent topic
    elsewhere = [
        topic.name for topic in snapshot.topics if any(publisher.kind == INFO_KIND for publisher in topic.publishers)
    ]
    yield error(
        "camera-info-missing", name, f"nobody publishes the CameraInfo that {node.name} needs",
        f"remap camera_info to the one of this camera: {', '.join(elsewhere[:_NAMED])}" if elsewhere
        else "let the driver publish it, start calibration_node, or give the parameters camera.k, camera.width_px and "
        "camera.height_px",
    )  # fmt: skip


def _contents(snapshot: Snapshot, node: NodeSeen) -> Iterator[Finding]:
    images, infos = images_of(snapshot, node), infos_of(snapshot, node)
    if infos is None or node.parameters.get("driver_camera") == "ignored":
        return
    where = infos.topic
    try:
        found = camera_of(snapshot, node)
    except InputError as problem:
        what, _, mend = str(problem).partition("; ")
        if isinstance(problem, UncalibratedCamera) and node.capability == CALIBRATION:
            return  # finding that out is what it is for
        yield error(
            _FIRST_OF.get(type(problem), "camera-info-bad"), where, f"for {node.name}: {what}",
            mend or "give the CameraInfo of this camera, at the size of its images",
        )  # fmt: skip
        return
    doubts = found.inconsistencies if found is not None else {}
    if "frame" in doubts:
        yield warning(
            "camera-info-foreign", where, f"for {node.name}: {doubts['frame']}",
            "remap camera_info to this camera's, or let the driver give both one frame_id",
        )  # fmt: skip
    if "size" in doubts:
        yield warning(
            "camera-info-size", where, f"for {node.name}: {doubts['size']}",
            "let the driver, or what resizes the images, publish the CameraInfo of their size; a crop needs its region",
        )  # fmt: skip
    if "projection" in doubts:
        yield error(
            "rectified-raw-k", where, f"for {node.name}: {doubts['projection'].partition(';')[0]}",
            "calibrate the camera, so that P is filled in",
        )  # fmt: skip
    if images is not None and not _stamps_match(images, infos) and not _latched(snapshot, infos):
        yield warning(
            "camera-info-stamps", where,
            f"none of its {len(infos.messages)} stamps is that of one of the {len(images.messages)} images on "
            f"{images.topic}, so {node.name} takes the newest",
            "let the driver stamp an image and its CameraInfo alike, or remap camera_info to this camera's",
        )  # fmt: skip


def _stamps_match(images: Stream, infos: Stream) -> bool:
    """Whether any do, or too few came to tell."""
    if min(len(images.messages), len(infos.messages)) < FEWEST_STAMPS:
        return True
    return bool({message.stamp_ns for message in images.messages} & {message.stamp_ns for message in infos.messages})


def _latched(snapshot: Snapshot, infos: Stream) -> bool:
    publishers = [end for end in snapshot.topic(infos.topic).publishers if end.kind == INFO_KIND]
    return bool(publishers) and all(publisher.latched for publisher in publishers)


def _lens(snapshot: Snapshot, node: NodeSeen, given: bool) -> Iterator[Finding]:
    """A lens that would be taken off twice, or not at all."""
    name, said = image_topic(snapshot, node), rectified_parameter(node)
    infos = infos_of(snapshot, node)
    by_name = bool(name) and is_rectified(name)
    if given:
        if by_name and any(node.parameters.get("camera.d", ())):
            yield error(
                "rectified-raw-k", name,
                f"the images are rectified by their name, and camera.d gives {node.name} a lens",
                "give K of the rectified images and no camera.d, or remap image to the raw images",
            )  # fmt: skip
        return
    if infos is None or not name or not has_lens(_message(infos)):
        return
    if by_name and said == "false":
        yield error(
            "rectified-raw-k", name,
            f"the images are rectified by their name, and {node.name} uses K and D of the raw lens (rectified: false)",
            "set rectified to auto, or remap image to the raw images",
        )  # fmt: skip
    elif said == "true" and "raw" in without_transport(name).rpartition("/")[2].lower():
        yield warning(
            "rectified-raw-k", name,
            f"the images are raw by their name, CameraInfo has a lens, and {node.name} takes them as rectified",
            "set rectified to auto, or remap image to the rectified images",
        )  # fmt: skip
