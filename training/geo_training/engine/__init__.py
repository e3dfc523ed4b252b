"""The one training loop: devices, precision, checkpoints, trackers."""
