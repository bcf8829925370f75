"""Versioned extractors and classifiers on disk: written, verified and loaded."""
