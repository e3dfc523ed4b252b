"""The workflows: what they may do, and that every target, path, package and script that they name is there."""

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
STEPS = [
    (f"{stem}.{name}", step)
    for stem, workflow in WORKFLOWS.items()
    for name, job in workflow["jobs"].items()
    for step in job["steps"]
]
COMMANDS = [(name, step["run"]) for name, step in STEPS if "run" in step]


def test_there_are_three():
    assert set(WORKFLOWS) == {"ci", "docker", "ros"}


@pytest.mark.parametrize("stem", sorted(WORKFLOWS))
def test_it_may_only_read_and_gives_way_to_a_newer_push(stem):
    workflow = WORKFLOWS[stem]
    assert workflow["permissions"] == {"contents": "read"}
    assert "github.ref" in workflow["concurrency"]["group"]
    assert "cancel-in-progress" in workflow["concurrency"]
    triggers = workflow[True]  # `on` is a word for true in YAML
    assert {"push", "pull_request"} <= set(triggers)
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert 0 < job["timeout-minutes"] <= 90
    text = (ROOT / ".github" / "workflows" / f"{stem}.yml").read_text()
    assert "secrets" not in text


def test_actions_are_pinned_by_their_major_version():
    used = [step["uses"] for _, step in STEPS if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)] == []
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize(("name", "script"), COMMANDS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(COMMANDS)])
def test_every_step_is_a_script_whose_targets_and_paths_are_there(name, script):
    plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
    done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", script, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\b(?:docker|tests|tools|docs)/[\w./-]+", script):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"src/geo_perception/([\w./-]+)", script):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"\b([\w-]+\.launch\.py)\b", script):
        assert (ROOT / "launch" / name).is_file(), name


def test_ci_does_what_the_script_of_the_repository_does():
    """A change that passes here passes there."""
    here = set(re.findall(r"^make \w+$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert here == {command for name, command in COMMANDS if name.startswith("ci.")}


def test_every_python_and_every_distribution_that_is_promised_is_tried():
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"] == {"python": ["3.10", "3.11", "3.12", "3.13"]}
    colcon = WORKFLOWS["ros"]["jobs"]["colcon"]
    distributions = colcon["strategy"]["matrix"]["distribution"]
    assert colcon["container"] == "ros:${{ matrix.distribution }}-ros-base"
    promised = re.search(r"ROS 2 package \(([\w, ]+)\)", (ROOT / "README.md").read_text())[1]
    assert distributions == promised.lower().split(", ")


def test_what_rosdep_is_to_leave_out_is_asked_for():
    asked = {element.text for element in ET.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    left_out = [re.search(r'--skip-keys "([^"]+)"', command) for _, command in COMMANDS]
    (keys,) = (match[1].split() for match in left_out if match)
    assert {"python3-torch", "python3-timm-pip"} <= set(keys) <= asked


def test_both_images_are_looked_at():
    named = {path for _, command in COMMANDS for path in re.findall(r"docker/Dockerfile\.\w+", command)}
    built = {step["with"]["file"] for _, step in STEPS if "file" in step.get("with", {})}
    files = {f"docker/{path.name}" for path in (ROOT / "docker").glob("Dockerfile.*")}
    assert named == built == files
