"""What every capability runs on: devices, inference, weights and their checksums."""

DEFAULT_BACKBONE = "tf_efficientnet_lite0"  # here, so that a command can name it without loading torch
