"""Heads that are fitted on features: their parameters and how each kind is fitted."""
