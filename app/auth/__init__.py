"""Callers, API keys and rate limits."""
