"""Offline training: datasets, networks, features, heads and reports. It imports no web framework."""
