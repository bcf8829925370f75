"""Benchmarks behind the performance figures in docs/benchmarks.md."""
