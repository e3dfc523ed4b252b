"""What follows from a graph that was seen: nodes, QoS, cameras and the scene, on graphs made by hand."""

import math
from dataclasses import replace
from itertools import product

import pytest
from doctor_snapshots import (
    IMAGE,
    INFO,
    INFO_TOPIC,
    NODE,
    K,
    messages,
    sound_graph,
    sound_node,
    with_node,
    with_parameters,
    with_stream,
    with_topic,
)
from geo_training.evaluation.doctor.findings import diagnose
from geo_training.evaluation.doctor.findings.qos import LARGE_BYTES, incompatibility, lost_images
from geo_training.evaluation.doctor.snapshot import (
    CALIBRATION,
    IMAGE_KINDS,
    INFO_KIND,
    Endpoint,
    SceneFile,
    Snapshot,
    Status,
    Stream,
    Topic,
)
from geo_training.evaluation.doctor.taken import image_topic

LENS = (-0.2, 0.05, 0.0, 0.0, 0.0)


def found(snapshot: Snapshot) -> dict[str, str]:
    """The findings by code: what and where, one of each."""
    return {finding.code: f"{finding.where}: {finding.what}" for finding in diagnose(snapshot)}


def test_a_sound_graph_has_none():
    assert diagnose(sound_graph()) == []


def test_an_empty_graph():
    assert set(found(Snapshot(10.0))) == {"no-node"}


def test_errors_come_first_and_each_once():
    findings = diagnose(with_stream(with_node(sound_graph(), state="inactive"), IMAGE, frame_id="sensor"))
    assert [finding.severity.value for finding in findings] == ["error", "warning", "warning"]
    assert len(set(findings)) == len(findings)
    assert findings[0].line.startswith("error   /localization_node: it is inactive, so nothing is computed. `ros2 life")
    assert findings[0].line.endswith("[node-not-active]")


# Nodes and silence.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": ""}, "node-mute"),
        ({"state": "unconfigured"}, "node-not-active"),
        ({"state": "inactive"}, "node-not-active"),
        ({"statuses": ()}, "diagnostics-silent"),
        ({"statuses": (Status(1, "no good result for 9 s"),)}, "node-unwell"),
        ({"statuses": (Status(2, "no image on /camera/image_raw for 9 s"),)}, "node-unwell"),
    ],
)
def test_a_node_that_does_not_do_its_work(changes, code):
    assert set(found(with_node(sound_graph(), **changes))) == {code}


def test_a_failed_node_says_why():
    status = Status(2, "cannot configure: no scene is given")
    seen = found(with_node(sound_graph(), state="unconfigured", statuses=(status,)))
    assert seen["node-not-active"].endswith("nothing is computed: cannot configure: no scene is given")


def test_a_short_look_does_not_miss_diagnostics():
    assert diagnose(replace(with_node(sound_graph(), statuses=()), seconds=2.0)) == []


def test_images_that_nobody_publishes_name_where_others_are():
    nobody = Topic(IMAGE, (), (Endpoint(NODE, IMAGE_KINDS[0]),))
    front = Topic("/front/image_raw", (Endpoint("/front", IMAGE_KINDS[0]),))
    snapshot = with_topic(with_topic(with_stream(sound_graph(), IMAGE, messages=()), nobody), front)
    finding = next(finding for finding in diagnose(snapshot) if finding.code == "image-missing")
    assert finding.mend == "remap image to where they are: /front/image_raw"


@pytest.mark.parametrize(("topic", "severity"), [(IMAGE, "error"), (INFO_TOPIC, "error"), ("/odometry", "warning")])
def test_a_topic_on_which_nothing_comes(topic, severity):
    odometry = Topic(
        "/odometry", (Endpoint("/wheels", "nav_msgs/msg/Odometry"),), (Endpoint(NODE, "nav_msgs/msg/Odometry"),)
    )
    snapshot = with_topic(sound_graph(), odometry)
    snapshot = replace(snapshot, streams=(*snapshot.streams, Stream("/odometry", "nav_msgs/msg/Odometry", messages())))
    assert diagnose(snapshot) == []
    findings = diagnose(with_stream(snapshot, topic, messages=(), info=None))
    assert [(f.code, f.where, f.severity.value) for f in findings] == [("topic-silent", topic, severity)]


# Quality of service.


def test_incompatible_policies_are_those_of_dds():
    rclpy_qos = pytest.importorskip("rclpy.qos")
    from rclpy.duration import Duration

    def profile(end: Endpoint):
        return rclpy_qos.QoSProfile(
            depth=1,
            reliability=rclpy_qos.ReliabilityPolicy[("BEST_EFFORT", "RELIABLE")[end.reliable]],
            durability=rclpy_qos.DurabilityPolicy[("VOLATILE", "TRANSIENT_LOCAL")[end.latched]],
            liveliness=rclpy_qos.LivelinessPolicy[("AUTOMATIC", "MANUAL_BY_TOPIC")[end.manual_liveliness]],
            deadline=Duration(seconds=0 if math.isinf(end.deadline_s) else end.deadline_s),
            liveliness_lease_duration=Duration(seconds=0 if math.isinf(end.lease_s) else end.lease_s),
        )

    values = product((False, True), (False, True), (math.inf, 0.5), (math.inf, 2.0), (False, True))
    ends = [Endpoint("/node", "kind", *value) for value in values]
    refused = 0
    for publisher, subscriber in product(ends, ends):
        compatible, _ = rclpy_qos.qos_check_compatible(profile(publisher), profile(subscriber))
        assert (compatible != rclpy_qos.QoSCompatibility.ERROR) == (not incompatibility(publisher, subscriber))
        refused += bool(incompatibility(publisher, subscriber))
    assert 0 < refused < len(ends) ** 2


def test_a_refused_connection_is_named_from_either_side():
    kind = "geometry_msgs/msg/PoseWithCovarianceStamped"
    latecomer = Topic("/localization_node/pose", (Endpoint(NODE, kind),), (Endpoint("/ekf", kind, latched=True),))
    assert (
        "/localization_node and /ekf are not connected"
        in found(with_topic(sound_graph(), latecomer))["qos-incompatible"]
    )
    strict = Topic(IMAGE, (Endpoint("/camera", IMAGE_KINDS[0], reliable=False),), (Endpoint(NODE, IMAGE_KINDS[0]),))
    assert "best effort is offered" in found(with_topic(sound_graph(), strict))["qos-incompatible"]
    # What strangers have between them is theirs.
    foreign = Topic("/scan", (Endpoint("/a", "k", reliable=False),), (Endpoint("/b", "k"),))
    assert diagnose(with_topic(sound_graph(), foreign)) == []


def test_a_second_subscription_for_what_is_latched_is_no_fault():
    both = (Endpoint(NODE, INFO_KIND, reliable=False), Endpoint(NODE, INFO_KIND, latched=True))
    assert diagnose(with_topic(sound_graph(), Topic(INFO_TOPIC, (Endpoint("/camera", INFO_KIND),), both))) == []


def test_a_refusal_that_only_the_node_saw():
    status = Status(1, "incompatible QoS", {"incompatible QoS": "/gone/image (RELIABILITY)"})
    assert "/gone/image (RELIABILITY)" in found(with_node(sound_graph(), statuses=(status,)))["qos-incompatible"]


def test_a_topic_of_another_type():
    wrong = Topic(IMAGE, (Endpoint("/camera", IMAGE_KINDS[1]),), (Endpoint(NODE, IMAGE_KINDS[0]),))
    finding = next(f for f in diagnose(with_topic(sound_graph(), wrong)) if f.code == "type-differs")
    assert finding.mend == "set image_transport to compressed"
    assert finding.severity.value == "error"


def test_large_raw_images_by_best_effort():
    assert diagnose(with_stream(sound_graph(), IMAGE, size_bytes=LARGE_BYTES - 1)) == []
    large = with_stream(sound_graph(), IMAGE, size_bytes=LARGE_BYTES)
    finding = diagnose(large)[0]
    assert (finding.code, finding.where) == ("images-may-be-lost", IMAGE)
    assert finding.mend.startswith("let the node ask for reliable images")  # the driver offers them
    reliable = Topic(IMAGE, (Endpoint("/camera", IMAGE_KINDS[0]),), (Endpoint(NODE, IMAGE_KINDS[0]),))
    assert diagnose(with_topic(large, reliable)) == []


def test_images_that_did_not_reach_the_node_are_counted():
    # Thirty were published between the first and the last count, ten came.
    statuses = tuple(Status(0, "", {"received": str(5 * n)}, messages()[10 * n].wall_ns) for n in (0, 1, 2, 3))
    assert lost_images(sound_node(statuses=statuses), sound_graph().stream(IMAGE)) == (15, 30)
    assert "15 of 30 images did not reach" in found(with_node(sound_graph(), statuses=statuses))["images-lost"]
    # A count from before any image was heard says nothing of what was published then.
    earlier = (Status(0, "", {"received": "0"}, messages()[0].wall_ns - 10**9), *statuses)
    assert lost_images(sound_node(statuses=earlier), sound_graph().stream(IMAGE)) == (15, 30)
    # A reset counts anew; then nothing can be said.
    reset = tuple(Status(0, "", {"received": str(9 - n)}, messages()[10 * n].wall_ns) for n in (0, 1, 2, 3))
    assert lost_images(sound_node(statuses=reset), sound_graph().stream(IMAGE)) is None
    unnumbered = tuple(replace(message, number=None) for message in messages())
    assert lost_images(sound_node(statuses=statuses), replace(sound_graph().stream(IMAGE), messages=unnumbered)) is None


# Cameras.


def test_no_camera_info():
    nobody = with_topic(sound_graph(), Topic(INFO_TOPIC, (), (Endpoint(NODE, INFO_KIND),)))
    nobody = replace(nobody, streams=nobody.streams[:1])
    finding = diagnose(nobody)[0]
    assert (finding.code, finding.where) == ("camera-info-missing", INFO_TOPIC)
    assert "start calibration_node" in finding.mend
    elsewhere = with_topic(nobody, Topic("/front/camera_info", (Endpoint("/front", INFO_KIND),)))
    assert diagnose(elsewhere)[0].mend.endswith("/front/camera_info")
    assert diagnose(with_parameters(nobody, camera__k=list(K))) == []  # given by parameters
    assert diagnose(with_node(nobody, capability=CALIBRATION)) == []  # which works without


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"info": replace(INFO, k=(0.0,) * 9)}, "camera-uncalibrated", "error"),
        ({"info": replace(INFO, width=1280, height=720), "frame_id": "rear"}, "camera-info-foreign", "error"),
        ({"frame_id": "rear"}, "camera-info-foreign", "warning"),
        ({"info": replace(INFO, width=320, height=320)}, "camera-info-size", "error"),
        ({"info": replace(INFO, distortion_model="mystery", d=LENS)}, "camera-info-bad", "error"),
        ({"messages": messages(shift_s=0.003)}, "camera-info-stamps", "warning"),
    ],
)
def test_camera_info_that_is_not_of_these_images(changes, code, severity):
    findings = diagnose(with_stream(sound_graph(), INFO_TOPIC, **changes))
    assert [(f.code, f.where, f.severity.value) for f in findings] == [(code, INFO_TOPIC, severity)]


def test_camera_info_of_another_size_is_scaled_and_told():
    twice = replace(INFO, width=640, height=448, k=tuple(2 * value for value in K[:8]) + (1.0,))
    assert set(found(with_stream(sound_graph(), INFO_TOPIC, info=twice))) == {"camera-info-size"}


def test_a_latched_camera_info_need_not_match_stamps():
    topic = Topic(INFO_TOPIC, (Endpoint("/camera", INFO_KIND, latched=True),), (Endpoint(NODE, INFO_KIND),))
    assert diagnose(with_topic(with_stream(sound_graph(), INFO_TOPIC, messages=messages(shift_s=-900.0)), topic)) == []


def rectified_graph(**changes) -> Snapshot:
    """The images are on image_rect, and CameraInfo is of the raw lens."""
    name, snapshot = "/camera/image_rect", sound_graph()
    topics = tuple(replace(topic, name=name) if topic.name == IMAGE else topic for topic in snapshot.topics)
    streams = tuple(replace(one, topic=name) if one.topic == IMAGE else one for one in snapshot.streams)
    return with_stream(
        replace(snapshot, topics=topics, streams=streams), INFO_TOPIC, info=replace(INFO, d=LENS, **changes)
    )


def test_rectified_images_and_the_raw_lens():
    assert diagnose(rectified_graph()) == []  # P holds
    assert "P of their CameraInfo is zero" in found(rectified_graph(p=(0.0,) * 12))["rectified-raw-k"]
    assert "rectified: false" in found(with_parameters(rectified_graph(), rectified="false"))["rectified-raw-k"]
    assert "rectified-raw-k" in found(with_parameters(rectified_graph(), rectified=False))  # as YAML has it
    by_hand = with_parameters(rectified_graph(), camera__k=list(K), camera__d=list(LENS))
    assert "camera.d gives /localization_node a lens" in found(by_hand)["rectified-raw-k"]
    raw = with_stream(sound_graph(), INFO_TOPIC, info=replace(INFO, d=LENS))
    assert diagnose(raw) == []
    assert "raw by their name" in found(with_parameters(raw, rectified="true"))["rectified-raw-k"]


def test_a_resting_node_is_judged_by_the_images_beside_its_camera_info():
    resting = with_topic(sound_graph(), Topic(IMAGE, (Endpoint("/camera", IMAGE_KINDS[0]),)))
    assert image_topic(resting, resting.ours[0]) == IMAGE
    second = with_topic(resting, Topic("/camera/image_mono", (Endpoint("/mono", IMAGE_KINDS[0]),)))
    assert image_topic(second, second.ours[0]) == ""  # which of them, nobody knows
    compressed = with_parameters(
        with_topic(second, Topic(f"{IMAGE}/compressed", (Endpoint("/camera", IMAGE_KINDS[1]),))),
        image_transport="compressed",
    )
    assert image_topic(compressed, compressed.ours[0]) == f"{IMAGE}/compressed"


# The scene.


@pytest.mark.parametrize(
    ("mapping", "network_focal_px", "words"),
    [
        ({"fx": 420.0}, 210.0, "mapped with another camera"),
        ({"height": 320.0}, 210.0, "mapped with another camera"),
        ({}, 400.0, "enlarged and blurred"),
    ],
)
def test_a_scene_made_for_another_camera(mapping, network_focal_px, words):
    mapped = {"width": 320.0, "height": 224.0, "fx": 210.0, "fy": 210.0} | mapping
    snapshot = replace(sound_graph(), scenes={NODE: SceneFile(mapped, network_focal_px)})
    assert words in found(snapshot)["scene-other-camera"]


def test_a_scene_of_the_same_lens_at_another_size_is_fine():
    mapped = {"width": 640.0, "height": 448.0, "fx": 420.0, "fy": 420.0}
    assert diagnose(replace(sound_graph(), scenes={NODE: SceneFile(mapped, 210.0)})) == []
    assert diagnose(replace(sound_graph(), scenes={NODE: SceneFile(problem="it is elsewhere")})) == []


def test_nodes_of_one_process_share_a_subscription_to_images():
    """The other node has none of its own; its diagnostics say that it takes them."""
    other = "/calibration_node"
    mine = sound_graph()
    statuses = tuple(
        replace(status, values=status.values | {"image topic": IMAGE}) for status in mine.nodes[0].statuses
    )
    shared = replace(mine.nodes[0], name=other, statuses=statuses)
    snapshot = replace(mine, nodes=(*mine.nodes, shared))
    assert [(topic.name, end.node) for topic, end in snapshot.inputs(shared)] == [(IMAGE, NODE)]
    assert diagnose(snapshot) == []
    silent = with_stream(snapshot, IMAGE, messages=())
    assert {finding.where for finding in diagnose(silent) if finding.code == "topic-silent"} == {IMAGE}
    nobody = with_topic(snapshot, Topic(IMAGE, (), (Endpoint(NODE, IMAGE_KINDS[0]),)))
    waiting = [finding.what for finding in diagnose(nobody) if finding.code == "image-missing"]
    assert [name for name in (NODE, other) if any(sentence.startswith(name) for sentence in waiting)] == [NODE, other]
