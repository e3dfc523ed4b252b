"""Depth and ego-motion learned from recordings: clips, losses, training."""
