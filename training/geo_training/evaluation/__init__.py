"""Metrics, replay, reports and named benchmarks."""
