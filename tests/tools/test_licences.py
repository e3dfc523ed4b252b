"""Which licences of packages are carried and which are refused, from made metadata; and that those of the lock are."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "tools" / "licences.py"
spec = importlib.util.spec_from_file_location("licences", PATH)
licences = sys.modules["licences"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(licences)
Package, problem, problems = licences.Package, licences.problem, licences.problems


@pytest.mark.parametrize(
    "package",
    [
        Package("a", expression="MIT"),
        Package("a", expression="Apache-2.0 AND (BSD-3-Clause OR GPL-3.0-only) AND Zlib"),
        Package("a", expression="GPL-2.0-only OR MIT"),
        Package("a", expression="Apache-2.0 WITH LLVM-exception AND ISC"),
        Package("a", expression="LGPL-2.1-or-later"),
        Package("a", licence="Apache License, Version 2.0"),
        Package("a", licence="MPL-2.0 AND MIT"),
        Package("a", licence="BSD 3-Clause License\n\nCopyright (c) ..."),
        Package("a", classifiers=["License :: OSI Approved :: MIT License", "Topic :: Software Development"]),
        Package(
            "a", licence="UNKNOWN", classifiers=["License :: OSI Approved", "License :: OSI Approved :: BSD License"]
        ),
        Package("a", classifiers=["License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"]),
        Package("a", ros_licences=["Apache License 2.0", "BSD-3-Clause"]),
        Package("docutils", classifiers=["License :: OSI Approved :: GNU General Public License (GPL)"]),
    ],
)
def test_what_the_project_can_carry(package):
    assert problem(package) is None


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (Package("a", licence="GPL", classifiers=["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"]),
         "GPLv3"),
        (Package("PyQt6", expression="GPL-3.0-only"), "GPL-3.0-only"),
        (Package("a", expression="MIT AND GPL-2.0-or-later"), "GPL-2.0-or-later"),
        (Package("a", expression="(MIT AND AGPL-3.0-only) OR (GPL-3.0-only AND MIT AND SSPL-1.0)"), "AGPL-3.0-only"),
        (Package("a", expression="(MIT"), "("),
        (Package("a", licence="GNU General Public License v2"), "GNU-General-Public"),
        (Package("a", licence="Other/Proprietary License"), "Proprietary"),
        (Package("a", licence="cc-by-nc-4.0"), "cc-by-nc"),
        (Package("a", classifiers=["License :: OSI Approved :: MIT License",
                                   "License :: OSI Approved :: GNU Affero General Public License v3"]), "Affero"),
        (Package("a", ros_licences=["GPLv3"]), "GPLv3"),
    ],
)  # fmt: skip
def test_what_it_cannot_carry_is_named(package, words):
    assert words in problem(package)
    assert "cannot be carried" in problem(package)


@pytest.mark.parametrize(
    "licence", ["", "UNKNOWN", "GNU GENERAL PUBLIC LICENSE\nVersion 3", "Copyright (c) me\nall mine"]
)
def test_a_package_that_does_not_say_its_licence_is_refused(licence):
    assert "does not say its licence" in problem(Package("a", licence=licence))


def test_an_empty_ros_wheel_has_the_licence_of_the_one_behind_it():
    shell, good, bad = Package("ros-jazzy-rclpy"), Package("ros_rclpy", licence="Apache-2.0"), Package("ros-rclpy")
    assert problems([shell, good]) == []
    assert len(problems([shell, bad])) == 2
    assert "does not say" in problem(shell)


def test_gpl_libraries_in_a_wheel_are_found_by_their_files():
    files = ["libavcodec-5e6b81c2.so.62", "libx264-d6533a8d.so.165", "libx265-f5385bb8.so.216"]
    assert "x264, x265, under the GPL" in problem(Package("films", expression="MIT", files=files))
    assert problem(Package("plain", expression="MIT", files=["x264.py", "libgfortran.so.5"])) is None


def test_metadata_are_read_as_they_are_installed(tmp_path, monkeypatch):
    def install(name, about, files=()):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{about}")
        for file, text in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file, _ in files))

    install("fine", "License-Expression: MIT\n")
    install("robot", "", [("share/robot/package.xml", "<package><license>Apache 2.0</license></package>")])
    install("copyleft", "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    lock = tmp_path / "lock.txt"
    lock.write_text('# pinned\nfine==1 ; python_version > "3.9"\nrobot==1\ncopyleft==1\nnot-here==2\n')
    packages, missing = licences.installed(lock)
    assert [(p.name, p.expression, list(p.ros_licences)) for p in packages] == [
        ("fine", "MIT", []), ("robot", "", ["Apache 2.0"]), ("copyleft", "", []),
    ]  # fmt: skip
    assert missing == ["not-here"]
    assert [words.split()[0] for words in problems(packages)] == ["copyleft"]
    assert licences.main([str(lock)]) == 1
    lock.write_text("fine==1\nrobot==1\n")
    assert licences.main([str(lock)]) == 0
    lock.write_text("not-here==2\n")
    assert licences.main([str(lock)]) == 1  # nothing was looked at


def test_everything_in_the_lock_can_be_carried():
    done = subprocess.run([sys.executable, PATH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all can be carried" in done.stdout


def test_nothing_that_is_declared_is_under_the_gpl():
    lock = {line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert not lock & {"evo", "pyqt5", "pyqt6", "pyside6"}
    assert "evo" not in (ROOT / "setup.cfg").read_text()
