"""Benchmarks of the running server: speed, overload, cancellation, memory and start."""
