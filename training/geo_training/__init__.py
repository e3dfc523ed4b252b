"""Off the robot: recordings in, datasets, maps, training, measuring. Uses geo_perception, never the reverse."""
