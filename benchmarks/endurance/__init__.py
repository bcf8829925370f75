"""Long-running benchmarks: hours of mixed load, disconnecting clients, and shutdown under load."""
