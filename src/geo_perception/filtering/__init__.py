"""What several capabilities follow over time: states with correlated errors, and features from image to image."""
