"""Fit, tune, compare and save the heads of classifiers on cached features."""
