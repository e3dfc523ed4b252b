"""What the calibration learns from: panoramas and their crops, photographs, a stream of both."""
