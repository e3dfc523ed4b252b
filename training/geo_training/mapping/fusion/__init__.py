"""Depth from COLMAP, or from any sensor that leaves holes, completed by monocular depth."""
