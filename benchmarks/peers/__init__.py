"""Comparison with other model servers, each in its own virtual environment."""
