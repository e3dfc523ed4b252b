"""How far things are: depth from one image, and what makes metres of it."""
