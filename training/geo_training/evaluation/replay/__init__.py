"""A recording through the estimators, or through the live nodes."""
