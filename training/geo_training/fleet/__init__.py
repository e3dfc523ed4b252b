"""Many places at once: from a manifest of recordings to a registry of scenes, on one machine or on a Ray cluster."""
