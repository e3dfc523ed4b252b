#!/bin/bash
# The command with ROS and the package in its environment.
set -e
. "${ROS_PREFIX}/setup.bash"
# `ros2` is run by the system's Python, which does not look into the environment by itself.
for packages in "${GEO_PERCEPTION_PREFIX}"/lib/python3.*/site-packages; do
    export PYTHONPATH="${packages}${PYTHONPATH:+:${PYTHONPATH}}"
done
export AMENT_PREFIX_PATH="${GEO_PERCEPTION_PREFIX}${AMENT_PREFIX_PATH:+:${AMENT_PREFIX_PATH}}"
export PATH="${GEO_PERCEPTION_PREFIX}/bin:${PATH}"
exec "$@"
