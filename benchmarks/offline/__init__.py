"""Benchmarks without a server: the engine, classification of folders, feature extraction and fitting."""
