"""Build script: the two package trees and the files that a ROS 2 installation expects. The rest is in setup.cfg."""

import sys
from glob import glob

from setuptools import find_packages, setup

ROBOT, TRAINING = "src", "training"
# colcon asks with --dry-run and reads the answer back as literals, which a version specifier is not.
PYTHON = {} if sys.argv[1:] == ["--dry-run"] else {"python_requires": ">=3.10"}

setup(
    packages=find_packages(ROBOT) + find_packages(TRAINING),
    package_dir={"geo_perception": f"{ROBOT}/geo_perception", "geo_training": f"{TRAINING}/geo_training"},
    package_data={
        "geo_perception.calibration": ["weights/*"],
        "geo_perception.depth": ["cards/*.yaml", "weights/*"],
        "geo_training.calibration": ["configs/*.yaml"],
        "geo_training.depth": ["configs/*.yaml"],
        "geo_training.experiments.landmark_papers": ["configs/*.yaml"],
        "geo_training.report": ["templates/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/geo_perception"]),
        ("share/geo_perception", ["package.xml"]),
        ("share/geo_perception/launch", glob("launch/*.launch.py")),
        ("share/geo_perception/config", [*glob("config/*.yaml"), *glob("config/*.xml")]),
        ("share/geo_perception/rviz", glob("rviz/*.rviz")),
        ("share/geo_perception/foxglove", glob("foxglove/*.json")),
        ("share/geo_perception/security", glob("security/*.xml")),
        ("share/geo_perception/systemd", glob("systemd/*.service")),
    ],
    zip_safe=False,
    **PYTHON,
)
