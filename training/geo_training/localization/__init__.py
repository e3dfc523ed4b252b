"""Training of the landmark detector: data, losses, fit."""
