"""Benchmarks and the papers' experiments: whatever imports the evaluation."""
