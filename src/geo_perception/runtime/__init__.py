"""What every capability runs on: devices, inference, weights and their checksums."""
