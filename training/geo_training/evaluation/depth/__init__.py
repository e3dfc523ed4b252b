"""How good depth is, and the odometry that comes with it."""
