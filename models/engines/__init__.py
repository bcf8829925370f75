"""Inference engines that run an extractor on a device."""
