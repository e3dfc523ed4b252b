"""From a dataset to a metric map and the landmarks worth learning."""
