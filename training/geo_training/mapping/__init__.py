"""From a dataset to a metric map and its landmarks."""

# pycolmap's wheel exports a zlib of its own. Where it is loaded before the system's, every later deflate in the process
# (OpenCV's and Pillow's PNG, Python's zlib) crashes or hangs; loaded first, the system's is used by all.
import zlib  # noqa: F401
