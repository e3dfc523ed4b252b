"""The profile for raw images really gives Fast DDS a segment that holds them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ros_support import ENVIRONMENT, PROFILE_VARIABLES

PROFILE = Path(__file__).resolve().parents[3] / "config" / "fastdds_shared_memory.xml"
SEGMENTS = Path("/dev/shm")
RAW_IMAGE_BYTES = 640 * 480 * 3
# Prints the bytes of the largest segment that a process with a node has open.
LOOK = """
import os, rclpy
rclpy.init()
node = rclpy.create_node("segment_look")
sizes = [0]
for line in open("/proc/self/maps"):
    path = line.split(maxsplit=5)[5].strip() if len(line.split()) > 5 else ""
    if path.startswith("/dev/shm/fast") and os.path.exists(path):
        sizes.append(os.stat(path).st_size)
print(max(sizes))
rclpy.shutdown()
"""


def largest_segment_bytes(**variables):
    given = os.environ | ENVIRONMENT | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    environment = {k: v for k, v in given.items() if not k.startswith(("FASTDDS_", "FASTRTPS_"))} | variables
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not SEGMENTS.is_dir(), reason="shared memory is not in /dev/shm here")
def test_the_profile_makes_room_for_raw_images():
    usual = largest_segment_bytes()
    if not usual:
        pytest.skip("this middleware has no shared memory of Fast DDS")
    assert usual < RAW_IMAGE_BYTES  # what the profile is for
    given = largest_segment_bytes(**dict.fromkeys(PROFILE_VARIABLES, str(PROFILE)))
    assert given > 10 * RAW_IMAGE_BYTES
