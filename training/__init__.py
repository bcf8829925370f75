"""Offline training: datasets -> network -> features -> head -> report -> store. Knows no web."""
