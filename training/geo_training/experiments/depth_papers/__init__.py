"""The tables of the two papers on self-supervised depth."""
