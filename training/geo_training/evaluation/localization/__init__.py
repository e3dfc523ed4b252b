"""How well a scene localizes, beside SIFT and PnP."""
