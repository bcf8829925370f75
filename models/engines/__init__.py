"""Engines: an extractor compiled for a device, behind one small interface."""
