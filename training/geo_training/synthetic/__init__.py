"""Procedural rooms with exact poses and depth: the demo's world and the tests' ground truth."""
