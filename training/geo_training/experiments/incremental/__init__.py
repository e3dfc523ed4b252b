"""Learning new cameras without forgetting the old: the paper's five ways and its table."""
