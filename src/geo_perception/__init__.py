"""What runs on the robot: how the camera sees, how far things are, where it is."""

__version__ = "0.1.0"
