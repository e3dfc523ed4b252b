"""What the health check of a container says of real nodes: active, not active, not there."""

import os
import subprocess
import sys
import time

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from node_peer import HostingPeer, NodePeer
from ros_support import ENVIRONMENT, Peer, node_process
from slow_node import SlowNode

from geo_perception.ros.container import NODES
from geo_perception.ros.health_check import PERCEPTION_NODES, main


def check(*arguments: str, environment=None) -> subprocess.CompletedProcess:
    """`perception_health` as a process, as a container starts it."""
    return subprocess.run(
        [sys.executable, "-m", "geo_perception.ros.health_check", *arguments],
        env=os.environ | ENVIRONMENT | (environment or {}), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def told(stdout: str) -> list[str]:
    """Its lines, without those of Fast DDS, which writes there of ports that another process has just taken, say."""
    return [line for line in stdout.splitlines() if "RTPS_" not in line]


def test_a_node_is_well_only_while_it_is_active(tmp_path):
    with node_process(
        "geo_perception.ros.container", "calibration", "--ros-args", "-p", "autostart:=false", log=tmp_path / "node.log"
    ), NodePeer("/calibration_node") as peer:  # fmt: skip
        fresh = check("--timeout", "30")
        assert (fresh.returncode, told(fresh.stdout)) == (1, ["/calibration_node: unconfigured"])
        for transition, state, code in (
            (Transition.TRANSITION_CONFIGURE, "inactive", 1),
            (Transition.TRANSITION_ACTIVATE, "active", 0),
            (Transition.TRANSITION_DEACTIVATE, "inactive", 1),
        ):
            assert peer.change_state(transition)
            for given in ([], ["calibration_node"], ["/calibration_node"]):
                said = check(*given)
                assert (said.returncode, told(said.stdout), said.stderr) == (code, [f"/calibration_node: {state}"], "")
    gone = check("calibration_node", "--timeout", "1")
    assert (gone.returncode, told(gone.stdout)) == (1, ["/calibration_node: no answer"])


def test_one_that_is_not_there_is_enough():
    with HostingPeer(SlowNode) as peer:
        assert peer.hosted.trigger_configure().name == "SUCCESS"
        assert peer.hosted.trigger_activate().name == "SUCCESS"
        started = subprocess.Popen(
            [sys.executable, "-m", "geo_perception.ros.health_check", "slow_node", "depth_node", "--timeout", "3"],
            env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert peer.spin_until(lambda: started.poll() is not None, 60)
        assert started.returncode == 1
        assert told(started.stdout.read()) == ["/slow_node: active", "/depth_node: no answer"]


def test_one_that_was_found_and_is_gone_before_it_answers_is_not_waited_for():
    with Peer("depth_node", namespace="/dying") as peer:
        peer.node.create_service(GetState, "~/get_state", lambda _, answer: answer)
        started = subprocess.Popen(
            [sys.executable, "-m", "geo_perception.ros.health_check", "--timeout", "12"],
            env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while started.poll() is None and not peer.node.count_clients("/dying/depth_node/get_state"):
            time.sleep(0.05)  # it is not spun, so nothing is answered
    assert started.wait(60) == 1
    assert told(started.stdout.read()) == ["no perception node was found in 12 s"]


def test_one_that_somebody_waits_for_is_not_there():
    with NodePeer("/missing/depth_node") as peer:
        client = peer.node.create_client(GetState, "/missing/depth_node/get_state")
        said = check("--timeout", "3")
        assert (said.returncode, told(said.stdout)) == (1, ["no perception node was found in 3 s"])
        peer.node.destroy_client(client)


def test_without_any_perception_node_nothing_is_well():
    said = check("--timeout", "1")
    assert (said.returncode, told(said.stdout)) == (1, ["no perception node was found in 1 s"])


def test_it_leaves_no_log_file_and_starts_without_torch(tmp_path):
    began_s = time.monotonic()
    said = check("--timeout", "0.5", environment={"ROS_LOG_DIR": str(tmp_path / "log"), "PYTHONVERBOSE": "1"})
    assert time.monotonic() - began_s < 20
    assert "import 'rclpy'" in said.stderr
    assert "import 'torch" not in said.stderr
    assert not list(tmp_path.rglob("*.log"))


@pytest.mark.parametrize("name", ["no node", "/a/-b", "two//slashes"])
def test_a_name_that_no_node_can_have_is_told_in_a_line(name):
    said = check(name, "--timeout", "5")
    assert said.returncode == 1
    assert told(said.stdout) == []
    assert said.stderr.startswith(f"error: '/{name.lstrip('/')}' is not the name of a node: ")
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("timeout", ["0", "-1", "inf", "nan", "soon"])
def test_a_time_that_is_none_is_wrong_usage(timeout, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--timeout", timeout])
    assert ended.value.code == 2
    assert "--timeout" in capsys.readouterr().err


def test_where_ros_does_not_start_it_says_so(monkeypatch, capsys):
    import rclpy

    def refuse(**_):
        raise RuntimeError("no middleware\nhere")

    monkeypatch.setattr(rclpy, "init", refuse)
    assert main(["depth_node"]) == 1
    assert capsys.readouterr().err == "error: ROS does not start: no middleware here; is a distribution sourced?\n"


def test_every_node_of_the_container_is_looked_for():
    assert set(PERCEPTION_NODES) == {f"{name}_node" for name in NODES}
