"""Weights of networks as others published them, read without running code of theirs."""
