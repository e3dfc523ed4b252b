"""The terms of the depth loss, and the geometry they warp with."""
