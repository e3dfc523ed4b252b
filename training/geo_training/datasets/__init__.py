"""Recordings and public formats in, one dataset layout out."""
