"""Benchmarks: run `python -m benchmarks` in the root of the repository."""
