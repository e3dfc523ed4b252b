"""What runs on the robot: how the camera sees, how far things are, where it is."""

import os

__version__ = "0.1.0"

# OpenMP's idle threads spin while they wait. On a machine whose cores have other work too (any robot) a spinning thread
# keeps the one it waits for from running: inference was seen to take thirty times as long. They spin briefly here, then
# sleep. Read when torch is loaded, so it has to be set before; whoever sets it themselves is left alone.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
