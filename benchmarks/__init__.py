"""What is timed: `python -m benchmarks`, from the root of the repository."""
