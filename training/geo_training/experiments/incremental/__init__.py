"""Continual learning, a new domain without forgetting the old: the paper's strategies and its table."""
