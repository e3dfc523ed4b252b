"""What depth learns from: clips, their motion, masks and object boundaries."""
