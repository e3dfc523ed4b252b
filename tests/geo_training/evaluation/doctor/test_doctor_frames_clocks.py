"""What follows from a graph that was seen: frames and TF, clocks and stamps, engines and cores, made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from doctor_snapshots import (
    IMAGE,
    INFO_TOPIC,
    NODE,
    R_BODY_OPTICAL,
    WALL_NS,
    messages,
    sound_graph,
    sound_node,
    transform,
    with_node,
    with_parameters,
    with_stream,
    with_topic,
)
from geo_training.evaluation.doctor.findings import diagnose
from geo_training.evaluation.doctor.findings.frames import Tree
from geo_training.evaluation.doctor.report import as_json, looked_at
from geo_training.evaluation.doctor.snapshot import (
    CALIBRATION,
    Endpoint,
    Machine,
    Message,
    NodeSeen,
    Process,
    Snapshot,
    Status,
    Topic,
)

TF = "tf2_msgs/msg/TFMessage"
ROBOT = (
    transform("map", "odom"), transform("odom", "base_link"), transform("base_link", "camera_link", static=True),
    transform("camera_link", "camera_optical_frame", R_BODY_OPTICAL, static=True),
)  # fmt: skip


def found(snapshot: Snapshot) -> dict[str, str]:
    return {finding.code: f"{finding.where}: {finding.what}" for finding in diagnose(snapshot)}


def robot(*left_out: str, **parameters) -> Snapshot:
    """The sound graph with TF, without the transforms of these children, for tf_mode map_odom."""
    transforms = tuple(one for one in ROBOT if one.child not in left_out)
    given = {"tf_mode": "map_odom", "base_frame": "base_link"} | parameters
    return with_parameters(replace(sound_graph(), transforms=transforms), **given)


# Frames.


def test_transforms_are_chained():
    tree = Tree(ROBOT)
    assert tree.chain("camera_optical_frame") == ["camera_optical_frame", "camera_link", "base_link", "odom", "map"]
    assert np.allclose(tree.lookup("map", "camera_optical_frame")[:3, :3], R_BODY_OPTICAL)
    assert np.allclose(tree.lookup("camera_optical_frame", "base_link")[:3, :3], R_BODY_OPTICAL.T)
    loop = Tree((transform("a", "b"), transform("b", "a")))
    assert loop.chain("a") == ["a", "b"]


def test_a_robot_with_all_its_transforms():
    assert diagnose(robot()) == []


@pytest.mark.parametrize(
    ("frame", "severity"), [("", "error"), ("camera", "warning"), ("camera_optical_frame", None), ("optical", None)]
)
def test_a_frame_by_its_name_where_tf_is_not_known(frame, severity):
    snapshot = sound_graph()
    for topic in (IMAGE, INFO_TOPIC):
        snapshot = with_stream(snapshot, topic, frame_id=frame)
    assert [f.severity.value for f in diagnose(snapshot) if f.code == "frame-not-optical"] == [severity] * bool(
        severity
    )


def of_frame(frame: str, R_33: np.ndarray) -> list[tuple[str, str]]:
    """The findings of images of this frame, whose rotation in base_link this is."""
    snapshot = replace(sound_graph(), transforms=(transform("base_link", frame, R_33),))
    for topic in (IMAGE, INFO_TOPIC):
        snapshot = with_stream(snapshot, topic, frame_id=frame)
    return [(finding.code, finding.severity.value) for finding in diagnose(snapshot)]


def test_a_frame_by_its_transform():
    down = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    assert of_frame("camera_link", np.eye(3)) == [("frame-not-optical", "error")]
    assert of_frame("camera_optical_frame", np.eye(3)) == [("frame-not-optical", "warning")]  # it may look up
    assert of_frame("sensor", R_BODY_OPTICAL) == []  # whatever its name
    assert of_frame("camera_optical_frame", down) == []  # it looks at the floor


@pytest.mark.parametrize(
    ("left_out", "where", "words"),
    [
        (("odom", "base_link"), "odom", "nobody publishes odom"),
        (
            ("camera_optical_frame", "camera_link"),
            "camera_optical_frame",
            "nobody publishes where camera_optical_frame",
        ),
        (("camera_link",), "base_link", "in two trees, below map and camera_link"),
    ],
)
def test_missing_transforms_are_named(left_out, where, words):
    findings = [finding for finding in diagnose(robot(*left_out)) if finding.code == "tf-missing"]
    assert where in [finding.where for finding in findings]
    assert any(words in finding.what for finding in findings)


def test_base_to_camera_is_asked_for_with_base_frame_only():
    chassis = robot("odom", "base_link", base_frame="", tf_mode="none")
    assert diagnose(chassis) == []
    assert "tf-missing" in found(robot("base_link", "camera_link", tf_mode="none"))


def test_no_map_to_odom():
    status = Status(1, "not localized: too few landmarks", {"processed": "3"})
    seen = found(with_node(robot("odom"), statuses=(status,)))
    assert "no transform from the map to odom yet (not localized: too few landmarks)" in seen["tf-map-odom"]
    assert "tf-map-odom" in found(robot(map_frame="office"))  # it comes from another map
    assert "tf-map-odom" not in found(robot("odom", tf_mode="none"))


def test_the_attitudes_frame():
    snapshot = with_node(robot(attitude_frame="camera_body"), capability=CALIBRATION)
    assert found(snapshot)["tf-missing"].startswith("camera_body: ")
    assert diagnose(with_parameters(snapshot, attitude_frame="camera_link")) == []


def test_two_parents():
    snapshot = replace(robot(), transforms=(*ROBOT, transform("map", "base_link")))
    assert found(snapshot)["tf-two-parents"] == "base_link: its transform is sent by two parents: map and odom"


def test_where_tf_cannot_be_read_only_its_absence_is_told():
    unread = replace(robot(), transforms=None)
    assert "nobody else publishes /tf" in found(unread)["tf-missing"]
    own = with_topic(unread, Topic("/tf", (Endpoint(NODE, TF),)))
    assert "tf-missing" in found(own)
    assert diagnose(with_topic(unread, Topic("/tf", (Endpoint(NODE, TF), Endpoint("/wheels", TF))))) == []
    assert diagnose(replace(sound_graph(), transforms=None)) == []  # which needs none


# Clocks.


def simulated(**changes) -> Snapshot:
    """A sound graph in a simulation: its stamps and /clock are of the first minute."""
    snapshot = with_node(sound_graph(), use_sim_time=True)
    shift_s = 60.0 - WALL_NS * 1e-9
    for topic in (IMAGE, INFO_TOPIC):
        snapshot = with_stream(snapshot, topic, messages=messages(shift_s=shift_s, clock_s=60.0))
    given = {"clock_publishers": ("/simulator",), "clock_ns": (60 * 10**9, 70 * 10**9)} | changes
    return replace(snapshot, **given)


def test_a_sound_simulation():
    assert diagnose(simulated()) == []


def test_a_clock_that_is_not_there_stands_or_is_not_used():
    assert "nobody publishes it" in found(simulated(clock_publishers=(), clock_ns=None))["clock-missing"]
    assert "did not advance in 10 s" in found(simulated(clock_ns=(5, 5)))["clock-stands"]
    unused = replace(sound_graph(), clock_publishers=("/bag",), clock_ns=(1, 2))
    assert "/bag publishes a simulated clock, and /localization_node" in found(unused)["clocks-mixed"]


def test_nodes_that_go_by_different_clocks():
    depth = replace(sound_node(), name="/depth_node", capability="depth", use_sim_time=True)
    snapshot = replace(sound_graph(), nodes=(*sound_graph().nodes, depth))
    assert (
        "/depth_node goes by the simulated clock, /localization_node by the wall's" in found(snapshot)["clocks-mixed"]
    )
    # Who sends TF by the other clock; who publishes /clock does not go by it, and who sends nothing does not matter.
    for name, heard in (("/wheels", True), ("/simulator", False), ("/teleop", False)):
        other = with_topic(simulated(), Topic("/tf", (Endpoint("/wheels", TF), Endpoint("/simulator", TF))))
        other = replace(other, nodes=(other.nodes[0], NodeSeen(name, use_sim_time=False)))
        assert ("clocks-mixed" in found(other)) == heard


@pytest.mark.parametrize(
    ("shift_s", "code"),
    [(-0.4, None), (-0.6, "stamps-late"), (0.1, None), (0.2, "stamps-early"), (-90000.0, "clocks-mixed")],
)
def test_stamps_against_the_clock(shift_s, code):
    snapshot = sound_graph()
    for topic in (IMAGE, INFO_TOPIC):
        snapshot = with_stream(snapshot, topic, messages=messages(shift_s=shift_s))
    assert set(found(snapshot)) == ({code} if code else set())


def test_stamps_of_the_wall_in_a_simulation_and_the_other_way_round():
    wall = with_stream(simulated(), IMAGE, messages=messages(clock_s=60.0))
    assert "another time" in found(wall)["clocks-mixed"]
    assert "days after /clock" in found(wall)["clocks-mixed"]
    recorded = with_node(simulated(), use_sim_time=False)
    assert "before the wall clock" in " ".join(f.what for f in diagnose(recorded) if f.code == "clocks-mixed")


def test_no_stamps():
    unstamped = tuple(replace(message, stamp_ns=0) for message in messages())
    assert "have no stamps" in found(with_stream(sound_graph(), IMAGE, messages=unstamped))["stamps-zero"]


def test_transforms_that_are_late():
    late = transform("odom", "base_link", newest=Message(WALL_NS - 3 * 10**9, WALL_NS))
    assert found(replace(sound_graph(), transforms=(late,)))["stamps-late"].endswith(
        "3.0 s before the wall clock when it comes"
    )
    assert diagnose(replace(sound_graph(), transforms=(replace(late, static=True),))) == []
    post_dated = replace(late, newest=Message(WALL_NS + 10**9, WALL_NS))
    assert diagnose(replace(sound_graph(), transforms=(post_dated,))) == []


# What computes.


def told(**values) -> Snapshot:
    given = {"processed": "9"} | {name.replace("_", " "): value for name, value in values.items()}
    return with_node(sound_graph(), statuses=(Status(0, "localized", given),))


@pytest.mark.parametrize(
    ("why", "engine", "fallback"),
    [
        ("bf16, 8.1 ms, by torch 19.0 ms", "openvino", False),
        ("openvino: it gives other answers than torch", "torch", True),
        ("onnxruntime: it is not installed", "torch", False),
        ("18.0 ms, by openvino 19.0 ms", "torch", False),
        ("asked for", "torch", False),
        ("fell back from CUDA, out of memory", "openvino", True),
    ],
)
def test_what_a_node_says_of_its_engine(why, engine, fallback):
    assert ("engine-fallback" in found(told(engine=engine, engine_because=why))) == fallback


def test_an_engine_that_was_asked_for_and_does_not_run():
    assert (
        "asked for was tensorrt" in found(with_parameters(told(engine="torch"), engine="tensorrt"))["engine-fallback"]
    )
    assert diagnose(with_parameters(told(engine="openvino"), engine="openvino")) == []


def test_a_gpu_that_is_not_used():
    machine = replace(sound_graph().machine, gpus=1)
    on_cpu = replace(told(), machine=machine)
    assert "device is auto" in found(on_cpu)["engine-fallback"]
    assert diagnose(with_parameters(on_cpu, device="cpu")) == []
    used = with_node(on_cpu, statuses=(Status(0, "localized", {"processed": "9", "GPU memory (MB)": "812.0"}),))
    assert diagnose(used) == []
    assert "device is cuda:0" in found(with_parameters(told(), device="cuda:0"))["engine-fallback"]


def test_no_engine_in_the_process():
    bare = replace(sound_graph(), machine=Machine(4, 1.0, (Process(7, "localization_node"),)))
    assert "OpenVINO is not loaded" in found(bare)["engine-fallback"]
    meant = Process(7, "localization_node", engine_variable="torch")
    assert diagnose(replace(bare, machine=replace(bare.machine, processes=(meant,)))) == []
    assert diagnose(replace(bare, machine=replace(bare.machine, x86=False))) == []
    assert diagnose(replace(bare, machine=replace(bare.machine, processes=()))) == []  # it runs elsewhere


def test_more_threads_than_cores():
    process = replace(sound_graph().machine.processes[0], running=3.5)
    both = (process, replace(process, pid=8))
    seen = found(replace(sound_graph(), machine=Machine(4, 7.0, both)))
    assert (
        "7.0 threads of the perception processes want to run on 4 cores: 7 (3.5 of 20 threads)"
        in seen["cores-oversubscribed"]
    )
    crowded = found(replace(sound_graph(), machine=Machine(4, 9.0, (process,))))
    assert "9.0 threads of all processes" in crowded["cores-oversubscribed"]
    assert diagnose(replace(sound_graph(), machine=Machine(4, 5.9, (process,)))) == []
    assert diagnose(replace(sound_graph(), machine=Machine(4, None, (process,)))) == []


# What is said.


def test_the_report_tells_what_was_looked_at():
    snapshot = sound_graph()
    assert "/localization_node (active)" in looked_at(snapshot)
    assert f"{IMAGE} (40)" in looked_at(snapshot)
    content = as_json(snapshot, diagnose(with_stream(snapshot, IMAGE, frame_id="")))
    assert content["healthy"] is False
    assert content["findings"][0] == {
        "severity": "error", "code": "frame-not-optical", "where": IMAGE, "what": "its images have no frame_id",
        "mend": "let the driver name the camera's optical frame (x right, y down, z forward)",
    }  # fmt: skip
    assert content["inputs"][0]["published_meanwhile"] == 40
    assert content["nodes"][0]["image"] == IMAGE
