"""Fit one network jointly on the datasets of its tasks."""
