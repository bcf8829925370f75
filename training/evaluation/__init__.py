"""Measure classifiers on labelled images, and predict unlabelled ones."""
