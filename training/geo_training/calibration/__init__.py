"""Training the calibrator: crops of panoramas, losses, fit, and learning new places without forgetting old ones."""
