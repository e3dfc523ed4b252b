"""Pure functions that score: poses, trajectories, calibration, depth, edges, confidence. No files, no networks."""
