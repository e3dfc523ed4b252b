"""Engines that run a network: its graph as a file, and whether what they make of images is what torch makes of them."""
